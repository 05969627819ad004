package config

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"mailwicket/filter/list"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

func TestShowHidesPasswords(t *testing.T) {
	for url, want := range map[string]string{
		"redis://:hunter2@h/0":             "redis://:xxxxx@h/0",
		"redis://u:hunter2@h:1":            "redis://u:xxxxx@h:1",
		"redis://u:hunter2/@:hunter2@h":    "redis://u:xxxxx@h",
		"redis+sentinel://u:hunter2@a,b/m": "redis+sentinel://u:xxxxx@a,b/m",
		"redis://hunter2@h":                "redis://xxxxx@h",
		"hunter2@h":                        "xxxxx@h",
		"redis://h/0":                      "redis://h/0",
	} {
		c := Default()
		c.Redis.URL = url
		shown := c.Show()
		if bytes.Contains(shown, []byte("hunter2")) {
			t.Errorf("%s: the password is shown", url)
		}
		back, _ := Parse("", shown)
		if back.Redis.URL != want {
			t.Errorf("%s: got %s, want %s", url, back.Redis.URL, want)
		}
		if c.Redis.URL != url {
			t.Error("Show has changed the configuration")
		}
	}
}

func TestShowHidesFeeds(t *testing.T) {
	for url, want := range map[string]string{
		"https://h/a@latest/b.txt":           "https://h/a@latest/b.txt",
		"https://u:hunter2@h/a@b.txt":        "https://xxxxx@h/a@b.txt",
		"https://hunter2@h/":                 "https://xxxxx@h/",
		"https://h/l?key=hunter2":            "https://h/l?xxxxx",
		"https://h/l?a=b@c&hunter2":          "https://h/l?xxxxx",
		"https://h/l#hunter2":                "https://h/l#xxxxx",
		"https://u:hunter2@h:port/?hunter2":  "https://u:xxxxx@h:port/?xxxxx",
		"https://u:hun?ter2@h/l?key=hunter2": "https://u:xxxxx@h/l?xxxxx",
	} {
		c := Default()
		c.Lists = []List{{Name: "x", Type: list.Domain, URL: url}}
		shown := c.Show()
		if bytes.Contains(shown, []byte("hun")) {
			t.Errorf("%s: a secret is shown", url)
		}
		back, _ := Parse("", shown)
		if back.Lists[0].URL != want {
			t.Errorf("%s: got %s, want %s", url, back.Lists[0].URL, want)
		}
		if c.Lists[0].URL != url {
			t.Error("Show has changed the configuration")
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Nanosecond: "1ns", 100 * time.Millisecond: "100ms", 8 * time.Second: "8s", 90 * time.Second: "90s",
		240 * time.Second: "240s", 5 * time.Minute: "5m", 90 * time.Minute: "90m", 2 * time.Hour: "2h", 48 * time.Hour: "48h",
		36 * 24 * time.Hour: "36d", 73 * time.Hour: "73h", 61*time.Minute + time.Second: "3661s", 1500 * time.Millisecond: "1.5s",
	} {
		got := Duration(d).String()
		if got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
		if back, err := rulefile.ParseDuration(got); err != nil || back != d {
			t.Errorf("%s reads back as %v, %v", got, back, err)
		}
	}
}

func TestSize(t *testing.T) {
	for s, want := range map[string]Size{
		"0": 0, "1": 1, "512": 512, "1B": 1, "512KiB": 512 << 10, "10MiB": 10 << 20, "2 GiB": 2 << 30, "1TiB": 1 << 40,
	} {
		got, err := parseSize(s)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", s, got, err)
		}
		if back, err := parseSize(got.String()); err != nil || back != got {
			t.Errorf("%s shows as %s", s, got)
		}
	}
	for s, hint := range map[string]string{
		"10MB": "did you mean 10MiB?", "10k": "did you mean 10KiB?", "10gb": "did you mean 10GiB?", "": "write", "x": "write", "-1": "write",
		"1.5GiB": "write", "9999999TiB": "write", "1b": "write", "MiB": "write", "1iB": "write", "99999999999999999999": "write",
	} {
		if got, err := parseSize(s); err == nil || !strings.HasPrefix(err.Error(), hint) {
			t.Errorf("%q: got %d, %v; want an error %q", s, got, err, hint)
		}
	}
}

func TestPrefix(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::1": "::1/128", "::ffff:192.0.2.1": "192.0.2.1/32", "192.0.2.0/24": "192.0.2.0/24",
		"::ffff:192.0.2.0/120": "192.0.2.0/24", "2001:db8::/32": "2001:db8::/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, _, ok := parsePrefix(s); !ok || got != netip.MustParsePrefix(want) {
			t.Errorf("%s: got %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "x", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/-1", "fe80::1%eth0", "fe80::%eth0/64", "192.0.2", "::1/64"} {
		if got, _, ok := parsePrefix(s); ok {
			t.Errorf("%s: got %v", s, got)
		}
	}
}

// No text crashes or hangs the reader. What it takes without a problem shows as
// text that it takes as the same.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		for _, file := range files(f, pattern) {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add(Example())
	f.Fuzz(func(t *testing.T, text []byte) {
		c, problems := Parse("f", text)
		c.Validate()
		for _, p := range problems {
			if p.Message == "" || p.At.File != "f" {
				t.Errorf("a problem without message or place: %#v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		if _, problems := policy.Compile(c.Rules); len(problems) > 0 {
			c.Rules = nil // what policies never take need not be printable
		}
		shown := c.Show()
		back, problems := Parse("f", shown)
		if len(problems) > 0 {
			t.Fatalf("Show does not parse:\n%s\n%s", report(problems), shown)
		}
		if d := diff(c.hidden(), back); d != "" {
			t.Fatalf("Show reads back otherwise (-was +is):\n%s\n%s", d, shown)
		}
	})
}
