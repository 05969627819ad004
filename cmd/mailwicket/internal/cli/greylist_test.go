package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailwicket/cmd/mailwicket/internal/api"
)

// redisServer starts a real Redis on a free loopback port. Without one installed
// the test is skipped, or fails where MAILWICKET_REQUIRE_ALL=1.
func redisServer(t *testing.T) (addr string, kill func()) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatal("redis-server is not installed, and MAILWICKET_REQUIRE_ALL=1")
		}
		t.Skip("redis-server is not installed")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	ln.Close()
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := false
	kill = func() {
		if !dead {
			dead = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr, kill
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("redis-server does not listen")
	return "", nil
}

// greylister runs `mailwicket greylist` against one server.
type greylister struct {
	*served
	token string
}

const greylistConf = `
milter: {listen: ["inet:127.0.0.1:0"]}
dns: {servers: ["DNS"], timeout: 500ms}
greylist: {scope: all}
`

func serveGreylist(t *testing.T, more string) *greylister {
	t.Helper()
	g := &greylister{token: write(t, "token", "hush\n")}
	conf := greylistConf + "admin: {listen: \"127.0.0.1:0\", token_file: " + g.token + "}\n" + more
	g.served = serve(t, withZone(t, conf))
	return g
}

// do runs a command, which must end with the status and print the words on
// either stream.
func (g *greylister) do(status int, words string, args ...string) string {
	g.t.Helper()
	got, out, errs := run(append([]string{"greylist"}, append(args, "--admin", g.admin, "--token-file", g.token)...)...)
	if got != status || !strings.Contains(out+errs, words) {
		g.t.Errorf("greylist %s: status %d, want %d and %q\n%s%s", strings.Join(args, " "), got, status, words, out, errs)
	}
	return out
}

// data runs a command with --json and reads what it prints.
func data[T any](g *greylister, args ...string) (v T) {
	g.t.Helper()
	out := g.do(0, "", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		g.t.Errorf("%v: %v\n%s", args, err, out)
	}
	return v
}

func (g *greylister) mail(from string, greylisted bool) {
	g.t.Helper()
	if r := g.message(from); strings.HasPrefix(r.Text, "451 4.7.1 Greylisted") != greylisted {
		g.t.Errorf("%s: reply %c %q, want greylisted %v", from, r.Code, r.Text, greylisted)
	}
}

// TestGreylist plays a postmaster's day with either store.
func TestGreylist(t *testing.T) {
	for name, play := range map[string]func(*testing.T){
		"file": func(t *testing.T) {
			g := serveGreylist(t, "")
			greylistShow(t, g)
			greylistChange(t, g)
			greylistImport(t, g)
		},
		"redis": func(t *testing.T) {
			addr, kill := redisServer(t)
			g := serveGreylist(t, "redis: {url: \"redis://"+addr+"/0\"}\n")
			greylistShow(t, g)
			greylistChange(t, g)
			greylistImport(t, g)
			kill()
			for _, args := range [][]string{{"list"}, {"allow", "spf:shop.example"}, {"forget", "spf:shop.example"}, {"show", "spf:shop.example"},
				{"show", "--ip", "192.0.2.10", "--from", "x@other.example", "--rcpt", "b@home.example"},
				{"import", write(t, "one", "192.0.2.10 z@shop.example b@home.example\n")}} {
				g.do(1, `try again when /readyz says "redis: ok"`, args...)
			}
		},
	} {
		t.Run(name, play)
	}
}

// greylistShow: showing tells what a retry would get, and is no contact.
func greylistShow(t *testing.T, g *greylister) {
	g.do(0, "nothing is stored", "list")
	mail := []string{"show", "--ip", "192.0.2.10", "--helo", "mail.shop.example", "--from", "x@other.example", "--rcpt", "b@home.example"}
	if st := data[api.GreylistStory](g, mail...); st.Status != "defer" || !st.New || st.Remaining != 240 || st.Identity != "host:shop.example" {
		t.Errorf("before the first contact: %+v", st)
	}
	g.mail("x@other.example", true)
	all := data[[]api.GreylistEntry](g, "list")
	if len(all) != 1 || all[0].Kind != "triplet" || all[0].State != "waiting" || all[0].Attempts != 1 {
		t.Fatalf("after the first contact: %+v", all)
	}
	key := all[0].Key
	st := data[api.GreylistStory](g, mail...)
	if st.Key != key || st.Status != "defer" || st.New || st.Remaining < 1 || st.Remaining > 240 || st.Triplet == nil ||
		!st.RetryFrom.Equal(st.Triplet.FirstSeen.Add(240*time.Second)) || !st.RetryUntil.Equal(st.Triplet.FirstSeen.Add(48*time.Hour)) {
		t.Errorf("after the first contact: %+v", st)
	}
	if m := st.Mail; m == nil || !m.Asked || m.Verdict != "tempfail" || m.Rule != "greylist" || m.IPrev != "pass" || m.SPF != "none" {
		t.Errorf("the policy's word: %+v", m)
	}
	g.do(0, "asks the greylist; up to the recipient the verdict is tempfail by rule greylist", mail...)
	g.do(0, "a retry passes in ", "show", key)
	g.do(0, "waits 240 seconds with the first mail", "show", "host:shop.example")
	if again := data[[]api.GreylistEntry](g, "list"); len(again) != 1 || again[0] != all[0] {
		t.Errorf("showing changed it: %+v, was %+v", again, all)
	}
	// A null sender is asked about at the end of the header.
	if st := data[api.GreylistStory](g, "show", "--ip", "192.0.2.10", "--helo", "mail.shop.example", "--from", "<>", "--rcpt", "b@home.example"); st.Mail == nil || !st.Mail.Asked || st.Mail.Rule != "greylist-null-sender" {
		t.Errorf("null sender: %+v", st.Mail)
	}
	for _, tt := range []struct {
		status int
		words  string
		args   []string
	}{
		{2, "want either", []string{"show"}},
		{2, "want either", []string{"show", "spf:a.example", "--ip", "192.0.2.1"}},
		{2, "--rcpt", []string{"show", "--ip", "192.0.2.1", "--from", "a@b.example"}},
		{1, "is no IP address", []string{"show", "--ip", "192.0.2", "--from", "a@b.example", "--rcpt", "c@d.example"}},
		{1, "is no identity and no key: want an identity such as", []string{"show", "shop"}},
		{1, "is no kind of identity", []string{"show", "dkim:shop.example"}},
		{1, "nothing is stored under the key", []string{"show", strings.Repeat("A", 22)}},
		{2, "identity", []string{"list", "--kind", "sender"}},
		{1, "networks are taken by /24 (greylist.net4)", []string{"allow", "net:192.0.2.0/28"}},
		{1, "nothing is stored of spf:nowhere.example", []string{"forget", "spf:nowhere.example"}},
	} {
		g.do(tt.status, tt.words, tt.args...)
	}
	if status, _, errs := run("greylist", "list", "--admin", g.admin); status != 1 || !strings.Contains(errs, "token") {
		t.Errorf("without the token: %d %s", status, errs)
	}
}

// greylistChange: allowing and forgetting are what the next mail gets.
func greylistChange(t *testing.T, g *greylister) {
	g.do(0, "host:shop.example is allowed", "allow", "host:mail.shop.example")
	g.mail("x@other.example", false)
	g.mail("new@other.example", false)
	if named := data[[]api.GreylistEntry](g, "list", "--name", "SHOP", "--kind", "identity"); len(named) != 1 || named[0].State != "allowed" || named[0].Name != "host:shop.example" {
		t.Errorf("list: %+v", named)
	}
	g.do(0, "passes at once: the client is known", "show", "host:shop.example")
	g.do(0, "host:shop.example is forgotten: 2 records removed", "forget", "host:shop.example")
	g.do(0, "nothing is stored", "list")
	g.mail("x@other.example", true)
	key := data[[]api.GreylistEntry](g, "list")[0].Key
	g.do(0, "1 records removed", "forget", key)
	g.do(1, "nothing is stored of", "forget", key)
}

// greylistImport: what passed elsewhere passes here at once, by whichever
// identity the client has.
func greylistImport(t *testing.T, g *greylister) {
	now := time.Now().Unix()
	text := fmt.Sprintf(`VERSION=3
format=print
HEADER=END
 192.0.2.0/old@shop.example/b@home.example
 %d,%d,10
 192.0.2.0/early@shop.example/b@home.example
 %d,%d,10
 192.0.2.0/ancient@shop.example/b@home.example
 1500000000,1500090000,10
DATA=END
192.0.2.10 host@other.example b@home.example
192.0.2.10 host@other.example
`, now-90000, now-3600, now-100, now-90)
	g.do(0, "2 triplets remembered as passed; 3 left out: 1 had not passed there, 1 are too old, 1 lines are bad",
		"import", write(t, "postgrey.txt", text))
	g.do(0, "line 12: want CLIENT SENDER RECIPIENT", "import", write(t, "postgrey.txt", text)) // again does no harm
	g.mail("old@shop.example", false)                                                          // spf:shop.example
	g.mail("host@other.example", false)                                                        // host:shop.example
	g.mail("early@shop.example", true)
	if ids := data[[]api.GreylistEntry](g, "list", "--kind", "identity"); len(ids) != 2 || ids[0].State != "1 of 2 passes" || ids[0].Passes != 1 {
		t.Errorf("identities: %+v", ids)
	}
	g.do(1, "no line could be read", "import", write(t, "bad", "hello\nworld\n"))
	g.do(2, "db_dump -p postgrey.db", "import", write(t, "db", "\x00\x01\x02"))
	g.do(2, "no such file", "import", filepath.Join(t.TempDir(), "none"))
	g.do(0, "0 triplets remembered", "import", "-") // nothing comes in
	var many strings.Builder
	for i := range 250 {
		fmt.Fprintf(&many, "192.0.2.10 many@shop.example user-%c%c@home.example\n", 'a'+i/26, 'a'+i%26)
	}
	rep := data[importReport](g, "import", write(t, "many", many.String()))
	if rep.Remembered != 250 || rep.Read != 250 || len(rep.Bad) != 0 {
		t.Errorf("250 triplets: %+v", rep)
	}
	seen := map[string]bool{}
	for _, e := range data[[]api.GreylistEntry](g, "list", "--limit", "0") {
		seen[e.Key] = true
	}
	if len(seen) != 255 { // and two identities, three triplets
		t.Errorf("%d records listed, want 255", len(seen))
	}
	out := g.do(0, "There are more", "list", "--limit", "10", "--kind", "triplet")
	if n := len(regexp.MustCompile(`(?m)^triplet .* passed `).FindAllString(out, -1)); strings.Count(out, "\n") != 11 || n < 8 {
		t.Errorf("ten of them:\n%s", out)
	}
}

// TestGreylistImportWithoutDNS: who a client is cannot be told, and nothing is
// stored under a wrong name.
func TestGreylistImportWithoutDNS(t *testing.T) {
	s := serve(t, strings.Replace(serveConf, "DNS", "127.0.0.1:9", 1))
	for range 200 {
		if _, page := s.get("/readyz"); strings.Contains(page, "dns: degraded") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	file := write(t, "one", "192.0.2.10 a@shop.example b@home.example\n")
	status, _, errs := run("greylist", "import", file, "--admin", s.admin)
	if status != 1 || !strings.Contains(errs, "line 1 and those after it were not sent") || !strings.Contains(errs, "DNS does not answer") {
		t.Errorf("status %d: %s", status, errs)
	}
	if status, _, errs = run("greylist", "list", "--admin", "127.0.0.1:9"); status != 1 || !strings.Contains(errs, "is it running") {
		t.Errorf("without a server: status %d: %s", status, errs)
	}
}
