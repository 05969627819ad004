// Package content looks into the body of a message while it streams by: which
// hosts its links lead to, and what is wrong with its structure.
//
// Package mime cuts the message into parts and undoes their encoding, charset makes
// UTF-8 of text, link finds the hosts. Whoever wants to see parts for another reason
// (names and types of attachments, a virus scanner) is one more mime.Visitor.
package content

import (
	"net/netip"
	"strings"

	"mailwicket/filter/content/charset"
	"mailwicket/filter/content/link"
	"mailwicket/filter/content/mime"
	"mailwicket/filter/mail"
)

// MaxText is how much text of one message is looked at, decoded.
const MaxText = 8 << 20

// The defects that are neither of the structure nor of links.
const (
	unknownCharset = "unknown_charset"
	tooMuchText    = "too_much_text"
)

// DefectWords lists all words that a Finding can have, in their order.
func DefectWords() []string {
	var words []string
	for _, d := range mime.Defects() {
		words = append(words, string(d))
	}
	words = append(words, unknownCharset, tooMuchText)
	for _, d := range link.Defects() {
		words = append(words, string(d))
	}
	return words
}

// Finding is what was found in a body.
type Finding struct {
	Hosts   []string     // distinct, canonical, in the order of appearance
	Addrs   []netip.Addr // that links lead to without a name
	Defects []string     // what is broken or over a bound: words of DefectWords, in their order
	Over    bool         // something was over a bound, and not read
}

// Walker reads one body. It is used by one goroutine: New, Write for each piece,
// Close. Its memory is bounded whatever comes.
type Walker struct {
	parts *mime.Walker
	links *links
}

// New begins the body of a message with this header.
func New(h mail.Header) *Walker {
	l := &links{room: MaxText}
	return &Walker{parts: mime.New(h, l), links: l}
}

// Write takes a piece of the body, cut anywhere.
func (w *Walker) Write(p []byte) { w.parts.Write(p) }

// Hosts gives those found so far; later ones come behind them.
func (w *Walker) Hosts() []string { return w.links.found.Hosts() }

// Close ends the body.
func (w *Walker) Close() Finding {
	w.parts.Close()
	f := Finding{Hosts: w.links.found.Hosts(), Addrs: w.links.found.Addrs()}
	add := func(word string, over bool) { f.Defects, f.Over = append(f.Defects, word), f.Over || over }
	for _, d := range w.parts.Defects() {
		add(string(d), d.Over())
	}
	if w.links.unknown {
		add(unknownCharset, false)
	}
	if w.links.over {
		add(tooMuchText, true)
	}
	for _, d := range w.links.found.Defects() {
		add(string(d), d.Over())
	}
	return f
}

// links is the visitor that looks for links.
type links struct {
	found   link.Found
	room    int  // how much text may still be looked at
	over    bool // there was more
	unknown bool // a charset that nobody knows
}

// Begin takes the parts that mail programs show, and HTML in any place: who opens
// an attachment follows its links as well.
func (l *links) Begin(p mime.Part) mime.Sink {
	var scanner mime.Sink
	switch {
	case isHTML(p):
		scanner = link.NewHTML(&l.found)
	case p.Type == "text/rfc822-headers" || !strings.HasPrefix(p.Type, "text/"):
		return nil
	default:
		// Names without a scheme are no links in files and in source code.
		shown := p.Type == "text/plain" || p.Type == "text/enriched" || p.Type == "text/richtext"
		scanner = link.NewText(&l.found, shown && !p.Attachment)
	}
	s, known := charset.Reader(p.Charset, bounded{l, scanner})
	l.unknown = l.unknown || !known
	return s
}

func isHTML(p mime.Part) bool {
	switch p.Type {
	case "text/html", "application/xhtml+xml", "image/svg+xml":
		return true
	case "text/plain", "application/octet-stream":
		// Whoever opens the file sees what its name says.
		name := strings.ToLower(p.Name)
		for _, end := range []string{".html", ".htm", ".xhtml", ".xht", ".shtml", ".svg"} {
			if strings.HasSuffix(name, end) {
				return true
			}
		}
	}
	return false
}

// bounded ends the text where there is too much.
type bounded struct {
	l  *links
	to mime.Sink
}

func (b bounded) Write(p []byte) {
	if len(p) > b.l.room {
		p, b.l.over = p[:b.l.room], true
	}
	if b.l.room -= len(p); len(p) > 0 {
		b.to.Write(p)
	}
}

func (b bounded) End() { b.to.End() }
