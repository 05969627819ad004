package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"mailwicket/filter/list"
	"mailwicket/filter/list/feed"
)

// Fill gives a list the points that fit it where none are named, and a feed what
// it does not say. links tells whether links are looked for at all.
func (l *List) Fill(links bool) {
	if l.URL != "" {
		l.fillFeed()
	}
	if len(l.Apply) > 0 || l.Type == "" {
		return
	}
	for _, p := range list.Points() {
		if unfit(l.Type, p) == "" && senseless(l.Do, p) == "" && p != list.PointRcpt && (links || p != list.PointLinks) {
			l.Apply = append(l.Apply, p)
		}
	}
}

func (l *List) fillFeed() {
	if l.Every == 0 {
		l.Every = Duration(feed.DefaultEvery)
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = feed.DefaultMaxBytes
	}
	if l.Guard == "" {
		l.Guard = feed.GuardAll
	}
}

// ListConfigs gives the lists that are not off. Copies of feeds and of lists in
// Redis lie below data_dir.
func (c *Config) ListConfigs() []list.Config {
	var out []list.Config
	for _, l := range c.Lists {
		if l.Mode == "off" {
			continue
		}
		out = append(out, list.Config{
			Name: l.Name, Kind: l.Type, File: c.Resolve(l.File), URL: l.URL, Redis: l.Redis, Apply: l.Apply,
			Every: l.Every.Std(), MaxBytes: int64(l.MaxBytes), Guard: l.Guard, Canaries: l.Canaries,
			Dir: filepath.Join(c.DataDir, "lists")})
	}
	return out
}

func (v *validator) lists() {
	first := map[string]string{}
	for i, l := range v.c.Lists {
		path := index("lists", i)
		v.name(path, l.Name, "list", first)
		v.source(path, l)
		v.feed(path, l)
		v.points(path, l)
	}
}

// name checks one of several names that must differ.
func (v *validator) name(path, name, what string, first map[string]string) {
	switch {
	case name == "" && v.broken(path+".name"):
	case !validListName(name):
		v.problem(path+".name", fmt.Sprintf("want a name of a-z, 0-9 and hyphens, got %q", name), "for example harmful-domains")
	case first[name] != "":
		v.problem(path+".name", fmt.Sprintf("%q is the name of %s too", name, first[name]), "give each "+what+" a name of its own")
	default:
		first[name] = path
	}
}

// source checks that a list comes from one place.
func (v *validator) source(path string, l List) {
	var given []string
	for _, k := range []struct {
		name string
		is   bool
	}{{"file", l.File != ""}, {"url", l.URL != ""}, {"redis", l.Redis}} {
		if k.is || v.c.broken[path+"."+k.name] {
			given = append(given, k.name)
		}
	}
	switch {
	case len(given) == 0:
		v.problem(path, "the list has no source", "give one of file, url and redis: true")
	case len(given) > 1:
		v.problem(path+"."+given[1], "the list has a "+given[0]+" already", "keep one of file, url and redis", path+"."+given[0])
	case l.Redis && v.c.Redis.URL == "":
		v.problem(path+".redis", "there is no Redis to keep it in", "set redis.url", "redis.url")
	case l.URL != "":
		if hint := feedProblem(l.URL); hint != "" {
			v.problem(path+".url", "want an address of the form https://HOST/PATH", hint)
		}
	}
}

// feedProblem tells what is wrong with a URL, without showing it.
func feedProblem(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "this is no URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "only http:// and https:// are read; write file: for a file"
	case u.Hostname() == "":
		return "there is no host in it"
	case u.Fragment != "":
		return "take out what follows the #"
	}
	return ""
}

// feed checks the keys that go with a URL.
func (v *validator) feed(path string, l List) {
	if l.URL == "" {
		for _, k := range []struct {
			name  string
			given bool
		}{{"every", l.Every != 0}, {"max_bytes", l.MaxBytes != 0}, {"guard", l.Guard != ""}, {"canaries", len(l.Canaries) > 0}} {
			if k.given {
				v.problem(path+"."+k.name, "has no effect without url", "take it out", path+".url")
			}
		}
		return
	}
	if len(l.Canaries) > 0 && l.Guard != feed.GuardAll {
		v.problem(path+".canaries", "has no effect with guard: "+string(l.Guard), "write guard: all", path+".guard")
	}
	for i, s := range l.Canaries {
		if want, hint := canaryProblem(l.Type, s); want != "" {
			v.problem(index(path+".canaries", i), fmt.Sprintf("want %s, got %q", want, s), hint, path+".type")
		}
	}
}

// canaryProblem tells what a canary should be that a list of a kind can never
// hold.
func canaryProblem(k list.Kind, s string) (want, hint string) {
	_, err := netip.ParseAddr(s)
	_, err2 := netip.ParsePrefix(s)
	ip := err == nil || err2 == nil
	switch {
	case k == list.IP && !ip:
		return "an address or network", "the list holds nothing else"
	case k != list.IP && ip:
		return "a domain or a mail address", "a list of type " + string(k) + " holds no networks"
	case k != list.IP && !validMailbox(s):
		return "a domain or a mail address", mailboxHint(s)
	}
	return "", ""
}

// points checks where a list is looked up.
func (v *validator) points(path string, l List) {
	seen := map[list.Point]bool{}
	for i, p := range l.Apply {
		sub := index(path+".apply", i)
		switch {
		case seen[p]:
			v.problem(sub, fmt.Sprintf("%q is given twice", p), "")
		case unfit(l.Type, p) != "":
			v.problem(sub, unfit(l.Type, p), "these fit: "+strings.Join(fitting(l), ", "), path+".type")
		case senseless(l.Do, p) != "":
			v.problem(sub, senseless(l.Do, p), "these fit: "+strings.Join(fitting(l), ", "), path+".do", path+".type")
		case p == list.PointLinks && !v.c.Content.Links:
			v.problem(sub, noLinks, noLinksHint, "content.links")
		}
		seen[p] = true
	}
}

// fitting names the points that a list may be looked up at.
func fitting(l List) []string {
	var out []string
	for _, p := range list.Points() {
		if unfit(l.Type, p) == "" && senseless(l.Do, p) == "" {
			out = append(out, string(p))
		}
	}
	return out
}

// unfit tells why a list of a type cannot be looked up at a point.
func unfit(k list.Kind, p list.Point) string {
	switch {
	case k == list.IP && p != list.PointClient:
		return fmt.Sprintf("a list of networks is not looked up at %s", p)
	case k != list.IP && p == list.PointClient:
		return fmt.Sprintf("a list of type %s is not looked up at client, which is an IP address", k)
	case k == list.Address && p != list.PointMailFrom && p != list.PointRcpt && p != list.PointHeaderFrom:
		return fmt.Sprintf("a list of addresses is not looked up at %s, which is a domain", p)
	}
	return ""
}

// senseless tells why a list cannot do something at a point.
func senseless(do string, p list.Point) string {
	switch {
	case do == "accept" && p == list.PointLinks:
		return "accept is not possible at links: anyone may link to anything"
	case do == "suspicious" && (p == list.PointHeaderFrom || p == list.PointDKIM || p == list.PointLinks):
		return fmt.Sprintf("suspicious is not possible at %s: greylisting is decided before the message is sent", p)
	case (do == "discard" || do == "quarantine") && p == list.PointRcpt:
		return do + " is not possible at rcpt: the message may have other recipients"
	}
	return ""
}

// What is wrong with links as a point where nobody looks for them.
const (
	noLinks     = "has no effect: content.links is false"
	noLinksHint = "take it out, or set content.links to true"
)

func validListName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}
