package dnsbl

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mailwicket/filter/list"
)

func TestProblems(t *testing.T) {
	listed := codes(t, map[string]string{"127.0.0.2": "listed"})
	ip := Config{Zone: "zen.example", Type: IP, Codes: listed}
	name := Config{Zone: "dbl.example", Type: Domain, Codes: listed, Apply: []list.Point{list.PointHelo}}
	change := func(c Config, f func(*Config)) []Config { f(&c); return []Config{c} }
	for _, c := range []struct {
		name string
		cfgs []Config
		want string // key: part of the message; empty for none
	}{
		{"good", []Config{ip, name}, ""},
		{"all keys", change(name, func(c *Config) { c.Key, c.Name, c.Weight, c.Ask, c.Test = "k3y", "dbl", -2, Whole, "test.example" }), ""},
		{"the same zone twice", []Config{ip, {Zone: "zen.example", Name: "other", Type: IP, Codes: listed}}, ""},
		{"the same name twice", []Config{ip, {Zone: "ZEN.example.", Type: IP, Codes: listed}}, "name: is the name of zone 1 too"},
		{"no zone", change(ip, func(c *Config) { c.Zone = "" }), "zone: want a domain"},
		{"a single label", change(ip, func(c *Config) { c.Zone = "zen" }), "zone: want a domain"},
		{"a URL", change(ip, func(c *Config) { c.Zone = "https://zen.example" }), "zone: want a domain"},
		{"too long", change(ip, func(c *Config) { c.Zone = strings.Repeat("a.", 95) + "example" }), "zone: leaves no room"},
		{"a key in the zone", change(ip, func(c *Config) { c.Zone = "k3y.zen.dq.spamhaus.net" }), "zone: holds a key"},
		{"a key apart", change(ip, func(c *Config) { c.Zone, c.Key = "zen.dq.spamhaus.net", "k3y" }), ""},
		{"a key of two labels", change(ip, func(c *Config) { c.Key = "k3y.zen" }), "key: is not one label"},
		{"a bad name", change(ip, func(c *Config) { c.Name = "a b" }), "name: want a name"},
		{"no type", change(ip, func(c *Config) { c.Type = "" }), "type: want ip or domain"},
		{"points of an ip zone", change(ip, func(c *Config) { c.Apply = []list.Point{list.PointHelo} }), "apply: has no effect"},
		{"form of an ip zone", change(ip, func(c *Config) { c.Ask = Whole }), "ask: has no effect"},
		{"test of an ip zone", change(ip, func(c *Config) { c.Test = "TEST" }), "test: want an address"},
		{"no points", change(name, func(c *Config) { c.Apply = nil }), "apply: is asked for nothing"},
		{"a wrong point", change(name, func(c *Config) { c.Apply = []list.Point{list.PointRcpt} }), `apply: at "rcpt"`},
		{"a point twice", change(name, func(c *Config) { c.Apply = []list.Point{list.PointHelo, list.PointHelo} }), "apply: given twice"},
		{"a wrong form", change(name, func(c *Config) { c.Ask = "all" }), "ask: want registered or name"},
		{"a wrong test", change(name, func(c *Config) { c.Test = "a b" }), "test: want a name"},
		{"no codes", change(ip, func(c *Config) { c.Codes = nil }), "codes: no answer is a hit"},
		{"an empty pattern", change(ip, func(c *Config) { c.Codes = []CodeRule{{Name: "x"}} }), "codes: an empty pattern"},
		{"a code without name", change(ip, func(c *Config) { c.Codes = codes(t, map[string]string{"127.0.0.2": ""}) }), "codes: to have a name"},
		{"a name of two lines", change(ip, func(c *Config) { c.Codes = codes(t, map[string]string{"127.0.0.2": "a\nb"}) }), "codes: to have a name"},
		{"a code twice", change(ip, func(c *Config) { c.Codes = append(c.Codes, c.Codes[0]) }), "codes: given twice"},
	} {
		got := Problems(c.cfgs)
		if c.want == "" {
			if len(got) > 0 {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		key, message, _ := strings.Cut(c.want, ": ")
		if len(got) != 1 || got[0].Key != key || !strings.Contains(got[0].Message, message) || got[0].Index != len(c.cfgs)-1 {
			t.Errorf("%s: got %v, want one with %s", c.name, got, c.want)
		}
		if strings.Contains(fmt.Sprint(got), "k3y") {
			t.Errorf("%s: the key is told", c.name)
		}
	}
}

func TestSecretIsHidden(t *testing.T) {
	c := Config{Zone: "zen.example", Key: "k3y"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", c.Key, "config", c)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", c.Key, "config", c)
	if s := fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c.Key, c.Key) + log.String(); strings.Contains(s, "k3y") {
		t.Error(s)
	}
}

func TestPublicResolver(t *testing.T) {
	for _, s := range []string{"8.8.8.8", "8.8.4.4:53", "1.1.1.1", "1.0.0.1:53", "9.9.9.9", "149.112.112.112", "208.67.222.222:53",
		"208.67.220.220", "[2001:4860:4860::8888]:53", "2606:4700:4700::1111", "[2620:fe::fe]", "2620:119:35::35", "::ffff:8.8.8.8"} {
		if !PublicResolver(s) {
			t.Errorf("%s is not taken for a public resolver", s)
		}
	}
	for _, s := range []string{"", "127.0.0.1", "127.0.0.53:53", "[::1]:53", "192.0.2.53", "2001:db8::53", "resolver.example:53", "8.8.8.80", "[::1", "10.8.8.8"} {
		if PublicResolver(s) {
			t.Errorf("%s is taken for a public resolver", s)
		}
	}
}
