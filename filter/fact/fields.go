package fact

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mailwicket/filter/mail"
)

// Kind is the type of a field's value as rules see it.
type Kind uint8

// The kinds. Text may hold several strings: a matcher then asks for any of them.
const (
	Text Kind = iota
	Number
	Bool
	Addr
	Duration // compared as a number of seconds
)

var kindNames = [...]string{"text", "number", "yes/no", "address", "duration"}

// String gives the word used in the manual and in errors.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Value is one field as rules see it. Which member counts follows from the
// field's Kind.
type Value struct {
	State State
	Why   string
	Text  []string
	Num   float64 // Number, and Duration in seconds
	Bool  bool
	Addr  netip.Addr
	Note  string // more for the trace, such as the list's line

	// Texts that may belong to Text or not: whether they do could not be found.
	Open []string
}

// Field is one fact's public name: rules, trace, journal and manual read the
// table of them.
type Field struct {
	Name  string
	Kind  Kind
	Stage mail.Stage // the earliest stage at which it can be known
	Check string     // the check that finds it; "" where the MTA tells it
	Words []string   // the only texts that it can hold, where they are few
	Rcpt  bool       // it is of one recipient: known at RCPT only
	Doc   string     // one line for the manual
	Get   func(*Set) Value

	Personal bool // tells people apart: redacted records have a hash in its place
}

// String shows a value in traces. What comes from mail is quoted or cleaned: the
// text is safe on a terminal, and the same for facts that were recorded.
func (v Value) String(k Kind) string {
	if v.State != Known {
		if v.Why != "" {
			return v.State.String() + " (" + Clean(v.Why) + ")"
		}
		return v.State.String()
	}
	var s string
	switch k {
	case Number:
		s = strconv.FormatFloat(v.Num, 'f', -1, 64)
	case Duration:
		s = (time.Duration(v.Num * float64(time.Second))).String()
	case Bool:
		s = strconv.FormatBool(v.Bool)
	case Addr:
		s = v.Addr.String()
	default:
		s = quoted(v.Text)
	}
	if v.Note != "" {
		s += " (" + Clean(v.Note) + ")"
	}
	return s
}

func quoted(list []string) string {
	switch len(list) {
	case 0:
		return "nothing"
	case 1:
		return strconv.Quote(validUTF8(list[0]))
	}
	b := []byte{'['}
	for i, s := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendQuote(b, validUTF8(s))
	}
	return string(append(b, ']'))
}

// validUTF8 puts the replacement character for each wrong byte, as JSON does.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune { return r }, s)
}

// Clean takes out what could break a line, turn its direction or steer a
// terminal. Bytes that are not UTF-8 become the replacement character.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s)
}

func text[T any](f Fact[T], get func(T) string) Value {
	v := Value{State: f.State, Why: f.Why}
	if f.State == Known {
		v.Text = []string{get(f.Value)}
	}
	return v
}

func texts[T any](f Fact[T], get func(T) []string) Value {
	v := Value{State: f.State, Why: f.Why}
	if f.State == Known {
		v.Text = get(f.Value)
	}
	return v
}

func number[T any](f Fact[T], get func(T) float64) Value {
	v := Value{State: f.State, Why: f.Why}
	if f.State == Known {
		v.Num = get(f.Value)
	}
	return v
}

func yes[T any](f Fact[T], get func(T) bool) Value {
	v := Value{State: f.State, Why: f.Why}
	if f.State == Known {
		v.Bool = get(f.Value)
	}
	return v
}

func addr(f Fact[netip.Addr]) Value {
	v := Value{State: f.State, Why: f.Why}
	if f.State == Known {
		v.Addr = f.Value
	}
	return v
}

func id(s string) string           { return s }
func ids(s []string) []string      { return s }
func num(n int) float64            { return float64(n) }
func same(b bool) bool             { return b }
func size(n int64) float64         { return float64(n) }
func secs(d time.Duration) float64 { return d.Seconds() }

// hits lets rules ask for the names of the lists that matched.
func hits(f Fact[[]ListHit]) Value {
	v := Value{State: f.State, Why: f.Why}
	if f.State != Known {
		return v
	}
	var notes []string
	for _, h := range f.Value {
		if h.Silent != "" {
			v.Open = append(v.Open, h.List)
			notes = append(notes, h.List+" did not answer: "+h.Silent)
			continue
		}
		v.Text = append(v.Text, h.List)
		note := h.Subject + " matches " + h.Entry
		if h.Source != "" {
			note += " in " + h.Source
		}
		if h.Line > 0 {
			note += ":" + strconv.Itoa(h.Line)
		}
		if h.Comment != "" {
			note += ", " + h.Comment
		}
		notes = append(notes, note)
	}
	v.Note = strings.Join(notes, "; ")
	return v
}

// subjects gives what was looked up and found, each once.
func subjects(hits []ListHit) []string {
	var out []string
	for _, h := range hits {
		if h.Silent == "" && !slices.Contains(out, h.Subject) {
			out = append(out, h.Subject)
		}
	}
	return out
}

func linkAddrs(c Content) []string {
	var out []string
	for _, a := range c.Addrs {
		out = append(out, a.String())
	}
	return out
}

// Authenticated lists the domains that authenticate the message: a passing
// SPF MAIL FROM and the d= of passing DKIM signatures. It is known as soon as
// one is found, and not known while none is and a check could not be made.
func Authenticated(s *Set) Fact[[]string] {
	var ds []string
	spf, dkim := s.Txn.SPF, passing(s.Txn.DKIM)
	if spf.Known() && spf.Value.Result == "pass" {
		ds = append(ds, spf.Value.Domain)
	}
	if dkim.Known() {
		for _, d := range dkim.Value {
			ds = append(ds, d.Domain)
		}
	}
	none := func(st State, why string) Fact[[]string] { return Fact[[]string]{State: st, Why: why} }
	switch {
	case len(ds) > 0:
		return Is(ds)
	case spf.State == Failed:
		return none(Failed, spf.Why)
	case spf.Known() && spf.Value.Result == tempError:
		return none(Failed, tempError+" of spf")
	case !dkim.Known():
		return none(dkim.State, dkim.Why)
	case !spf.Known():
		return none(spf.State, spf.Why)
	}
	return Is(ds)
}

// tempError is the result of a check that found no answer (RFC 8601, 2.7).
const tempError = "temperror"

// passing gives the passing signatures. Where none passes and one could not be
// checked it is not known which domains signed.
func passing(f Fact[[]DKIM]) Fact[[]DKIM] {
	if !f.Known() {
		return f
	}
	var out []DKIM
	temp := false
	for _, d := range f.Value {
		if d.Result == "pass" {
			out = append(out, d)
		}
		temp = temp || d.Result == tempError
	}
	if len(out) == 0 && temp {
		return Fail[[]DKIM](tempError + " of dkim")
	}
	return Is(out)
}

// DKIMBest is the best result over all signatures, "none" without any.
func DKIMBest(sigs []DKIM) string {
	order := []string{"pass", "temperror", "policy", "neutral", "fail", "permerror"}
	for _, want := range order {
		for _, s := range sigs {
			if s.Result == want {
				return want
			}
		}
	}
	return "none"
}

// dkimText reads the passing signatures.
func dkimText(get func(DKIM) string) func(*Set) Value {
	return func(s *Set) Value {
		return texts(passing(s.Txn.DKIM), func(sigs []DKIM) []string {
			var out []string
			for _, d := range sigs {
				out = append(out, get(d))
			}
			return out
		})
	}
}

// mtaVersion is absent where the MTA did not tell it.
func mtaVersion(s *Set) Value {
	if s.Conn.MTA.Version == "" {
		return Value{}
	}
	return Value{State: Known, Text: []string{s.Conn.MTA.Version}}
}

var (
	spfWords   = []string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}
	dkimWords  = []string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}
	dmarcWords = []string{"none", "pass", "fail", "temperror", "permerror"}
	arcWords   = []string{"none", "pass", "fail"}
	iprevWords = []string{"pass", "fail", "temperror", "permerror"}
	greyWords  = []string{"defer", "pass", "known", "opted_out"}
)
