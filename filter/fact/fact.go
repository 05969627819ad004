// Package fact is the contract between the checks, which find facts, and the
// policy, which decides over them. A fact knows whether it is known: a lookup
// that failed is neither a "no" nor a "none".
//
// Everything here is data: it can be recorded as JSON and judged again later.
package fact

import "fmt"

// State tells how far a fact is known.
type State uint8

// The states. Absent is the zero value: the check has not run (yet), or the
// message gives it nothing to work on.
const (
	Absent State = iota
	Known
	Skipped // not looked for on purpose; Why says the purpose
	Failed  // looked for in vain; Why says the error
)

var stateNames = [...]string{"absent", "known", "skipped", "failed"}

// String gives the word used in rules ("state: failed") and traces.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState reads what String gives.
func ParseState(name string) (State, bool) {
	for i, n := range stateNames {
		if n == name {
			return State(i), true
		}
	}
	return 0, false
}

// MarshalText keeps states readable in journals.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *State) UnmarshalText(b []byte) error {
	v, ok := ParseState(string(b))
	if !ok {
		return fmt.Errorf("unknown fact state %q", b)
	}
	*s = v
	return nil
}

// Fact is one finding. Value means something only when State is Known.
type Fact[T any] struct {
	State State  `json:"state"`
	Value T      `json:"value,omitzero"`
	Why   string `json:"why,omitempty"` // of Skipped and Failed
}

// Is gives a known fact.
func Is[T any](v T) Fact[T] { return Fact[T]{State: Known, Value: v} }

// Skip gives a fact that was not looked for, and why.
func Skip[T any](why string) Fact[T] { return Fact[T]{State: Skipped, Why: why} }

// Fail gives a fact that could not be found, and why.
func Fail[T any](why string) Fact[T] { return Fact[T]{State: Failed, Why: why} }

// Known tells whether the value counts.
func (f Fact[T]) Known() bool { return f.State == Known }

// Map turns a known value into another, and keeps every other state.
func Map[T, U any](f Fact[T], to func(T) U) Fact[U] {
	if f.State != Known {
		return Fact[U]{State: f.State, Why: f.Why}
	}
	return Is(to(f.Value))
}
