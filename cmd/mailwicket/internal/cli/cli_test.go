package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/milter/client"
)

// run gives a command's exit status and what it printed.
func run(args ...string) (status int, out, err string) {
	var o, e bytes.Buffer
	status = Main(args, Streams{In: strings.NewReader(""), Out: &o, Err: &e, Stop: context.Background()})
	return status, o.String(), e.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const zone = `
shop.example.             TXT "v=spf1 ip4:192.0.2.10 -all"
_dmarc.shop.example.      TXT "v=DMARC1; p=quarantine"
mail.shop.example.        A   192.0.2.10
10.2.0.192.in-addr.arpa.  PTR mail.shop.example.
bank.example.             TXT "v=spf1 -all"
_dmarc.bank.example.      TXT "v=DMARC1; p=reject"
broken.example.           TEMPERROR
_dmarc.broken.example.    TXT "v=DMARC1; p=reject"
`

const good = "From: a@shop.example\nTo: b@home.example\nDate: Mon, 23 Nov 2026 10:00:00 +0000\nSubject: hi\n\nhi\n"

// TestCheckStatus: SPEC 1.3 names the exit statuses.
func TestCheckStatus(t *testing.T) {
	z := write(t, "zone", zone)
	rules := write(t, "conf.yaml", "rules:\n  - {name: trap, when: {header.subject: trap}, do: discard}\n  - {name: hold, when: {header.subject: hold}, do: hold}\n"+
		"  - {name: bait, stage: rcpt, when: {rcpt.address: bait@home.example}, do: discard}\n")
	for _, c := range []struct {
		name, text, from string
		args             []string
		status           int
		says             string
	}{
		{"accept", good, "a@shop.example", nil, 0, "accepted"},
		{"reject", strings.Replace(good, "a@shop.example", "a@bank.example", 1), "x@nowhere.example", nil, 1, "refused by rule dmarc-reject"},
		{"discard", strings.Replace(good, "hi", "trap", 1), "a@shop.example", []string{"--config", rules}, 1, "discarded by rule trap"},
		{"discard at RCPT", good, "a@shop.example", []string{"--config", rules, "--rcpt", "bait@home.example", "--rcpt", "c@home.example"}, 1, "discarded by rule bait"},
		{"quarantine", strings.Replace(good, "a@shop.example", "a@bank.example", 1), "a@shop.example", nil, 4, "tagged as quarantine"},
		{"hold", strings.Replace(good, "hi", "hold", 1), "a@shop.example", []string{"--config", rules}, 4, "put on hold by rule hold"},
		{"tempfail", strings.Replace(good, "a@shop.example", "a@broken.example", 1), "a@broken.example", nil, 3, "deferred by rule dmarc-temperror"},
		{"no header at all", "\nSubject: trap\n\nhi\n", "a@shop.example", []string{"--config", rules}, 1, "by rule from-unusable"},
		{"greylisted", good, "a@nowhere.example", []string{"--greylist"}, 3, "deferred by rule greylist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"check", write(t, "m.eml", c.text), "--ip", "192.0.2.10", "--helo", "mail.shop.example",
				"--from", c.from, "--rcpt", "b@home.example", "--zone", z}, c.args...)
			status, out, errs := run(args...)
			if status != c.status || !strings.Contains(out, c.says) {
				t.Errorf("status %d, want %d\n%s%s", status, c.status, out, errs)
			}
			status, out, errs = run(append(args, "--json")...)
			var r struct{ Verdict string }
			if err := json.Unmarshal([]byte(out), &r); err != nil || status != c.status {
				t.Errorf("as data: status %d, %v\n%s", status, err, errs)
			}
		})
	}
}

// TestCheckConfig: what is wrong with the configuration is no verdict, and a list
// that is yet to come is empty, as in the server.
func TestCheckConfig(t *testing.T) {
	check := func(conf string) (int, string, string) {
		return run("check", write(t, "m.eml", good), "--ip", "192.0.2.10", "--helo", "mail.shop.example", "--ptr", "mail.shop.example", "--from", "a@shop.example",
			"--rcpt", "b@home.example", "--zone", write(t, "zone", zone), "--config", write(t, "c.yaml", conf))
	}
	for conf, want := range map[string]string{
		"lists: [{name: l, type: domain, file: absent.txt}]\n":                                "absent.txt: no such file",
		"dnsbl: [{zone: z.example, type: ip, codes: {\"127.0.0.2\": x}, key_file: absent}]\n": "absent",
	} {
		if status, out, errs := check(conf); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%sstatus %d\n%s%s", conf, status, out, errs)
		}
	}
	for _, conf := range []string{"lists: [{name: l, type: domain, url: \"https://feed.example/l\"}]\ndata_dir: " + t.TempDir() + "\n",
		"redis: {url: \"redis://127.0.0.1:1\"}\nlists: [{name: l, type: domain, redis: true}]\ndata_dir: " + t.TempDir() + "\n"} {
		if status, out, errs := check(conf); status != 0 || !strings.Contains(errs, `warning: list "l"`) || !strings.Contains(out, "accepted") {
			t.Errorf("%sstatus %d\n%s%s", conf, status, out, errs)
		}
	}
	if status, out, errs := check("rules: [{name: p, when: {client.ptr: mail.shop.example}, do: reject}]\n"); status != 1 {
		t.Errorf("by --ptr: status %d\n%s%s", status, out, errs)
	}
}

// TestCheckSplits: of several recipients, who differs is shown with the answer
// that it gets.
func TestCheckSplits(t *testing.T) {
	rules := write(t, "rules.yaml", "greylist: {scope: off}\nrules:\n"+
		"  - {name: kim, when: {rcpt.address: kim@home.example}, do: {tag: strict}}\n"+
		"  - {name: strict, stage: message, when: {tags: strict}, do: quarantine}\n")
	check := func(rcpts ...string) (int, string, string) {
		args := []string{"check", write(t, "m.eml", good), "--ip", "192.0.2.10", "--helo", "mail.shop.example", "--from", "a@shop.example",
			"--zone", write(t, "zone", zone), "--config", rules}
		for _, to := range rcpts {
			args = append(args, "--rcpt", to+"@home.example")
		}
		return run(args...)
	}
	for _, c := range []struct {
		rcpts  []string
		status int
		says   []string
	}{
		{[]string{"lou", "kim"}, 0, []string{"  accepted for lou@home.example; deferred for kim@home.example by rule recipients-differ: ", "rcpt for kim@home.example: tempfail\n    told the client: Too many recipients: please send this one in another mail (ref ",
			"\n    asked for in a mail of its own (unlike lou@home.example: tag strict)\n"}},
		{[]string{"kim", "lou"}, 4, []string{"quarantine for kim@home.example by rule strict", "(unlike kim@home.example: no tag strict)"}},
		{[]string{"kim", "kim"}, 4, []string{"quarantine by rule strict"}},
	} {
		status, out, errs := check(c.rcpts...)
		for _, says := range c.says {
			if !strings.Contains(out, says) {
				t.Errorf("%s: no %q", c.rcpts, says)
			}
		}
		if status != c.status || t.Failed() {
			t.Errorf("%s: status %d, want %d\n%s%s", c.rcpts, status, c.status, out, errs)
		}
	}
	_, out, _ := run("config", "rules", rules)
	if want := "\n# is asked for in a mail of its own (452 4.5.3):\n#   tag strict by rule kim\n"; !strings.HasSuffix(out, want) {
		t.Errorf("the rules end in %q, not in %q", out[max(0, len(out)-len(want)):], want)
	}
	if _, out, _ := run("config", "rules"); strings.Contains(out, "452") {
		t.Errorf("nobody differs by default\n%s", out)
	}
}

// TestCheckWarns: rules on what is not counted are told of.
func TestCheckWarns(t *testing.T) {
	const rule = "rules: [{name: a, when: {dkim.replay.clients: {gt: 9}}, do: tempfail}]\n"
	for text, warns := range map[string]bool{rule: false, "dkim: {replay_window: 0s}\n": false, "dkim: {replay_window: 0s}\n" + rule: true} {
		status, _, errs := run("config", "check", write(t, "c.yaml", text))
		if status != 0 || strings.Contains(errs, "dkim.replay_window is 0s") != warns {
			t.Errorf("%s: status %d, %q", text, status, errs)
		}
	}
}

// TestBadUsage: a mistake of the caller is status 2 and one clear line.
func TestBadUsage(t *testing.T) {
	bad := write(t, "bad.yaml", "profil: strict\ngreylist: {delay: fast}\nrules: [{name: a, when: {spff.result: fail}, do: reject}]\n")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"chekc"}, "check"},
		{[]string{"check", "nofile", "--ip", "192.0.2.1", "--helo", "h", "--from", "a@b", "--rcpt", "c@d"}, "nofile"},
		{[]string{"check", bad, "--ip", "192.0.2.300", "--helo", "h", "--from", "a@b", "--rcpt", "c@d"}, "--ip"},
		{[]string{"check", bad, "--ip", "192.0.2.3", "--helo", "h", "--from", "a@b", "--rcpt", ""}, "--rcpt is empty"},
		{[]string{"serve", "--config", "missing.yaml"}, "missing.yaml"},
		{[]string{"config", "check", bad}, `did you mean "profile"?`},
		{[]string{"config", "check", bad}, "greylist.delay"},
		{[]string{"serve", "--config", bad}, "bad.yaml:2:"},
	} {
		status, _, errs := run(c.args...)
		if status != 2 || !strings.Contains(errs, c.says) {
			t.Errorf("%v: status %d, %s", c.args, status, errs)
		}
	}
}

// TestConfigCommands: what is printed can be read again.
func TestConfigCommands(t *testing.T) {
	for _, c := range [][]string{{"config", "example"}, {"config", "show"}} {
		status, out, errs := run(c...)
		if status != 0 {
			t.Fatalf("%v: %s", c, errs)
		}
		if status, _, errs := run("config", "check", write(t, "c.yaml", out)); status != 0 {
			t.Errorf("%v: %s", c, errs)
		}
	}
	status, out, _ := run("config", "rules")
	if status != 0 || !strings.Contains(out, "name: dmarc-reject") || !strings.Contains(out, "name: greylist") {
		t.Errorf("rules: %d\n%s", status, out)
	}
	if status, out, _ := run("config", "schema"); status != 0 || !json.Valid([]byte(out)) {
		t.Errorf("schema: %d", status)
	}
	if status, out, _ := run("version"); status != 0 || !strings.HasPrefix(out, "mailwicket ") {
		t.Errorf("version: %d %s", status, out)
	}
}

var reference = regexp.MustCompile(`[0-9A-Z]{5}-[0-9A-Z]{5}`)

// TestDemo: what the demo prints is what the README shows.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the demo's greylist")
	}
	readme, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(readme), "<!-- demo -->\n")
	shown, _, _ = strings.Cut(shown, "<!-- end -->")
	status, out, errs := run("demo", "--exit")
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	var table []string
	for line := range strings.Lines(out) {
		if cells(line) > 2 {
			table = append(table, reference.ReplaceAllString(strings.TrimSpace(line), "REF"))
		}
	}
	var want []string
	for line := range strings.Lines(shown) {
		want = append(want, strings.TrimSpace(line))
	}
	if got := strings.Join(table, "\n"); got != strings.Join(want, "\n") || len(want) < 11 {
		t.Errorf("the demo prints\n%s\nthe README shows\n%s", got, strings.Join(want, "\n"))
	}
}

// cells counts what two blanks or more set apart.
func cells(line string) int {
	return len(regexp.MustCompile(`  +`).Split(strings.TrimSpace(line), -1))
}

// served is a running serve command.
type served struct {
	t      *testing.T
	admin  string
	milter string
	dir    string
	out    lockedBuffer
	stop   context.CancelFunc
	status chan int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var (
	milterLine = regexp.MustCompile(`milter +inet:(\S+)`)
	adminLine  = regexp.MustCompile(`admin +http://([^/]+)/`)
)

// serve starts the command with a configuration and waits until it has said
// where it listens.
func serve(t *testing.T, conf string) *served {
	t.Helper()
	return serveIn(t, t.TempDir(), conf)
}

// serveIn is serve in a directory of the caller's.
func serveIn(t *testing.T, dir, conf string) *served {
	t.Helper()
	s := &served{t: t, dir: dir, status: make(chan int, 1)}
	file := filepath.Join(s.dir, "mailwicket.yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		s.status <- Main([]string{"serve", "--config", file, "--data-dir", filepath.Join(s.dir, "data")},
			Streams{In: strings.NewReader(""), Out: &s.out, Err: &s.out, Stop: ctx})
	}()
	t.Cleanup(func() { s.end() })
	for range 500 {
		if m, a := milterLine.FindStringSubmatch(s.out.String()), adminLine.FindStringSubmatch(s.out.String()); m != nil && a != nil {
			s.milter, s.admin = m[1], a[1]
			return s
		}
		select {
		case status := <-s.status:
			s.status <- status
			t.Fatalf("serve ended with status %d: %s", status, s.out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("serve says nothing: %s", s.out.String())
	return nil
}

func (s *served) end() int {
	s.stop()
	select {
	case st := <-s.status:
		s.status <- st
		return st
	case <-time.After(20 * time.Second):
		s.t.Error("serve does not end")
		return -1
	}
}

func (s *served) get(path string) (int, string) {
	resp, err := http.Get("http://" + s.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// message plays one message and gives the reply that decided.
func (s *served) message(from string) client.Reply {
	s.t.Helper()
	all := s.messageTo(from, "b@home.example")
	return all[len(all)-1]
}

// messageTo plays one message to several, as far as it is wanted, and gives the
// replies: to what comes before RCPT if that is the end, to each RCPT, and to the
// message if anybody is taken.
func (s *served) messageTo(from string, rcpts ...string) []client.Reply {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.milter)
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	c := client.New(nc)
	if err := c.Negotiate(client.AllActions, client.AllProtocol); err != nil {
		s.t.Fatal(err)
	}
	reply := func(r client.Reply, err error) client.Reply {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
		return r
	}
	c.Macros('C', "j", "mx.home.example", "v", "Postfix 3.7.11")
	for _, step := range []func() (client.Reply, error){
		func() (client.Reply, error) { return c.Connect("mail.shop.example", "192.0.2.10", 25000) },
		func() (client.Reply, error) { return c.Helo("mail.shop.example") },
		func() (client.Reply, error) { return c.Mail("<" + from + ">") },
	} {
		if r := reply(step()); r.Code != 'c' {
			return []client.Reply{r}
		}
	}
	var all []client.Reply
	taken := false
	for _, to := range rcpts {
		r := reply(c.Rcpt("<" + to + ">"))
		all, taken = append(all, r), taken || r.Code == 'c'
	}
	if taken {
		_, r, err := c.Message([]byte(strings.ReplaceAll(good, "\n", "\r\n")))
		all = append(all, reply(r, err))
	}
	return all
}

// withZone names a DNS server that answers from the zone.
func withZone(t *testing.T, conf string) string {
	t.Helper()
	srv, err := dnstest.Serve(dnstest.MustParse(zone), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return strings.Replace(conf, "DNS", srv.Addr(), 1)
}

const serveConf = `
milter: {listen: ["inet:127.0.0.1:0"]}
admin: {listen: "127.0.0.1:0"}
dns: {servers: ["DNS"], timeout: 100ms}
greylist: {scope: "off"}
rules:
  - {name: no-shop, stage: rcpt, when: {mail_from.domain: refused.example}, do: {reject: {text: "We do not take mail of {mail_from.domain}"}}}
`

// TestServe: refuse a message, take the reference from the reply, explain it,
// change the configuration, judge the journal by the new one, reload, send again.
func TestServe(t *testing.T) {
	conf := withZone(t, serveConf)
	s := serve(t, conf)
	if !strings.Contains(s.out.String(), "smtpd_milters = inet:"+s.milter) {
		t.Errorf("no line for main.cf:\n%s", s.out.String())
	}
	r := s.message("x@refused.example")
	ref := reference.FindString(r.Text)
	if !strings.HasPrefix(r.Text, "550 5.7.1 We do not take mail of refused.example") || ref == "" {
		t.Fatalf("reply %q", r.Text)
	}
	if r := s.message("x@other.example"); r.Code != 'c' {
		t.Errorf("reply %c %q", r.Code, r.Text)
	}
	if code, page := s.get("/readyz"); code != 200 || !strings.Contains(page, "greylist file: ok") {
		t.Errorf("readyz %d: %s", code, page)
	}
	var story string
	for range 100 { // the journal is written beside the mail
		if status, out, _ := run("explain", ref, "--admin", s.admin); status == 0 {
			story = out
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, want := range []string{"refused by rule no-shop", "mailwicket.yaml:7", `mail_from.domain`, "refused.example"} {
		if !strings.Contains(story, want) {
			t.Errorf("explain lacks %q:\n%s", want, story)
		}
	}
	if status, _, errs := run("explain", "AAAAA-AAAAA", "--admin", s.admin); status != 1 || !strings.Contains(errs, "AAAAA-AAAAA") {
		t.Errorf("explain of nothing: %d %s", status, errs)
	}
	next := strings.Replace(conf, "do: {reject", "mode: observe, do: {reject", 1)
	status, out, errs := run("replay", "--config", write(t, "next.yaml", next), "--journal", filepath.Join(s.dir, "data", "journal"))
	if status != 0 || !strings.Contains(out, "2 messages") || !regexp.MustCompile(`reject +continue +1`).MatchString(out) {
		t.Errorf("replay: %d\n%s%s", status, out, errs)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "mailwicket.yaml"), []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+s.admin+"/api/reload", "", nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("reload: %v %v", resp, err)
	}
	resp.Body.Close()
	if r := s.message("x@refused.example"); r.Code != 'c' {
		t.Errorf("after the reload: %c %q", r.Code, r.Text)
	}
	_, page := s.get("/metrics")
	for _, want := range []string{`mailwicket_rules_total{mode="enforce",rule="no-shop",verdict="reject"} 1`,
		`mailwicket_rules_total{mode="observe",rule="no-shop",verdict="reject"} 1`, `mailwicket_sessions_total 3`,
		`mailwicket_config_last_reload_successful 1`, `mailwicket_mta_info{version="Postfix 3.7.11"} 1`} {
		if !strings.Contains(page, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if st := s.end(); st != 0 {
		t.Errorf("exit status %d", st)
	}
}

// TestDependenciesDown: without DNS and Redis the server starts, says so, and
// answers each command in time.
func TestDependenciesDown(t *testing.T) {
	conf := strings.Replace(serveConf, "DNS", "127.0.0.1:9", 1) + "redis: {url: \"redis://127.0.0.1:9/0\"}\n"
	conf = strings.Replace(conf, `scope: "off"`, "scope: all", 1)
	s := serve(t, conf)
	if r := s.message("x@other.example"); !strings.HasPrefix(r.Text, "451 4.7.1 Greylisted") {
		t.Errorf("reply %c %q", r.Code, r.Text)
	}
	for range 100 {
		code, page := s.get("/readyz")
		if code == 200 && strings.Contains(page, "dns: degraded") && strings.Contains(page, "redis: degraded") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	_, page := s.get("/readyz")
	_, metrics := s.get("/metrics")
	for _, d := range []string{"dns", "redis"} {
		if !strings.Contains(page, d+": degraded") || !strings.Contains(metrics, `mailwicket_degraded{dependency="`+d+`"} 1`) {
			t.Errorf("%s is not told:\n%s", d, page)
		}
	}
}

// TestReloadKeepsOld: a mistake leaves the old configuration in force, and says so.
func TestReloadKeepsOld(t *testing.T) {
	s := serve(t, withZone(t, serveConf))
	file := filepath.Join(s.dir, "mailwicket.yaml")
	if err := os.WriteFile(file, []byte(serveConf+"profil: strict\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+s.admin+"/api/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 422 || !strings.Contains(string(body), `did you mean "profile"?`) {
		t.Errorf("reload: %d %s", resp.StatusCode, body)
	}
	if r := s.message("x@refused.example"); r.Code != 'y' {
		t.Errorf("the old rule is gone: %c", r.Code)
	}
	if _, page := s.get("/metrics"); !strings.Contains(page, "mailwicket_config_last_reload_successful 0") {
		t.Error("the metric does not tell")
	}
}

// TestTakenPort: one clear line and status 1.
func TestTakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conf := write(t, "c.yaml", "milter: {listen: [\"inet:"+ln.Addr().String()+"\"]}\nadmin: {listen: \"\"}\n")
	status, _, errs := run("serve", "--config", conf, "--data-dir", t.TempDir())
	if status != 1 || !strings.Contains(errs, "is taken") || strings.Count(errs, "\n") != 1 {
		t.Errorf("status %d: %s", status, errs)
	}
	status, _, errs = run("serve", "--data-dir", "/proc/nothing")
	if status != 1 || !strings.Contains(errs, "data_dir") || strings.Count(errs, "\n") != 1 {
		t.Errorf("status %d: %s", status, errs)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestFullDisk: what could not be printed is no success.
func TestFullDisk(t *testing.T) {
	for _, args := range [][]string{{"check", write(t, "m.eml", good), "--ip", "192.0.2.10", "--helo", "mail.shop.example", "--from", "a@shop.example",
		"--rcpt", "b@home.example", "--zone", write(t, "zone", zone)}, {"config", "show"}} {
		var e bytes.Buffer
		status := Main(args, Streams{In: strings.NewReader(""), Out: full{}, Err: &e, Stop: context.Background()})
		if status != 1 || !strings.Contains(e.String(), "no space left") {
			t.Errorf("%s: status %d, %s", args[0], status, &e)
		}
	}
}
