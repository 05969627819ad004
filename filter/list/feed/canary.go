package feed

import (
	"fmt"
	"net/netip"
	"strings"

	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/set"
	"mailwicket/filter/mail"
)

// providers are domains of many millions of honest senders. A list that holds one
// has gone wrong, or has been tampered with.
func providers() []string {
	return []string{
		"gmail.com", "googlemail.com", "google.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "microsoft.com",
		"yahoo.com", "yahoo.co.jp", "aol.com", "icloud.com", "me.com", "apple.com", "amazon.com", "amazonses.com",
		"proton.me", "protonmail.com", "fastmail.com", "gmx.net", "gmx.de", "web.de", "t-online.de", "freenet.de",
		"orange.fr", "free.fr", "laposte.net", "libero.it", "seznam.cz", "wp.pl", "mail.ru", "yandex.ru",
		"qq.com", "163.com", "126.com", "naver.com", "comcast.net", "att.net", "paypal.com", "github.com",
	}
}

// canaries look whether a list holds what must never be listed. They are used by
// one reading at a time.
type canaries struct {
	names []canary            // of domain and address lists
	nets  []netip.Prefix      // of IP lists
	known map[string]struct{} // every key under which a list could hold one of names

	seen map[string]set.Mark // keys that were met
	net  string              // the first network that was met
}

// canary is a name with the keys of lists that match it, the longest first.
type canary struct {
	text string
	keys []string
}

func newCanaries(c Config) *canaries {
	k := &canaries{known: map[string]struct{}{}}
	if c.Guard != GuardAll && c.Guard != "" {
		return k
	}
	own := c.Canaries
	if c.Kind != entry.IP {
		own = append(providers(), own...)
	}
	for _, text := range own {
		text = strings.TrimSpace(text)
		if n, ok := prefix(text); ok {
			k.nets = append(k.nets, n)
		} else if c.Kind != entry.IP {
			k.names = append(k.names, canary{text, keysOf(c.Kind, text)})
		}
	}
	for _, n := range k.names {
		for _, key := range n.keys {
			k.known[key] = struct{}{}
		}
	}
	return k
}

// prefix reads an address or network.
func prefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	n, err := netip.ParsePrefix(text)
	return n.Masked(), err == nil
}

// keysOf gives the keys of entries that match a domain or an address.
func keysOf(k entry.Kind, text string) (keys []string) {
	local, domain := "", text
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		local, domain = text[:at], text[at+1:]
	}
	domain = mail.CanonicalDomain(domain)
	if k == entry.Address {
		if local != "" {
			keys = append(keys, string(entry.AppendAddress(nil, local, domain)))
		}
		keys = append(keys, "@"+domain)
	}
	for domain != "" {
		keys = append(keys, domain)
		_, domain, _ = strings.Cut(domain, ".")
	}
	return keys
}

// begin forgets what an earlier reading has seen.
func (k *canaries) begin() { k.seen, k.net = map[string]set.Mark{}, "" }

// see looks at one entry. A nil k looks away.
func (k *canaries) see(line int, it entry.Item) {
	if k == nil {
		return
	}
	if _, ok := k.known[string(it.Name)]; ok && it.Name != nil {
		// As in the set: the first line stays, but an exception holds wherever it stands.
		if m, there := k.seen[string(it.Name)]; !there || it.Except && !m.Except {
			k.seen[string(it.Name)] = set.Mark{Line: line, Except: it.Except}
		}
	}
	if k.net != "" {
		return
	}
	for _, n := range it.Nets {
		for _, own := range k.nets {
			if n.Overlaps(own) {
				k.net = fmt.Sprintf("%s, in line %d as %s", own, line, n)
			}
		}
	}
}

// fault names the first canary that the list holds.
func (k *canaries) fault() error {
	if k.net != "" {
		return fmt.Errorf("%w: %s", ErrCanary, k.net)
	}
	for _, n := range k.names {
		for _, key := range n.keys {
			m, ok := k.seen[key]
			if ok && !m.Except {
				return fmt.Errorf("%w: %s, in line %d as %s", ErrCanary, n.text, m.Line, key)
			}
			if ok {
				break
			}
		}
	}
	return nil
}
