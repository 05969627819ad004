package list

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/set"
)

const (
	maxLine     = 64 << 10 // longer lines are bad
	maxBadLines = 10       // shown
	maxText     = 120      // bytes of a bad line or a comment that are kept
	commentMem  = 1 << 20  // bytes of comments kept; those of later lines are left out
)

// content is one version of a list, immutable once it is in force.
type content struct {
	names    *set.Names    // nil in IP lists
	nets     *set.Prefixes // nil in others
	comments map[int]string
	entries  int // distinct ones
	lines    int
	filled   bool // not all of them are blank
	good     int  // lines with entries
	bad      int  // lines
	badLines []BadLine
	version  version
	loaded   time.Time
}

// reader fills a content line by line.
type reader struct {
	c          content
	parser     *entry.Parser
	names      *set.NamesBuilder
	nets       *set.PrefixesBuilder
	raw        []byte // beginning of the line, as parsing changes it
	commentMem int
}

func newReader(k Kind, expect int) *reader {
	r := &reader{parser: entry.NewParser(k), c: content{comments: map[int]string{}}}
	if k == IP {
		r.nets = set.NewPrefixes()
	} else {
		r.names = set.NewNames(expect)
	}
	return r
}

// content ends the work.
func (r *reader) content() *content {
	if r.nets != nil {
		r.c.nets = r.nets.Prefixes()
	} else {
		r.c.names = r.names.Names()
	}
	c := r.c // alone: the reader's buffers can go
	return &c
}

// read reads all lines of in, which may be compressed by gzip. More than limit
// bytes, decompressed, are refused.
func (r *reader) read(ctx context.Context, in io.Reader, limit int64) error {
	br := bufio.NewReaderSize(in, maxLine)
	plain := io.Reader(br)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952, 2.3.1
		z, err := gzip.NewReader(br)
		if err != nil {
			return err
		}
		plain = z
	}
	capped := &io.LimitedReader{R: plain, N: limit + 1}
	if err := r.readLines(ctx, bufio.NewReaderSize(capped, maxLine)); err != nil {
		return err
	}
	if capped.N <= 0 {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return nil
}

func (r *reader) readLines(ctx context.Context, br *bufio.Reader) error {
	for {
		b, err := br.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !long && !errors.Is(err, io.EOF) {
			return err
		}
		if len(b) == 0 {
			return nil
		}
		r.c.lines++
		if r.c.lines%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !long {
			r.line(b)
			continue
		}
		r.badLine(b, "a line that is too long")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// line takes the entries of one line in. It writes to b.
func (r *reader) line(b []byte) {
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	r.raw = append(r.raw[:0], b[:min(len(b), maxText)]...)
	r.c.filled = r.c.filled || len(bytes.TrimSpace(b)) > 0
	l := r.parser.Parse(b)
	for _, it := range l.Items {
		r.add(it)
	}
	switch {
	case l.Why != "":
		r.badLine(r.raw, l.Why)
	case len(l.Items) > 0:
		r.c.good++
	}
	if len(l.Items) > 0 && len(l.Comment) > 0 && r.commentMem < commentMem {
		t := text(l.Comment)
		r.c.comments[r.c.lines] = t
		r.commentMem += len(t) + 64 // with the map's share
	}
}

func (r *reader) add(it entry.Item) {
	added := false
	for _, n := range it.Nets {
		if r.nets.Add(n, r.c.lines) {
			added = true
		}
	}
	if it.Name != nil {
		added = r.names.Add(it.Name, set.Mark{Line: r.c.lines, Except: it.Except})
	}
	if added {
		r.c.entries++
	}
}

func (r *reader) badLine(b []byte, why string) {
	r.c.bad++
	if len(r.c.badLines) < maxBadLines {
		r.c.badLines = append(r.c.badLines, BadLine{Number: r.c.lines, Text: text(b), Why: why})
	}
}

// text gives the beginning of b as text that is safe to show.
func text(b []byte) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), maxText)]), "\ufffd")
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s)
}
