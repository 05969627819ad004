package list

import (
	"context"
	"io"
	"time"

	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/scan"
	"mailwicket/filter/list/set"
)

// commentMem is how many bytes of comments are kept; those of later lines are
// left out.
const commentMem = 1 << 20

// content is one version of a list, immutable once it is in force.
type content struct {
	scan.Tally
	names    *set.Names    // nil in IP lists
	nets     *set.Prefixes // nil in others
	comments map[int]string
	entries  int // distinct ones
	version  version
	loaded   time.Time
}

// reader fills a content line by line.
type reader struct {
	c          content
	kind       Kind
	names      *set.NamesBuilder
	nets       *set.PrefixesBuilder
	commentMem int
}

func newReader(k Kind, expect int) *reader {
	r := &reader{kind: k, c: content{comments: map[int]string{}}}
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
	plain, err := scan.Plain(in, limit)
	if err != nil {
		return err
	}
	return scan.Lines(ctx, plain, r.kind, r.line)
}

// line takes the entries of one line in.
func (r *reader) line(number int, raw []byte, l entry.Line) {
	r.c.Count(number, raw, l)
	for _, it := range l.Items {
		r.add(number, it)
	}
	if len(l.Items) > 0 && len(l.Comment) > 0 && r.commentMem < commentMem {
		t := scan.Text(l.Comment)
		r.c.comments[number] = t
		r.commentMem += len(t) + 64 // with the map's share
	}
}

func (r *reader) add(line int, it entry.Item) {
	added := false
	for _, n := range it.Nets {
		if r.nets.Add(n, line) {
			added = true
		}
	}
	if it.Name != nil {
		added = r.names.Add(it.Name, set.Mark{Line: line, Except: it.Except})
	}
	if added {
		r.c.entries++
	}
}
