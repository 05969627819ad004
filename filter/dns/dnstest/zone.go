// Package dnstest serves the DNS from a zone file: in process for tests and
// for offline checks, or as a real server on the loopback. One file holds the
// whole DNS that a test sees, from the root down.
//
// Zone files are master files (RFC 1035, 5) with these liberties: names without
// the final dot are absolute unless $ORIGIN says otherwise, class and TTL may
// be left out, and a line may make a name fail:
//
//	broken.example      TEMPERROR      ; SERVFAIL for every type
//	slow.example    TXT TIMEOUT        ; no answer to TXT, other types as usual
//	gone.example        NXDOMAIN       ; absent in spite of a wildcard
//
// Wildcards follow RFC 4592, aliases are followed within the file, names with
// records of other types and names above other names answer NODATA.
package dnstest

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns/internal/wire"
)

// Zone is the content of a zone file and what happens to questions about it.
// It is safe for concurrent use, changes included.
type Zone struct {
	mu      sync.Mutex
	content *content
	knobs   Knobs
	queries map[string]int
}

// Knobs make all questions of a zone go wrong. The zero value changes nothing.
type Knobs struct {
	Delay    time.Duration // before each answer
	Drop     bool          // never answer
	Refuse   bool          // answer REFUSED
	ServFail bool          // answer SERVFAIL
	NoChase  bool          // give an alias without what it leads to
	Wildcard netip.Addr    // valid: names that do not exist have this address
}

// Parse reads a zone file. The name occurs in error messages.
func Parse(name string, r io.Reader) (*Zone, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c, err := parse(name, string(text))
	if err != nil {
		return nil, err
	}
	return &Zone{content: c, queries: map[string]int{}}, nil
}

// MustParse is Parse for texts in tests and in the program itself. It panics
// when the text is wrong.
func MustParse(text string) *Zone {
	z, err := Parse("zone", strings.NewReader(text))
	if err != nil {
		panic(err)
	}
	return z
}

// Set replaces the content. On error the old one stays.
func (z *Zone) Set(text string) error {
	c, err := parse("zone", text)
	if err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.content = c
	return nil
}

// Tune sets the knobs from now on.
func (z *Zone) Tune(k Knobs) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.knobs = k
}

// Queries tells how often each question was asked since the last Reset, with
// keys such as "example.com TXT".
func (z *Zone) Queries() map[string]int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.queries)
}

// Reset sets the counts of questions to zero.
func (z *Zone) Reset() {
	z.mu.Lock()
	defer z.mu.Unlock()
	clear(z.queries)
}

// outcome is how a question is answered.
type outcome struct {
	rcode  int
	answer []mdns.RR
	soa    *mdns.SOA
	drop   bool
	delay  time.Duration
}

// ask counts a question and answers it.
func (z *Zone) ask(name string, qtype uint16) outcome {
	z.mu.Lock()
	z.queries[name+" "+mdns.Type(qtype).String()]++
	c, k := z.content, z.knobs
	z.mu.Unlock()

	o := outcome{delay: k.Delay, drop: k.Drop}
	switch {
	case k.Drop:
		return o
	case k.Refuse:
		o.rcode = mdns.RcodeRefused
		return o
	case k.ServFail:
		o.rcode = mdns.RcodeServerFailure
		return o
	}
	c.answer(&o, name, qtype, !k.NoChase)
	if o.rcode == mdns.RcodeNameError && k.Wildcard.IsValid() && qtype == mdns.TypeA {
		o.rcode = mdns.RcodeSuccess
		o.answer = append(o.answer, &mdns.A{A: k.Wildcard.AsSlice(),
			Hdr: mdns.RR_Header{Name: wire.Presentation(name), Rrtype: qtype, Class: mdns.ClassINET, Ttl: 60}})
	}
	return o
}
