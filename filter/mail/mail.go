// Package mail holds the values of one SMTP session that every other package
// speaks of: stages, the connection, envelope addresses and header fields.
// It does no I/O and imports nothing of Mailwicket.
package mail

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Stage is a point of the SMTP dialogue at which the MTA waits for an answer.
// Stages are ordered: what is known at one stage is known at all later ones of
// the same message.
type Stage uint8

// The stages. Header is the end of the header block, Message the end of the
// message (the final dot).
const (
	StageConnect Stage = iota
	StageHelo
	StageMail
	StageRcpt
	StageHeader
	StageMessage
)

// Stages lists all stages in order.
func Stages() []Stage {
	return []Stage{StageConnect, StageHelo, StageMail, StageRcpt, StageHeader, StageMessage}
}

var stageNames = [...]string{"connect", "helo", "mail", "rcpt", "header", "message"}

// String gives the name used in rules, logs and metrics.
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return fmt.Sprintf("stage(%d)", uint8(s))
}

// ParseStage reads a stage name as it is written in rules.
func ParseStage(name string) (Stage, bool) {
	for i, n := range stageNames {
		if n == name {
			return Stage(i), true
		}
	}
	return 0, false
}

// MarshalText and UnmarshalText keep stages readable in journals.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Stage) UnmarshalText(b []byte) error {
	v, ok := ParseStage(string(b))
	if !ok {
		return fmt.Errorf("unknown stage %q", b)
	}
	*s = v
	return nil
}

// Conn is what the MTA tells about the client's connection. All text is the
// MTA's or the client's word, unchecked.
type Conn struct {
	Session  string     // our identifier of the SMTP session
	Start    time.Time  // when the MTA opened the session to us
	Addr     netip.Addr // client address; the zero Addr where it is not known
	Port     uint16     // client port, 0 where not known
	HostName string     // the client's name as verified by the MTA; "" where there is none
	PTRName  string     // the client's unverified reverse name, where the MTA tells it
	MTAName  string     // macro j
	Version  string     // macro v, such as "Postfix 3.7.11"
	Daemon   string     // macro {daemon_name}
}

// TLS describes the session's transport security; the zero value is plaintext.
type TLS struct {
	Version     string `json:"version"` // such as "TLSv1.3"
	Cipher      string `json:"cipher,omitempty"`
	Bits        int    `json:"bits,omitempty"`
	CertSubject string `json:"cert_subject,omitempty"`
	CertIssuer  string `json:"cert_issuer,omitempty"`
}

// Field is one header field as it stands in the message: the bytes between the
// colon and the line end, leading blank included, folds as "\r\n" + white space
// (RFC 5322, 2.2.3). Writing Name + ":" + Value + "\r\n" gives the original.
type Field struct {
	Name  string
	Value string
}

// Unfolded gives the value on one line, trimmed of surrounding white space.
func (f Field) Unfolded() string {
	v := strings.ReplaceAll(f.Value, "\r\n", "")
	v = strings.ReplaceAll(v, "\n", "")
	return strings.Trim(v, " \t\r")
}

// Header is a message's header block in its original order.
type Header []Field

// Values gives the raw values of all fields of that name, top first.
func (h Header) Values(name string) []string {
	var vs []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

// Get gives the first field's unfolded value, "" where there is none.
func (h Header) Get(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Unfolded()
		}
	}
	return ""
}

// Count tells how many fields bear the name.
func (h Header) Count(name string) int {
	n := 0
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			n++
		}
	}
	return n
}

// Bytes writes the block as it stood in the message, without the empty line
// that ends it.
func (h Header) Bytes() []byte {
	n := 0
	for _, f := range h {
		n += len(f.Name) + len(f.Value) + 3
	}
	b := make([]byte, 0, n)
	for _, f := range h {
		b = append(b, f.Name...)
		b = append(b, ':')
		b = append(b, f.Value...)
		b = append(b, '\r', '\n')
	}
	return b
}

// FoldName gives the comparison form of a field name: ASCII lower case, no
// trailing white space (RFC 5322, 4.5.8 allows it before the colon). Unicode
// case folding would make a Kelvin sign a "k".
func FoldName(s string) string {
	s = strings.TrimRight(s, " \t")
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}
