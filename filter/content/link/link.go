// Package link finds the hosts that the text of a mail leads to: the targets in
// HTML, and what looks like a web address in visible text, read the way browsers
// and mail programs read it (WHATWG URL and HTML), so that what is written oddly
// is found under the name that would be visited.
//
// Text streams by in pieces of any size, which changes nothing of what is found.
// Memory is bounded, and time grows with the size and no faster.
//
// Mail addresses and mailto: are no links: whom one may write to says nothing about
// where one is led to. So are data:, cid:, tel: and their like.
package link

import (
	"net/netip"
	"slices"
)

// MaxHosts is how many distinct hosts, and how many addresses, of one message are
// kept.
const MaxHosts = 200

// The bounds of what one message may cost.
const (
	maxNames  = 10_000 // names that are converted
	maxCached = 1000   // of them are remembered, if they are short
	maxShort  = 100
)

// Defect is a word for something that is odd about links.
type Defect string

// The defects.
const (
	TooMany   Defect = "too_many_links" // more than MaxHosts: the rest is not kept
	TooLong   Defect = "long_link"      // longer than is read: its host may not be known
	Disguised Defect = "disguised_link" // a host that is written to be taken for another, or for none
)

// Defects lists all words, in the order in which Found has them.
func Defects() []Defect { return []Defect{TooMany, TooLong, Disguised} }

// Over tells whether a defect means that something was not read.
func (d Defect) Over() bool { return d == TooMany || d == TooLong }

// Found gathers what the scanners of one message find. The zero value is empty. It
// is used by one goroutine.
type Found struct {
	hosts   []string
	seen    map[string]struct{}
	addrs   []netip.Addr
	defects []Defect

	names  int               // converted so far
	cached map[string]string // as they are written -> canonical
	full   bool              // TooMany: nothing more is looked at
}

// Hosts gives the distinct names in the order of their appearance, in the form of
// mail.CanonicalDomain. More may be added behind them later on.
func (f *Found) Hosts() []string { return f.hosts }

// Addrs gives the distinct addresses that links lead to without any name.
func (f *Found) Addrs() []netip.Addr { return f.addrs }

// Defects gives what was odd, each word once, in the order of Defects.
func (f *Found) Defects() []Defect {
	return slices.DeleteFunc(Defects(), func(d Defect) bool { return !slices.Contains(f.defects, d) })
}

func (f *Found) defect(d Defect) {
	if !slices.Contains(f.defects, d) {
		f.defects = append(f.defects, d)
	}
}

func (f *Found) addHost(name string) {
	if _, ok := f.seen[name]; ok {
		return
	}
	if len(f.hosts) >= MaxHosts {
		f.stop()
		return
	}
	if f.seen == nil {
		f.seen = map[string]struct{}{}
	}
	f.seen[name] = struct{}{}
	f.hosts = append(f.hosts, name)
}

func (f *Found) addAddr(a netip.Addr) {
	if slices.Contains(f.addrs, a) {
		return
	}
	if len(f.addrs) >= MaxHosts {
		f.stop()
		return
	}
	f.addrs = append(f.addrs, a)
}

func (f *Found) stop() {
	f.full = true
	f.defect(TooMany)
}

// canonical gives the name that is looked up in the DNS for a host as it is
// written; "" where that is too long, or too many have been.
func (f *Found) canonical(h []byte) string {
	if len(h) > maxHost || f.full {
		return ""
	}
	if name, ok := f.cached[string(h)]; ok {
		return name
	}
	if f.names++; f.names > maxNames {
		f.stop()
		return ""
	}
	name := canonical(string(h))
	if len(h) <= maxShort && len(f.cached) < maxCached {
		if f.cached == nil {
			f.cached = map[string]string{}
		}
		f.cached[string(h)] = name
	}
	return name
}
