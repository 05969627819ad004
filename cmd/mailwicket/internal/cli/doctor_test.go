package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter/milter/client"
	"mailwicket/greylist/redisstore/redistest"
)

// examine runs doctor and gives what it finds, but for the disk of this machine,
// which may be full indeed.
func examine(t *testing.T, args ...string) (status int, found []doctor.Finding) {
	t.Helper()
	status, out, errs := run(append([]string{"doctor", "--json"}, args...)...)
	var r doctorReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errs)
	}
	return status, slices.DeleteFunc(r.Findings, func(f doctor.Finding) bool { return f.ID == "data-dir-full" })
}

func findingIDs(all []doctor.Finding) []string {
	out := []string{}
	for _, f := range all {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return out
}

// session plays a message of one client, with these macros at connect and none
// later but the queue id.
func (s *served) session(ip, queueID string, connect ...string) {
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
	c.Macros('C', connect...)
	for _, step := range []func() (client.Reply, error){
		func() (client.Reply, error) { return c.Connect("["+ip+"]", ip, 25000) },
		func() (client.Reply, error) { return c.Helo("mail.shop.example") },
		func() (client.Reply, error) { return c.Mail("<a@shop.example>") },
		func() (client.Reply, error) { return c.Rcpt("<b@home.example>") },
	} {
		if r, err := step(); err != nil || r.Code != 'c' {
			s.t.Fatalf("%+v, %v", r, err)
		}
	}
	if queueID != "" {
		c.Macros('N', "i", queueID)
	}
	if _, _, err := c.Message([]byte(strings.ReplaceAll(good, "\n", "\r\n"))); err != nil {
		s.t.Fatal(err)
	}
}

const doctorConf = `
milter: {listen: ["inet:127.0.0.1:0"]}
admin: {listen: "127.0.0.1:0"}
dns: {servers: ["DNS"], timeout: 500ms}
greylist: {scope: "off"}
`

// TestDoctorFindsAll: a server in a bad place, beside a Redis that evicts and a
// Postfix that does not wait. Exactly that is found, with its evidence.
func TestDoctorFindsAll(t *testing.T) {
	redis := redistest.Start(t, "maxmemory 10mb", "maxmemory-policy allkeys-lru")
	conf := strings.Replace(doctorConf, "DNS", dnsServer(t, zone+"*.wild.example. A 127.0.0.2\n"), 1) + `
redis: {url: "redis://` + redis.Addr + `"}
dnsbl: [{zone: wild.example, type: ip, codes: {127.0.0.2: listed}}]
lists: [{name: harmful, type: domain, file: none.txt}]
`
	s := serve(t, conf)
	for range 25 {
		s.session("172.17.0.1", "")
	}
	mainCf := write(t, "main.cf", "smtpd_milters = inet:"+s.milter+"\nmilter_command_timeout = 5s\nmilter_content_timeout = 15s\nmilter_default_action = accept\n")
	want := []string{"authserv-id", "client-nat", "dnsbl-poisoned", "list-not-loaded", "macros-missing", "mta-command-timeout", "mta-content-timeout",
		"mta-default-action", "redis-eviction", "redis-persistence"}
	var found []doctor.Finding
	var status int
	for range 200 { // the DNS list is probed beside the mail
		status, found = examine(t, "--admin", s.admin, "--main-cf", mainCf)
		if slices.Equal(findingIDs(found), want) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if d := cmp.Diff(want, findingIDs(found)); d != "" || status != 1 {
		t.Fatalf("status %d (-want +got)\n%s", status, d)
	}
	for id, says := range map[string]string{
		"client-nat": "25 of 25 messages", "redis-eviction": "maxmemory-policy is allkeys-lru, maxmemory is 10.0 MiB", "mta-command-timeout": "milter_command_timeout = 5s",
		"macros-missing": "j: not there in 25 of 25 (connect)", "dnsbl-poisoned": "as if it listed everything", "list-not-loaded": "none.txt",
	} {
		i := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.ID == id })
		if text := strings.Join(found[i].Evidence, "\n"); !strings.Contains(text, says) {
			t.Errorf("%s lacks %q:\n%s", id, says, text)
		}
		if found[i].Key != "" && (filepath.Base(found[i].At.File) != "mailwicket.yaml" || found[i].At.Line == 0 && found[i].Key != "milter.command_timeout") {
			t.Errorf("%s stands at %s", id, found[i].At)
		}
	}
	status, out, _ := run("doctor", "--admin", s.admin, "--main-cf", mainCf)
	for _, text := range []string{"PROBLEM  client-nat", "CONFIG SET maxmemory-policy noeviction", "milter_command_timeout = 30s", "6 problems, ", "MTA, Redis"} {
		if status != 1 || !strings.Contains(out, text) {
			t.Errorf("status %d, lacks %q:\n%s", status, text, out)
		}
	}
	if _, page := s.get("/metrics"); !strings.Contains(page, `mailwicket_doctor_findings{finding="client-nat",severity="problem"} 0`) {
		t.Error("the gauge is not there from the start")
	}
}

// TestDoctorFindsNothing: where all is well, nothing is found, with a token too.
func TestDoctorFindsNothing(t *testing.T) {
	token := write(t, "token", "secret\n")
	conf := strings.Replace(doctorConf, "DNS", dnsServer(t, zone+"2.0.0.127.zen.example. A 127.0.0.2\n"), 1) +
		"dnsbl: [{zone: zen.example, type: ip, codes: {127.0.0.2: listed}}]\n"
	s := serve(t, strings.Replace(conf, `listen: "127.0.0.1:0"`, `listen: "127.0.0.1:0", token_file: `+token, 1))
	for i := range 25 {
		s.session("192.0.2."+string(rune('1'+i%9)), "4F2A1", "j", "mx.home.example", "v", "Postfix 3.7.11", "_", "x [192.0.2.1]",
			"{client_ptr}", "unknown", "{client_resolve}", "FAIL")
	}
	mainCf := write(t, "main.cf", "smtpd_milters = inet:"+s.milter+"\n")
	if status, found := examine(t, "--admin", s.admin, "--main-cf", mainCf, "--token-file", token); len(found) > 0 {
		t.Errorf("status %d: %+v", status, found)
	}
	_, found := examine(t, "--admin", s.admin, "--main-cf", mainCf)
	if len(found) == 0 || found[len(found)-1].ID != "server-down" || !strings.Contains(found[len(found)-1].Evidence[0], "a token is needed") {
		t.Errorf("without the token: %+v", found)
	}
}

// TestDoctorReload: what a running server meets is told while it lasts.
func TestDoctorReload(t *testing.T) {
	conf := strings.Replace(doctorConf, "DNS", dnsServer(t, zone), 1)
	s := serve(t, conf)
	mainCf := write(t, "main.cf", "smtpd_milters = inet:"+s.milter+"\n")
	file := filepath.Join(s.dir, "mailwicket.yaml")
	reload := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post("http://"+s.admin+"/api/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	for _, c := range []struct {
		text string
		want []string
	}{
		{conf + "profil: strict\n", []string{"reload-failed"}},
		{conf + "milter: {}\n", []string{"reload-failed"}},
		{strings.Replace(conf, `milter: {`, `milter: {message_timeout: 40s, `, 1), []string{"restart-needed"}},
		{conf, []string{}},
	} {
		reload(c.text)
		if _, found := examine(t, "--admin", s.admin, "--main-cf", mainCf); !slices.Equal(findingIDs(found), c.want) {
			t.Errorf("want %v, found %+v", c.want, found)
		}
	}
}

// TestDoctorAsks: a configuration that is named says which server is meant, else
// the environment does; the flag is above both.
func TestDoctorAsks(t *testing.T) {
	s := serve(t, strings.Replace(doctorConf, "DNS", dnsServer(t, zone), 1))
	other, mainCf := redistest.FreeAddr(t), write(t, "main.cf", "smtpd_milters = inet:"+s.milter+"\n")
	named := func(addr string) []string {
		return []string{"--config", write(t, "m.yaml", "admin: {listen: \""+addr+"\"}\n")}
	}
	for name, c := range map[string]struct {
		env  string
		args []string
		asks bool
	}{
		"configuration":                  {other, named(s.admin), true},
		"configuration of another":       {s.admin, named(other), false},
		"environment":                    {s.admin, nil, true},
		"flag beside both":               {other, append(named(other), "--admin", s.admin), true},
		"flag, with the others the same": {s.admin, append(named(s.admin), "--admin", other), false},
	} {
		t.Setenv("MAILWICKET_ADMIN", c.env)
		_, out, _ := run(append([]string{"doctor", "--main-cf", mainCf}, c.args...)...)
		if got := strings.Contains(out, "server at "+s.admin); got != c.asks {
			t.Errorf("%s: asks %v, want %v:\n%s", name, got, c.asks, out)
		}
	}
}

// TestDoctorAlone: without a server doctor says so, and examines what it can.
func TestDoctorAlone(t *testing.T) {
	dns := dnsServer(t, zone)
	good := "admin: {listen: \"" + redistest.FreeAddr(t) + "\"}\ndns: {servers: [\"" + dns + "\"], timeout: 500ms}\ndata_dir: " + t.TempDir() + "\n"
	mainCf := write(t, "main.cf", "smtpd_milters = inet:127.0.0.1:8891\n")
	for name, c := range map[string]struct {
		conf   string
		args   []string
		status int
		want   []string
	}{
		"all well":     {good, []string{"--main-cf", mainCf}, 3, []string{"server-down"}},
		"not attached": {good, []string{"--main-cf", write(t, "main.cf", "")}, 1, []string{"mta-not-attached", "server-down"}},
		"Sendmail": {good, []string{"--sendmail-mc", write(t, "sendmail.mc", "INPUT_MAIL_FILTER(`x', `S=inet:8891@127.0.0.1, F=T')\n")}, 1,
			[]string{"mta-command-timeout", "server-down"}},
		"no Redis":   {good + "redis: {url: \"redis://" + redistest.FreeAddr(t) + "\"}\n", []string{"--main-cf", mainCf}, 1, []string{"redis-down", "server-down"}},
		"a bad file": {good + "profil: strict\n", []string{"--main-cf", mainCf}, 1, []string{"config-bad", "server-down"}},
		// Nothing tells where its server would be, and at the default may be one of the machine's own.
		"a file that is not YAML": {strings.Replace(good, "}", "", 1), []string{"--main-cf", mainCf, "--admin", redistest.FreeAddr(t)}, 1, []string{"config-bad", "server-down"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, found := examine(t, append(c.args, "--config", write(t, "m.yaml", c.conf))...)
			if d := cmp.Diff(c.want, findingIDs(found)); d != "" || status != c.status {
				t.Errorf("status %d (-want +got)\n%s", status, d)
			}
		})
	}
	t.Run("no MTA", func(t *testing.T) {
		if _, err := os.Stat("/etc/mail/sendmail.cf"); err == nil {
			t.Skip("there is a Sendmail on this machine")
		}
		t.Setenv("PATH", t.TempDir())
		if _, found := examine(t, "--config", write(t, "m.yaml", good)); !slices.Equal(findingIDs(found), []string{"mta-unknown", "server-down"}) {
			t.Errorf("%+v", found)
		}
	})
}

func TestDoctorUsage(t *testing.T) {
	file := write(t, "f", "milter_command_timeout = soon\nsmtpd_milters = inet:h:1\n")
	for _, args := range [][]string{
		{"doctor", "--main-cf", file, "--sendmail-mc", file},
		{"doctor", "--main-cf", file},
		{"doctor", "--config", file + ".none"},
		{"doctor", "--main-cf", file + ".none"},
	} {
		if status, _, errs := run(args...); status != 2 || !strings.Contains(errs, "f") {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}
