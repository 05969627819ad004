package fact

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

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
func (k Kind) String() string { return kindNames[k] }

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
}

// Field is one fact's public name: rules, trace, journal and manual read the
// table of them.
type Field struct {
	Name  string
	Kind  Kind
	Stage mail.Stage // the earliest stage at which it can be known
	Check string     // the check that finds it; "" where the MTA tells it
	Words []string   // the only texts that it can hold, where they are few
	Doc   string     // one line for the manual
	Get   func(*Set) Value
}

// String shows a value in traces.
func (v Value) String(k Kind) string {
	if v.State != Known {
		if v.Why != "" {
			return v.State.String() + " (" + v.Why + ")"
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
		switch len(v.Text) {
		case 0:
			s = "nothing"
		case 1:
			s = strconv.Quote(v.Text[0])
		default:
			s = fmt.Sprintf("%q", v.Text)
		}
	}
	if v.Note != "" {
		s += " (" + v.Note + ")"
	}
	return s
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

// Authenticated lists the domains that authenticate the message: a passing
// SPF MAIL FROM and the d= of passing DKIM signatures. It is known as soon as
// one is found, and failed while none is and a check could not be made.
func Authenticated(s *Set) Fact[[]string] {
	var ds []string
	spf, dkim := s.Txn.SPF, s.Txn.DKIM
	if spf.Known() && spf.Value.Result == "pass" {
		ds = append(ds, spf.Value.Domain)
	}
	temp := spf.Known() && spf.Value.Result == "temperror"
	for _, d := range dkim.Value {
		if dkim.Known() && d.Result == "pass" {
			ds = append(ds, d.Domain)
		}
		temp = temp || d.Result == "temperror"
	}
	switch {
	case len(ds) > 0:
		return Is(ds)
	case spf.State == Failed:
		return Fail[[]string](spf.Why)
	case dkim.State == Failed:
		return Fail[[]string](dkim.Why)
	case dkim.State != Known:
		return Fact[[]string]{State: dkim.State, Why: dkim.Why}
	case temp:
		return Fail[[]string]("temporary error of a check")
	}
	return Is(ds)
}

// dkimBest is the best result over all signatures, "none" without any.
func dkimBest(sigs []DKIM) string {
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

func dkimText(get func(DKIM) string, only string) func(*Set) Value {
	return func(s *Set) Value {
		return texts(s.Txn.DKIM, func(sigs []DKIM) []string {
			var out []string
			for _, d := range sigs {
				if only == "" || d.Result == only {
					out = append(out, get(d))
				}
			}
			return out
		})
	}
}

var (
	spfWords   = []string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}
	dkimWords  = []string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}
	dmarcWords = []string{"none", "pass", "fail", "temperror", "permerror"}
	arcWords   = []string{"none", "pass", "fail"}
	iprevWords = []string{"pass", "fail", "temperror", "permerror"}
	greyWords  = []string{"defer", "pass", "known", "opted_out"}
)
