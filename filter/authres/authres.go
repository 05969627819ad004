// Package authres reads and writes the Authentication-Results field (RFC 8601)
// and finds the fields that pretend to be ours. It also writes Received-SPF
// (RFC 7208, 9.1).
//
// Parse serves the payload of ARC-Authentication-Results too, once the
// instance tag is cut off (RFC 8617, 4.1.1). Nothing here does I/O; all
// functions take time linear in their input and may be used concurrently.
package authres

import "errors"

// FieldName is the name of the field.
const FieldName = "Authentication-Results"

// The kinds of errors that Parse returns, wrapped with the place.
var (
	ErrSyntax  = errors.New("not an Authentication-Results value")
	ErrVersion = errors.New("unknown version of Authentication-Results")
	ErrTooLong = errors.New("Authentication-Results value is too long")
)

// Header is the value of one field. No results means "none".
type Header struct {
	AuthservID string
	Version    int // 0 where the field has none, which means 1
	Results    []Result
}

// Result is the outcome of one method. Method, Value and the names in Props
// are lower case: they compare without regard to case (RFC 8601, 2.2).
type Result struct {
	Method  string
	Version int // of the method, 0 where there is none
	Value   string
	Reason  string
	Comment string // the comments that follow the value, without their parentheses
	Props   []Prop
}

// Prop is one property "type.property=value".
type Prop struct {
	Type     string // smtp, header, body, policy or dns; "" of a bare "name=value", see Parse
	Property string
	Value    string
}

// Get gives the first value of a property, "" where there is none.
func (r Result) Get(typ, property string) string {
	for _, p := range r.Props {
		if p.Type == typ && p.Property == property {
			return p.Value
		}
	}
	return ""
}
