package feed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/scan"
)

// Why a feed is refused, beside the kinds of package scan.
var (
	ErrHTML   = errors.New("an HTML page, not a list")
	ErrEmpty  = errors.New("empty")
	ErrShrunk = errors.New("less than half as many entries as before")
	ErrGrown  = errors.New("more than twice as many entries as before")
	ErrCanary = errors.New("lists what must never be listed")
)

// slack is by how many entries a list may change whatever its size: a list of
// three that becomes one of seven is no accident.
const slack = 10

// check is what is found out about a list while it passes by.
type check struct {
	scan.Tally
	entries int
	html    bool
}

// read reads a whole list. What it holds is looked up in c, which may be nil.
func (k *check) read(ctx context.Context, in io.Reader, kind entry.Kind, c *canaries) error {
	br := bufio.NewReaderSize(in, scan.MaxLine)
	head, _ := br.Peek(512)
	k.html = strings.HasPrefix(http.DetectContentType(head), "text/html")
	return scan.Lines(ctx, br, kind, func(number int, raw []byte, l entry.Line) {
		k.Count(number, raw, l)
		k.entries += len(l.Items)
		for _, it := range l.Items {
			c.see(number, it)
		}
	})
}

// fault tells whether this can be a list at all.
func (k *check) fault() error {
	switch {
	case !k.Filled:
		return ErrEmpty
	case k.html:
		return ErrHTML
	}
	return k.Fault()
}

// sizeFault compares the entries of a new version with those of the copy and with
// the number that was confirmed, where there are such.
func sizeFault(entries int, copied, confirmed *int) error {
	if copied == nil || *copied == 0 || fits(entries, *copied) || confirmed != nil && fits(entries, *confirmed) {
		return nil
	}
	kind := ErrGrown
	if entries < *copied {
		kind = ErrShrunk
	}
	return fmt.Errorf("%w: %d, the copy in force has %d", kind, entries, *copied)
}

func fits(entries, base int) bool {
	switch {
	case entries == 0:
		return base == 0
	case max(entries-base, base-entries) <= slack:
		return true
	}
	return entries >= base-base/2 && entries <= 2*base
}
