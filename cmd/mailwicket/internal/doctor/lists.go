package doctor

import (
	"fmt"
	"time"

	"mailwicket/filter/dnsbl"
)

// dns looks at the servers that names are looked up at.
func (x *examiner) dns() {
	asked, silent := 0, 0
	for _, s := range x.DNS {
		if s.Asked {
			asked++
		}
		if s.Err != "" {
			silent++
		}
	}
	d, down := x.degraded("dns")
	switch {
	case asked > 0 && silent == asked || asked == 0 && down:
		var seen []string
		for _, s := range x.DNS {
			if s.Err != "" {
				seen = append(seen, s.Addr+": "+s.Err)
			}
		}
		if len(seen) == 0 {
			seen = []string{d.Detail}
		}
		x.add("dns-down", Finding{Summary: "no DNS server answers", Evidence: seen, Fix: "look at the servers, or name others", Key: "dns.servers",
			Lines: []string{`servers: ["127.0.0.1:53"]`}})
	case silent > 0:
		for _, s := range x.DNS {
			if s.Err != "" {
				x.add("dns-server-silent", Finding{Summary: "the DNS server " + s.Addr + " does not answer", Evidence: []string{s.Err},
					Fix: "look at it, or take it out", Key: s.Key})
			}
		}
	}
}

// zones looks at DNS lists, and at whom they are asked through.
func (x *examiner) zones() {
	for _, z := range x.Zones {
		if !z.OK && z.Fault != "" {
			x.zone(z)
		}
	}
	for _, s := range x.DNS {
		if s.Public && len(x.Zones) > 0 {
			x.add("dns-public", Finding{Summary: "DNS lists are asked through the public resolver " + s.Addr,
				Evidence: []string{fmt.Sprintf("%d DNS lists are configured", len(x.Zones))},
				Fix:      "run a resolver of your own, such as unbound, and name it", Key: s.Key, Lines: []string{`servers: ["127.0.0.1:53"]`}})
		}
	}
}

func (x *examiner) zone(z Zone) {
	f := Finding{Evidence: []string{z.Why}, Key: z.Key}
	if !z.Since.IsZero() {
		f.Evidence = append(f.Evidence, "out of service since "+z.Since.UTC().Format("2006-01-02 15:04 UTC"))
	}
	switch z.Fault {
	case dnsbl.FaultRefusing:
		f.Summary = "the DNS list " + z.Name + " refuses our questions"
		f.Fix = "ask through a resolver of your own (dns.servers), get a key from its operator (key_file), or take it out"
		x.add("dnsbl-refused", f)
	case dnsbl.FaultWildcard:
		f.Summary = "the DNS list " + z.Name + " lists everything"
		f.Fix = "take it out if it has been closed down; else your resolver lies about it: use another one (dns.servers)"
		x.add("dnsbl-poisoned", f)
	case dnsbl.FaultForeign:
		f.Summary = "somebody else answers for the DNS list " + z.Name
		f.Fix = "take it out if its domain has been given up; else your resolver lies about names that do not exist: use another one (dns.servers)"
		x.add("dnsbl-poisoned", f)
	default:
		f.Summary = "the DNS list " + z.Name + " is out of service"
		f.Fix = "wait if its operator has trouble; take it out if it is gone; name its test entry (test) if it has one of its own"
		x.add("dnsbl-out-of-service", f)
	}
}

// patient is how long a feed may be silent.
func patient(l List) time.Duration { return max(24*time.Hour, 3*l.Every) }

// lists looks at lists, and at where they come from.
func (x *examiner) lists() {
	probed := map[string]bool{}
	for _, f := range x.Feeds {
		if f.Err != "" {
			probed[f.List] = true
			x.add("feed-failing", Finding{Summary: "the feed of list " + f.List + " cannot be had", Evidence: []string{f.Err},
				Fix: "look at the address, the network and the proxy", Key: f.Key})
		}
	}
	for _, l := range x.Lists {
		x.list(l)
		if l.Feed && l.LastError != "" && !probed[l.Name] {
			x.add("feed-failing", Finding{Summary: "the feed of list " + l.Name + " cannot be had", Evidence: []string{l.LastError},
				Fix: "look at the address, the network and the proxy; a size that is right passes with `mailwicket list confirm " + l.Name + "`", Key: l.Key})
		}
	}
}

func (x *examiner) list(l List) {
	switch {
	case l.Loaded.IsZero() && l.Feed && l.LastTry.IsZero(): // it is being fetched for the first time
	case l.Loaded.IsZero() && l.Err != "":
		x.add("list-not-loaded", Finding{Summary: "list " + l.Name + " has never been read: nothing is on it", Evidence: []string{l.Err},
			Fix: "see what is wrong with " + l.Source, Key: l.Key})
	case l.Err != "":
		x.add("list-stale", Finding{Summary: "the newest version of list " + l.Name + " is not in force", Evidence: []string{l.Err},
			Fix: "see what is wrong with " + l.Source, Key: l.Key})
	case l.Feed && !l.LastSuccess.IsZero() && x.Now.Sub(l.LastSuccess) > patient(l):
		x.add("list-stale", Finding{Summary: "list " + l.Name + " is an old copy",
			Evidence: []string{fmt.Sprintf("its feed was last found good at %s, %d entries are in force", l.LastSuccess.UTC().Format("2006-01-02 15:04 UTC"), l.Entries)},
			Fix:      "see what is wrong with " + l.Source, Key: l.Key})
	case !l.Feed && l.LastError != "": // in Redis
		x.add("list-stale", Finding{Summary: "list " + l.Name + " may miss changes", Evidence: []string{l.LastError}, Fix: "look at Redis", Key: l.Key})
	}
}
