package scan

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mailwicket/filter/list/entry"
)

func TestPlain(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, "0123456789")
	w.Close()
	for _, c := range []struct {
		in    string
		limit int64
		want  error
	}{
		{"0123456789", 10, nil}, {"0123456789", 9, ErrTooLarge}, {"", 0, nil}, {"0", 0, ErrTooLarge},
		{z.String(), 10, nil}, {z.String(), 9, ErrTooLarge}, {z.String()[:20], 10, io.ErrUnexpectedEOF}, {"\x1f\x8b", 10, io.ErrUnexpectedEOF},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			plain, err := Plain(in, c.limit)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(plain)
			}
			if !errors.Is(err, c.want) || err == nil && len(c.in) > 0 && string(got) != "0123456789" {
				t.Errorf("%q, at most %d: %q, %v, want %v", c.in, c.limit, got, err, c.want)
			}
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 2*MaxLine)
	var got []string
	var tally Tally
	err := Lines(t.Context(), strings.NewReader("\xef\xbb\xbfOne.example\r\n# two\n\n"+long+"\n<p>\nlast.example"), entry.Domain,
		func(number int, raw []byte, l entry.Line) {
			tally.Count(number, raw, l)
			if len(l.Items) > 0 {
				got = append(got, string(raw)+" is "+string(l.Items[0].Name))
			}
		})
	if err != nil || strings.Join(got, ", ") != "\xef\xbb\xbfOne.example is one.example, last.example is last.example" {
		t.Errorf("%q, %v", got, err)
	}
	if tally.Lines != 6 || tally.Good != 2 || tally.Bad != 2 || !tally.Filled || tally.BadLines[1] != (BadLine{5, "<p>", "not a domain name"}) {
		t.Errorf("%+v", tally)
	}
	if tally.Fault() != nil {
		t.Error(tally.Fault())
	}
	tally.Count(7, []byte("<b>"), entry.Line{Why: "bad"})
	if err := tally.Fault(); !errors.Is(err, ErrMostlyBad) {
		t.Error(err)
	}
	broken := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(long)))
	if err := Lines(t.Context(), broken, entry.Domain, func(int, []byte, entry.Line) {}); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Lines(ctx, strings.NewReader(strings.Repeat("\n", 5000)), entry.Domain, func(int, []byte, entry.Line) {}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
