package config

import (
	"bytes"
	"os"
	"testing"

	"mailwicket/filter/list"
	"mailwicket/policy"
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
	f.Add(Default().Show())
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
