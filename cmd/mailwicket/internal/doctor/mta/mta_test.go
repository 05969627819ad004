package mta

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/cmd/mailwicket/internal/doctor"
)

// told writes evidence in few words.
func told(m *doctor.MTA) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s protocol %d\n", m.Kind, m.Protocol)
	for _, list := range [][]doctor.Filter{m.Filters, m.Local} {
		for _, f := range list {
			fmt.Fprintf(&b, "%s (%s): %s %s %s, %q\n", f.Address, f.Where, patience(f.Connect), patience(f.Command), patience(f.Content), f.Action.Word)
		}
	}
	return b.String()
}

func patience(p doctor.Patience) string {
	if p.Own {
		return p.For.String() + "!"
	}
	return p.For.String()
}

const mainCf = `# A comment
myhostname = mx.example.org
milters = inet:$filterhost:8891
filterhost = localhost
smtpd_milters = ${milters},
  # a comment inside
  { inet:127.0.0.1:11332, connect_timeout=1s, command_timeout=2m,
    content_timeout=1h, { default_action = accept } }
	unix:/milter/m.sock
non_smtpd_milters = $smtpd_milters
milter_protocol = 4
milter_default_action=quarantine
milter_command_timeout = 5
milter_content_timeout = 1d
smtpd_banner = no milters = here
`

func TestMainCf(t *testing.T) {
	for name, c := range map[string]struct{ main, master, want string }{
		"defaults": {"", "", "postfix protocol 6\n"},
		"much": {mainCf, "", `postfix protocol 4
inet:localhost:8891 (smtpd_milters): 30s 5s 24h0m0s, "quarantine"
inet:127.0.0.1:11332 (smtpd_milters): 1s! 2m0s! 1h0m0s!, "accept"
unix:/milter/m.sock (smtpd_milters): 30s 5s 24h0m0s, "quarantine"
inet:localhost:8891 (non_smtpd_milters): 30s 5s 24h0m0s, "quarantine"
inet:127.0.0.1:11332 (non_smtpd_milters): 1s! 2m0s! 1h0m0s!, "accept"
unix:/milter/m.sock (non_smtpd_milters): 30s 5s 24h0m0s, "quarantine"
`},
		"one service alone": {"milters = inet:localhost:8891\n", `# smtp inet n - - - - smtpd -o smtpd_milters=inet:no:1
smtp      inet  n       -       y       -       -       smtpd
  -o smtpd_milters=$milters
  -o { smtpd_client_restrictions = permit }
submission inet n - y - - smtpd
  -o smtpd_milters=
10025 inet n - n - - smtpd -o { smtpd_milters = inet:h:1, unix:/s }
`, `postfix protocol 6
inet:localhost:8891 (smtpd_milters of smtp in master.cf): 30s 30s 5m0s, "tempfail"
inet:h:1 (smtpd_milters of 10025 in master.cf): 30s 30s 5m0s, "tempfail"
unix:/s (smtpd_milters of 10025 in master.cf): 30s 30s 5m0s, "tempfail"
`},
		"the last one counts":      {"smtpd_milters = inet:a:1\nsmtpd_milters = inet:b:2\n", "", "postfix protocol 6\ninet:b:2 (smtpd_milters): 30s 30s 5m0s, \"tempfail\"\n"},
		"a name that is not there": {"smtpd_milters = inet:$nosuch:1\n", "", "postfix protocol 6\ninet:$nosuch:1 (smtpd_milters): 30s 30s 5m0s, \"tempfail\"\n"},
		"itself":                   {"smtpd_milters = $smtpd_milters\n", "", "postfix protocol 6\n$smtpd_milters (smtpd_milters): 30s 30s 5m0s, \"tempfail\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := write(t, dir, "main.cf", c.main)
			if c.master != "" {
				write(t, dir, "master.cf", c.master)
			}
			m, err := MainCf(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, told(m)); d != "" || !m.Named || m.Source != file {
				t.Errorf("%+v (-want +got)\n%s", m, d)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What cannot be read is an error, never a guess.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"smtpd_milters = inet:a:1\nmilter_command_timeout = soon\n": `milter_command_timeout = soon: time "soon" cannot be read`,
		"smtpd_milters = {}\n":                                `smtpd_milters: "{}" cannot be read`,
		"smtpd_milters = {inet:a:1, content_timeout=${x?5s}}": `time "${x?5s}" cannot be read`,
	} {
		if m, err := MainCf(write(t, dir, "main.cf", text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	if _, err := MainCf(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := MainCf(dir); err == nil {
		t.Error("a directory is read")
	}
	for _, text := range []string{"INPUT_MAIL_FILTER(`x', `F=T')\n", "INPUT_MAIL_FILTER(`x', `S=local:/s, T=R:soon')\n"} {
		if m, err := SendmailFile(write(t, dir, "sendmail.mc", text)); !errors.Is(err, ErrSetting) {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
}

func TestSendmail(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing": {"", "sendmail protocol 0\n"},
		"ours": {"dnl INPUT_MAIL_FILTER(`no', `S=inet:1@h')\nINPUT_MAIL_FILTER(`mailwicket', `S=inet:8891@127.0.0.1, F=T, T=C:10s;S:10s;R:30s;E:5m')dnl\n",
			"sendmail protocol 0\ninet:127.0.0.1:8891 (the filter mailwicket): 10s 30s 5m0s, \"tempfail\"\n"},
		"defaults": {"INPUT_MAIL_FILTER(`a', `S=local:/run/a.sock')\n INPUT_MAIL_FILTER( `b' , `S=inet6:1@::1, F=R, T=R:2m' )\n",
			"sendmail protocol 0\nunix:/run/a.sock (the filter a): 5m0s 10s 5m0s, \"accept\"\ninet:[::1]:1 (the filter b): 5m0s 2m0s 5m0s, \"reject\"\n"},
		"defined, not asked": {"MAIL_FILTER(`a', `S=inet:1')\nMAIL_FILTER(`b', `S=inet:2')\ndefine(`confINPUT_MAIL_FILTERS', `b')dnl\n",
			"sendmail protocol 0\ninet:localhost:2 (the filter b): 5m0s 10s 5m0s, \"accept\"\n"},
		"cf": {"O InputMailFilters=mailwicket\nXmailwicket, S=inet:8891@127.0.0.1, F=4, T=E:30s\nXother, S=inet:1@h\n",
			"sendmail protocol 0\ninet:127.0.0.1:8891 (the filter mailwicket): 5m0s 10s 30s, \"shutdown\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := SendmailFile(write(t, t.TempDir(), "sendmail.mc", c.text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, told(m)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// The files that we ship for both MTAs attach us, and leave nothing to find.
func TestShippedFiles(t *testing.T) {
	deploy := "../../../../../deploy/"
	postfix, err := MainCf(deploy + "postfix/main.cf")
	if err != nil {
		t.Fatal(err)
	}
	sendmail, err := SendmailFile(deploy + "sendmail/sendmail.mc")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*doctor.MTA{postfix, sendmail} {
		e := doctor.Evidence{MTA: m, Settings: &doctor.Settings{Listen: []string{"inet:127.0.0.1:8891"}, Command: 8 * time.Second,
			Header: 20 * time.Second, Message: 45 * time.Second}}
		if got := doctor.Examine(e); len(m.Filters) != 1 || len(got) > 0 {
			t.Errorf("%s: %+v", told(m), got)
		}
	}
}

// Postfix itself reads the same of a file as we do.
func TestPostconfAgrees(t *testing.T) {
	m, err := Local(t.Context())
	if err != nil || m.Kind != doctor.Postfix {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatalf("Postfix is not installed: %v", err)
		}
		t.Skipf("Postfix is not installed: %v", err)
	}
	dir := t.TempDir()
	write(t, dir, "main.cf", mainCf)
	write(t, dir, "master.cf", "")
	t.Setenv("MAIL_CONFIG", dir)
	asked, err := Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read, err := MainCf(filepath.Join(dir, "main.cf"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(told(asked), told(read)); d != "" {
		t.Errorf("(-postconf +file)\n%s", d)
	}
}

func TestNoMTA(t *testing.T) {
	if _, err := os.Stat("/etc/mail/sendmail.cf"); err == nil {
		t.Skip("there is a Sendmail on this machine")
	}
	t.Setenv("PATH", t.TempDir())
	if m, err := Local(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("%+v, %v", m, err)
	}
}

// Files of whatever form are read in bounded time, and give filters with an address.
func FuzzFiles(f *testing.F) {
	f.Add(mainCf, "smtp inet n - y - - smtpd\n  -o smtpd_milters=$milters\n")
	f.Add("smtpd_milters = {{}}, {a", "x -o{smtpd_milters={}")
	f.Add("a=$a$a$a$a\nsmtpd_milters=$a", "O InputMailFilters=a\nXa, S=inet:1@h, T=R:1s")
	f.Fuzz(func(t *testing.T, one, two string) {
		if m, err := postfix("f", parseMain(one), two); err == nil {
			for _, x := range append(m.Filters, m.Local...) {
				if x.Address == "" {
					t.Errorf("a filter without an address: %+v", x)
				}
			}
		}
		if m, err := sendmail("f", two); err == nil {
			for _, x := range m.Filters {
				if x.Address == "" {
					t.Errorf("a filter without an address: %+v", x)
				}
			}
		}
	})
}
