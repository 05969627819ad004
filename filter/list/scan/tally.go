package scan

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"mailwicket/filter/list/entry"
)

const (
	maxBadLines = 10  // shown
	maxText     = 120 // bytes of a line that are shown
)

// BadLine is a line that could not be used.
type BadLine struct {
	Number int    `json:"number"`
	Text   string `json:"text"` // its beginning
	Why    string `json:"why"`
}

// Tally counts lines.
type Tally struct {
	Lines    int
	Good     int  // lines with entries
	Bad      int  // lines that could not be used, at least in part
	Filled   bool // not all lines are blank
	BadLines []BadLine
}

// Count takes one line in.
func (t *Tally) Count(number int, raw []byte, l entry.Line) {
	t.Lines = number
	t.Filled = t.Filled || len(bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))) > 0
	switch {
	case l.Why != "":
		t.Bad++
		if len(t.BadLines) < maxBadLines {
			t.BadLines = append(t.BadLines, BadLine{Number: number, Text: Text(raw), Why: l.Why})
		}
	case len(l.Items) > 0:
		t.Good++
	}
}

// Fault tells whether what was counted can be a list of its kind at all.
func (t *Tally) Fault() error {
	if t.Bad <= t.Good {
		return nil
	}
	first := t.BadLines[0]
	return fmt.Errorf("%w: %d of %d, the first is line %d: %q is %s",
		ErrMostlyBad, t.Bad, t.Bad+t.Good, first.Number, first.Text, first.Why)
}

// Text gives the beginning of b as text that is safe to show.
func Text(b []byte) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), maxText)]), "\ufffd")
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s)
}
