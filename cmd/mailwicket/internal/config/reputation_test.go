package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/dnsbl"
	"mailwicket/filter/limit"
	"mailwicket/filter/list"
	"mailwicket/filter/list/feed"
)

func TestListConfigs(t *testing.T) {
	c, problems := Load("testdata/good/everything.yaml", noEnv)
	if len(problems) > 0 {
		t.Fatal(report(problems))
	}
	c.Lists[4].Mode = "off"
	c.File = "/etc/mailwicket/m.yaml"
	var names []string
	all := c.ListConfigs()
	for _, l := range all {
		names = append(names, l.Name)
	}
	if d := cmp.Diff([]string{"harmful", "nets", "people", "feed", "odd"}, names); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	want := list.Config{Name: "harmful", Kind: list.Domain, File: "/etc/mailwicket/harmful.txt",
		Apply: []list.Point{"helo", "ptr", "mail_from", "header_from", "dkim", "links"}, Dir: "state/lists"}
	if d := cmp.Diff(want, all[0]); d != "" {
		t.Errorf("file (-want +got):\n%s", d)
	}
	want = list.Config{Name: "feed", Kind: list.Domain, URL: "https://cdn.example.org/gh/x@latest/list.txt", Apply: want.Apply,
		Every: 6 * time.Hour, MaxBytes: feed.DefaultMaxBytes, Guard: feed.GuardAll, Canaries: []string{"example.org", "a@example.org"}, Dir: "state/lists"}
	if d := cmp.Diff(want, all[3]); d != "" {
		t.Errorf("feed (-want +got):\n%s", d)
	}
}

func TestLimits(t *testing.T) {
	c, problems := Load("testdata/good/everything.yaml", noEnv)
	if len(problems) > 0 {
		t.Fatal(report(problems))
	}
	want := []limit.Limit{
		{Name: "per-user", Key: []limit.Key{limit.AuthUser}, Count: 200, Per: time.Hour, Unit: limit.Messages},
		{Name: "size", Key: []limit.Key{limit.Net, limit.RcptDomain}, Count: 1 << 30, Per: 24 * time.Hour, Burst: 10 << 20, Unit: limit.Bytes},
	}
	if d := cmp.Diff(want, c.Limits()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := limit.Validate(c.Limits()); err != nil {
		t.Error(err)
	}
}

const zonesText = `
dnsbl:
  - {zone: Zen.Example.org, name: zen-a.b, type: ip, codes: {127.0.0.2-11: listed, 127.0.0.4: xbl}, key_file: key}
  - {zone: off.example.org, type: ip, codes: {127.0.0.2: x}, key_file: none, mode: off}
  - {zone: dbl.example.org, type: domain, apply: [helo], codes: {127.0.0.2: x}, weight: 2, test: t.example, do: none}
`

func TestZones(t *testing.T) {
	dir := t.TempDir()
	c, problems := Load(write(t, dir, "m.yaml", zonesText), noEnv)
	if len(problems) > 0 {
		t.Fatal(report(problems))
	}
	variable := func(value string) func(string) string {
		return func(name string) string { return map[string]string{"MAILWICKET_DNSBL_KEY_ZEN_A_B": value}[name] }
	}
	for _, x := range []struct {
		file, env, key, err string
	}{
		{err: "dnsbl[0].key_file: " + filepath.Join(dir, "key") + " cannot be read"},
		{file: "\n", err: "is empty"},
		{file: "hunter2.hunter3\n", err: "zone zen-a.b: key is not one label"},
		{file: "hunter2\n", key: "hunter2"},
		{file: "other\n", env: "hunter2", key: "hunter2"},
	} {
		if x.file != "" {
			write(t, dir, "key", x.file)
		}
		zones, err := c.Zones(variable(x.env))
		if (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%+v: %v", x, err)
		}
		if err != nil && (zones != nil || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%+v: zones %v, %v", x, zones, err)
		}
		if err == nil && (len(zones) != 2 || string(zones[0].Key) != x.key || zones[1].Key != "") {
			t.Errorf("%+v: %d zones", x, len(zones))
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", zones, zones, zones), "hunter") {
			t.Error("the key is printed")
		}
	}
	zones, _ := c.Zones(variable(""))
	if got, want := zones[0].Codes[0].Name+" "+zones[0].Codes[1].Name, "xbl listed"; got != want {
		t.Errorf("codes %s, want %s", got, want)
	}
	z := zones[1]
	if z.Name != "dbl.example.org" || z.Weight != 2 || z.Type != dnsbl.Domain || z.Ask != dnsbl.Registered || z.Test != "t.example" || len(z.Apply) != 1 {
		t.Errorf("zone %+v", z)
	}
}

func TestZoneKeyGivenTwice(t *testing.T) {
	file := write(t, t.TempDir(), "m.yaml", zonesText)
	_, problems := Load(file, func(name string) string { return map[string]string{"MAILWICKET_DNSBL_KEY_ZEN_A_B": "hunter2"}[name] })
	const want = "m.yaml:3:101: dnsbl[0].key_file: the key is also given by MAILWICKET_DNSBL_KEY_ZEN_A_B (keep one of the two)\n"
	if got := report(problems); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// No address is looked up where a zone's type is only mistyped.
func TestOwnAddressesAreToldOnce(t *testing.T) {
	_, problems := Load(write(t, t.TempDir(), "m.yaml", `
reputation: {own_ips: [5.9.0.1]}
dnsbl: [{zone: zen.example.org, type: ipv4, codes: {127.0.0.2: x}}]
`), noEnv)
	if len(problems) != 1 || problems[0].Path != "dnsbl[0].type" {
		t.Errorf("problems:\n%s", report(problems))
	}
}
