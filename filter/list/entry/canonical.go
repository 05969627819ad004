package entry

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrEntry is a text that is no entry.
var ErrEntry = errors.New("not an entry")

// Canonical gives the entries that a person's text stands for, each in the one
// form that a list of this kind may hold it in: so that what was added as
// "*.Example.COM." is found again, and removed as "example.com". A range of
// addresses stands for several networks. What is broad needs the "=", as in a
// file.
func Canonical(k Kind, text string) (entries []string, err error) {
	text = strings.TrimSpace(text)
	l, err := single(k, text)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrEntry, text, err)
	}
	for _, n := range l.Nets {
		entries = append(entries, meant(k, prefixText(n)))
	}
	switch {
	case l.Name == nil:
	case l.Except:
		entries = append(entries, "@@||"+string(l.Name)+"^")
	default:
		entries = append(entries, meant(k, written(string(l.Name))))
	}
	return entries, nil
}

// single reads a text that must be one entry and nothing else.
func single(k Kind, text string) (Item, error) {
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return Item{}, errors.New("control character")
	}
	l := NewParser(k).Parse([]byte(text))
	switch {
	case l.Why != "":
		return Item{}, errors.New(l.Why)
	case len(l.Items) != 1 || l.Comment != nil:
		return Item{}, errors.New("want one entry, without a comment")
	}
	return l.Items[0], nil
}

// meant writes "=" before what would be too broad otherwise.
func meant(k Kind, entry string) string {
	if _, err := single(k, entry); err != nil {
		return "=" + entry
	}
	return entry
}

// written is the key of a name or an address as a list holds it: local parts are
// quoted where they must be (RFC 5321, 4.1.2).
func written(key string) string {
	at := strings.LastIndexByte(key, '@')
	if at <= 0 {
		return key
	}
	if l, err := single(Address, key); err == nil && string(l.Name) == key {
		return key
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key[:at]) + `"` + key[at:]
}

func prefixText(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}
