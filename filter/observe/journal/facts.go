package journal

import (
	"bytes"
	"encoding/json"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/policy"
)

// ReadFacts is Read for those who judge again: the records hold no more than their
// reference, start, settings and verdicts, and the facts that filter.Replay reads. Traces
// and DNS answers are most of a line; they are stepped over, not decoded. A
// record is valid until each returns.
func ReadFacts(files []string, since time.Time, each func(*filter.Record) error) (skipped int, err error) {
	var r filter.Record
	return read(files, since, func(b []byte) error {
		r = filter.Record{Decisions: r.Decisions[:0]}
		if decodeFacts(b, &r) != nil {
			return errForeign
		}
		if r.Start.Before(since) {
			return nil
		}
		return each(&r)
	})
}

func decodeFacts(b []byte, r *filter.Record) error {
	return members(b, func(key, value []byte) error {
		switch string(key) {
		case "ref":
			return json.Unmarshal(value, &r.Ref)
		case "start":
			return json.Unmarshal(value, &r.Start)
		case "verdict":
			return json.Unmarshal(value, &r.Verdict)
		case "settings":
			return json.Unmarshal(value, &r.Settings)
		case "redacted":
			return json.Unmarshal(value, &r.Redacted)
		case "facts":
			return json.Unmarshal(value, &r.Facts)
		case "early":
			return json.Unmarshal(value, &r.Early)
		case "decisions":
			return elements(value, func(d []byte) error { return decodeRecipient(d, r) })
		}
		return nil
	})
}

// decodeRecipient adds a decision about a recipient.
func decodeRecipient(b []byte, r *filter.Record) error {
	var to string
	var facts fact.Rcpt
	var verdict policy.Verdict
	err := members(b, func(key, value []byte) error {
		switch string(key) {
		case "recipient":
			return json.Unmarshal(value, &to)
		case "rcpt":
			return json.Unmarshal(value, &facts)
		case "verdict":
			return json.Unmarshal(value, &verdict)
		}
		return nil
	})
	if err == nil && to != "" {
		r.Decisions = append(r.Decisions, filter.Decided{Decision: policy.Decision{Verdict: verdict}, Recipient: to, Rcpt: facts})
	}
	return err
}

// members hands over an object's members: keys without quotes and values as they
// stand. Values are stepped over, not checked.
func members(b []byte, each func(key, value []byte) error) error {
	c := cutter{b: b}
	if !c.take('{') {
		return errForeign
	}
	for first := true; !c.take('}'); first = false {
		if !first && !c.take(',') {
			return errForeign
		}
		key := c.value()
		if len(key) < 2 || key[0] != '"' || !c.take(':') {
			return errForeign
		}
		value := c.value()
		if len(value) == 0 {
			return errForeign
		}
		if err := each(key[1:len(key)-1], value); err != nil {
			return err
		}
	}
	return c.end()
}

// elements hands over an array's elements; null has none.
func elements(b []byte, each func([]byte) error) error {
	c := cutter{b: b}
	if string(b) == "null" {
		return nil
	}
	if !c.take('[') {
		return errForeign
	}
	for first := true; !c.take(']'); first = false {
		if !first && !c.take(',') {
			return errForeign
		}
		value := c.value()
		if len(value) == 0 {
			return errForeign
		}
		if err := each(value); err != nil {
			return err
		}
	}
	return c.end()
}

// cutter steps through JSON.
type cutter struct {
	b []byte
	i int
}

func (c *cutter) blank() {
	for c.i < len(c.b) && (c.b[c.i] == ' ' || c.b[c.i] == '\t' || c.b[c.i] == '\r') {
		c.i++
	}
}

// take steps over a byte, if it is the next.
func (c *cutter) take(want byte) bool {
	c.blank()
	if c.i >= len(c.b) || c.b[c.i] != want {
		return false
	}
	c.i++
	return true
}

func (c *cutter) end() error {
	if c.blank(); c.i < len(c.b) {
		return errForeign
	}
	return nil
}

// value steps over a value and gives it; nothing where there is none.
func (c *cutter) value() []byte {
	c.blank()
	start, depth := c.i, 0
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case '"':
			if !c.text() {
				return nil
			}
			if depth == 0 {
				return c.b[start:c.i]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return c.b[start:c.i]
			}
			if depth == 0 {
				c.i++
				return c.b[start:c.i]
			}
		case ',', ' ', '\t', '\r':
			if depth == 0 {
				return c.b[start:c.i]
			}
		}
		c.i++
	}
	return nil
}

// text steps over a string, and tells whether it ends.
func (c *cutter) text() bool {
	for at := c.i + 1; ; {
		n := bytes.IndexByte(c.b[at:], '"')
		if n < 0 {
			return false
		}
		end := at + n
		escapes := 0
		for c.b[end-1-escapes] == '\\' {
			escapes++
		}
		if at = end + 1; escapes%2 == 0 {
			c.i = at
			return true
		}
	}
}
