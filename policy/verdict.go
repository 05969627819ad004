package policy

import (
	"fmt"
	"strconv"

	"mailwicket/filter/mail"
)

// Verdict is what becomes of a message, ordered by severity. The zero value is
// harmless.
type Verdict uint8

// The verdicts. Quarantine delivers with a mark, Hold puts the message into the
// MTA's hold queue, Discard accepts it and throws it away.
const (
	Continue Verdict = iota
	Accept
	Quarantine
	Hold
	Discard
	Tempfail
	Reject
)

var verdictNames = [...]string{"continue", "accept", "quarantine", "hold", "discard", "tempfail", "reject"}

// String gives the word used in rules, logs and metrics.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// ParseVerdict reads what String gives.
func ParseVerdict(name string) (Verdict, bool) {
	for i, n := range verdictNames {
		if n == name {
			return Verdict(i), true
		}
	}
	return 0, false
}

// MarshalText keeps verdicts readable in journals.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Verdict) UnmarshalText(b []byte) error {
	got, ok := ParseVerdict(string(b))
	if !ok {
		return fmt.Errorf("unknown verdict %q", b)
	}
	*v = got
	return nil
}

// terminal tells whether the verdict ends the evaluation.
func (v Verdict) terminal() bool { return v != Continue }

// Mode tells how much a rule counts.
type Mode uint8

// The modes. An observed rule is evaluated and told, but changes nothing.
const (
	Enforce Mode = iota
	Observe
	Off
)

var modeNames = [...]string{"enforce", "observe", "off"}

// String gives the word used in rules.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode reads what String gives.
func ParseMode(name string) (Mode, bool) {
	for i, n := range modeNames {
		if n == name {
			return Mode(i), true
		}
	}
	return 0, false
}

// MarshalText keeps modes readable in journals.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Mode) UnmarshalText(b []byte) error {
	got, ok := ParseMode(string(b))
	if !ok {
		return fmt.Errorf("unknown mode %q", b)
	}
	*m = got
	return nil
}

// Reply is what the client is told. Code 0 stands for the verdict's default.
// Text may hold {field.name} placeholders.
type Reply struct {
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463
	Text     string `json:"text,omitempty"`
}

// HeaderEdit adds a field at the top of the message.
type HeaderEdit struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Position is where a rule stands.
type Position struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// String gives file:line:col, as compilers do.
func (p Position) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
		if p.Col > 0 {
			s += ":" + strconv.Itoa(p.Col)
		}
	}
	return s
}

// Action is what a rule does when it matches. Without a verdict and without
// Greylist it only leaves its marks, and evaluation goes on.
type Action struct {
	Verdict  Verdict
	Greylist bool // ask the greylist: a tempfail while it defers
	Tags     []string
	Points   float64
	Headers  []HeaderEdit
	Reply    Reply
}

// Rule is one line of the policy.
type Rule struct {
	Name   string
	Stage  mail.Stage
	Auto   bool // the stage was not written: Compile finds it
	When   Cond
	Do     Action
	Mode   Mode
	Reason string // the private reason for logs; placeholders as in Reply.Text
	At     Position
}

// Outcome is what an observed rule would have done.
type Outcome struct {
	Rule    string   `json:"rule"`
	Verdict Verdict  `json:"verdict"`
	Reason  string   `json:"reason,omitempty"`
	At      Position `json:"at,omitzero"`
}

// Step is one rule's part in a decision. Field, Want and Got tell the first
// condition that did not match.
type Step struct {
	Rule    string `json:"rule"`
	Mode    Mode   `json:"mode,omitempty"`
	Matched bool   `json:"matched,omitempty"`
	Unknown bool   `json:"unknown,omitempty"`
	Field   string `json:"field,omitempty"`
	Want    string `json:"want,omitempty"`
	Got     string `json:"got,omitempty"`
	Did     string `json:"did,omitempty"`
}

// Decision is what the policy says at one stage, and why.
type Decision struct {
	Stage    mail.Stage   `json:"stage"`
	Verdict  Verdict      `json:"verdict"`
	Rule     string       `json:"rule,omitempty"`
	At       Position     `json:"at,omitzero"`
	Reply    Reply        `json:"reply,omitzero"`
	Reason   string       `json:"reason,omitempty"`
	Tags     []string     `json:"tags,omitempty"`   // of this stage's rules
	Points   float64      `json:"points,omitempty"` // of this stage's rules
	Headers  []HeaderEdit `json:"headers,omitempty"`
	Greylist bool         `json:"greylist,omitempty"` // the greylist must be asked, then Decide again
	Differs  string       `json:"differs,omitempty"`  // in what recipients differ, or their verdicts at the end
	Would    []Outcome    `json:"would,omitempty"`
	Trace    []Step       `json:"trace,omitempty"`
}
