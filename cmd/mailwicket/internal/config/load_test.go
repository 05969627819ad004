package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/filter/list"
	"mailwicket/policy"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func env(value string) func(string) string {
	return func(name string) string {
		if name == PasswordVariable {
			return value
		}
		return ""
	}
}

func TestDefaultHasNoProblem(t *testing.T) {
	c, problems := Load("", nil)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", report(problems))
	}
	if d := diff(Default(), c); d != "" {
		t.Error(d)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	for file, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "none.yaml: cannot be read: no such file or directory\n",
		dir:                             filepath.Base(dir) + ": cannot be read: is a directory\n",
		write(t, dir, "big.yaml", strings.Repeat("# long\n", maxFile/7+1)): "big.yaml: the file is larger than 4MiB\n",
	} {
		c, problems := Load(file, noEnv)
		if got := report(problems); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if c == nil {
			t.Error("no configuration")
		}
	}
}

// A problem of meaning is told beside those of form, in the order of the file,
// but not a second one about a value that could not be read.
func TestProblemsAreToldOnce(t *testing.T) {
	file := write(t, t.TempDir(), "x.yaml", `greylist: {delay: long, retry_window: 2m}
data_dir: ""
log: {level: loud}
lists: [{name: 5 5, type: hosts, file: f, apply: [client]}]
`)
	_, problems := Load(file, noEnv)
	var got []string
	for _, p := range problems {
		got = append(got, p.Path)
	}
	want := []string{"greylist.delay", "data_dir", "log.level", "lists[0].name", "lists[0].type"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
}

// A file that is no configuration does not fill the screen.
func TestTooManyProblems(t *testing.T) {
	_, problems := Parse("f", []byte(strings.Repeat("x: 1\n", 2000)))
	if n := len(problems); n != keys.MaxProblems+1 || !strings.HasPrefix(problems[n-1].Message, "too many problems") {
		t.Errorf("%d problems, the last is %q", n, problems[n-1])
	}
	_, problems = Parse("f", []byte("dns: {servers: ["+strings.Repeat("[],", 1000)+"]}"))
	if n := len(problems); n != keys.MaxProblems+1 {
		t.Errorf("%d problems", n)
	}
}

func TestValues(t *testing.T) {
	c, problems := Load("testdata/good/everything.yaml", noEnv)
	if len(problems) > 0 {
		t.Fatal(report(problems))
	}
	var nets []string
	for _, n := range c.Milter.Allow {
		nets = append(nets, n.String())
	}
	for _, x := range []struct{ got, want any }{
		{strings.Join(nets, " "), "127.0.0.1/32 ::1/128 10.0.0.0/8 192.0.2.0/24"},
		{c.Milter.SocketMode, "0600"},
		{c.Milter.IdleTimeout.Std(), 90 * time.Minute},
		{c.Greylist.RetryWindow.Std(), 14 * 24 * time.Hour},
		{c.Greylist.PassLifetime.Std(), 36 * time.Hour},
		{c.Greylist.Scope, "off"},
		{c.Journal.MaxSize, Size(1 << 30)},
		{c.Journal.Keep, Duration(0)},
		{c.Trusted.Networks, []netip.Prefix(nil)},
		{c.DNS.ServerAddrs(), []string{"[::1]:53", "[::1]:5353", "127.0.0.1:53", "unbound:53"}},
		{c.Lists[0].Apply, []list.Point{"helo", "ptr", "mail_from", "header_from", "dkim", "links"}},
		{c.Lists[0].Do + " " + c.Lists[0].Mode, "reject enforce"},
		{c.Lists[1].Apply, []list.Point{"client"}},
		{c.Lists[2].Apply, []list.Point{"rcpt"}},
		{c.Lists[5].Apply, []list.Point{"helo", "ptr", "mail_from"}},
		{len(c.Rules), 2},
		{c.Rules[1].At.Line, 35},
	} {
		if fmt.Sprint(x.got) != fmt.Sprint(x.want) {
			t.Errorf("got %v, want %v", x.got, x.want)
		}
	}
}

func TestPosition(t *testing.T) {
	c, _ := Parse("f.yaml", []byte("log:\n  level: info\nlists:\n  - {name: a, type: ip, file: x}\n"))
	for path, want := range map[string]string{
		"log.level":         "f.yaml:2:3",
		"log.format":        "f.yaml:1:1",
		"lists[0].file":     "f.yaml:4:25",
		"lists[0].apply[2]": "f.yaml:4:5",
		"lists[7]":          "f.yaml:3:1",
		"milter.listen":     "f.yaml",
	} {
		if got := c.Position(path).String(); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	if got := Default().Position("log.level"); got != (policy.Position{}) {
		t.Errorf("the defaults stand at %v", got)
	}
}

func TestResolve(t *testing.T) {
	for _, x := range []struct{ file, path, want string }{
		{"/etc/mailwicket/m.yaml", "lists/a.txt", "/etc/mailwicket/lists/a.txt"},
		{"/etc/mailwicket/m.yaml", "../a.txt", "/etc/a.txt"},
		{"/etc/mailwicket/m.yaml", "/srv/a.txt", "/srv/a.txt"},
		{"/etc/mailwicket/m.yaml", "", ""},
		{"m.yaml", "a.txt", "a.txt"},
		{"", "a.txt", "a.txt"},
	} {
		if got := (&Config{File: x.file}).Resolve(x.path); got != x.want {
			t.Errorf("%s beside %s: got %s, want %s", x.path, x.file, got, x.want)
		}
	}
}

func TestRedisPassword(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "m.yaml")
	write(t, dir, "good", " hunter2\r\n")
	write(t, dir, "empty", "\n")
	write(t, dir, "two", "a\nb\n")
	write(t, dir, "long", strings.Repeat("a", maxSecret+1))
	for _, x := range []struct {
		redis     Redis
		env       string
		want, err string
	}{
		{redis: Redis{}},
		{redis: Redis{URL: "redis://h"}},
		{redis: Redis{URL: "redis://h"}, env: "hunter2", want: "hunter2"},
		{redis: Redis{URL: "redis://u:hunter%20%402@h"}, want: "hunter @2"},
		{redis: Redis{URL: "redis://h", PasswordFile: "good"}, want: "hunter2"},
		{redis: Redis{URL: "redis://h", PasswordFile: filepath.Join(dir, "good")}, want: "hunter2"},
		{redis: Redis{PasswordFile: "none"}, err: "cannot be read"},
		{redis: Redis{PasswordFile: "empty"}, err: "is empty"},
		{redis: Redis{PasswordFile: "two"}, err: "more than one line"},
		{redis: Redis{PasswordFile: "long"}, err: "larger than 4KiB"},
	} {
		c := Config{File: file, Redis: x.redis}
		got, err := c.RedisPassword(env(x.env))
		if string(got) != x.want || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%+v: got %q and %v, want %q and %q", x.redis, string(got), err, x.want, x.err)
		}
		told, _ := json.Marshal(got)
		if strings.Contains(fmt.Sprintf("%v %#v %q %s %v", got, got, got, told, err), "hunter") {
			t.Error("the password is printed")
		}
	}
}

func TestAdminToken(t *testing.T) {
	dir := t.TempDir()
	c := Config{File: filepath.Join(dir, "m.yaml")}
	if got, err := c.AdminToken(); got != "" || err != nil {
		t.Errorf("without a file: %q, %v", string(got), err)
	}
	c.Admin.TokenFile = "token"
	if _, err := c.AdminToken(); err == nil || !strings.Contains(err.Error(), "admin.token_file: "+dir) {
		t.Errorf("a missing file: %v", err)
	}
	write(t, dir, "token", "abc\n")
	if got, err := c.AdminToken(); got != "abc" || err != nil {
		t.Errorf("got %q, %v", string(got), err)
	}
}

func TestPasswordGivenTwice(t *testing.T) {
	for text, want := range map[string]string{
		"redis: {url: 'redis://h'}":                      "",
		"redis: {url: 'redis://:hunter2@h'}":             "m.yaml:1:9: redis.url: the password is also given by MAILWICKET_REDIS_PASSWORD (keep one of the two)\n",
		"redis: {url: 'redis://h', password_file: pass}": "m.yaml:1:27: redis.password_file: the password is also given by MAILWICKET_REDIS_PASSWORD (keep one of the two)\n",
	} {
		file := write(t, t.TempDir(), "m.yaml", text)
		_, problems := Load(file, env("hunter3"))
		if got := report(problems); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		if _, problems := Load(file, noEnv); len(problems) > 0 {
			t.Errorf("%s: %s", text, report(problems))
		}
	}
}

func TestRestartKeys(t *testing.T) {
	a, b := Default(), Default()
	if got := RestartKeys(a, b); len(got) > 0 {
		t.Errorf("equal ones differ in %v", got)
	}
	b.Milter.Listen = []string{"inet:127.0.0.1:1"}
	b.Milter.Allow = nil
	b.DNS.Cache.Size++
	b.Redis.URL = "redis://h"
	b.DataDir = "x"
	b.Profile = "strict"
	b.Lists = []List{{Name: "x"}}
	want := []string{"milter.listen", "data_dir", "redis.url", "dns.cache.size"}
	if d := cmp.Diff(want, RestartKeys(a, b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
