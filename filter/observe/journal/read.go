package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"mailwicket/filter"
)

// Read hands over the records of the files that are not older than since, in
// the order in which they were written. Torn and foreign lines are counted, not
// fatal; lines of a later format are a LaterError when all is read. each's error
// ends the reading.
func Read(files []string, since time.Time, each func(*filter.Record) error) (skipped int, err error) {
	return read(files, since, func(b []byte) error {
		var r filter.Record
		if json.Unmarshal(b, &r) != nil {
			return errForeign
		}
		if r.Start.Before(since) {
			return nil
		}
		return each(&r)
	})
}

// errForeign marks a line that holds no record.
var errForeign = errors.New("no record")

func read(files []string, since time.Time, each func(line []byte) error) (skipped int, err error) {
	var all LaterError
	for _, name := range files {
		n, err := readFile(name, since, each)
		skipped += n
		var later *LaterError
		switch {
		case errors.As(err, &later):
			all.Lines += later.Lines
		case err != nil:
			return skipped, fmt.Errorf("%s: %w", name, err)
		}
	}
	if all.Lines > 0 {
		return skipped, &all
	}
	return skipped, nil
}

func readFile(name string, since time.Time, each func(line []byte) error) (skipped int, err error) {
	if end, ok := endOf(name); ok && end.Before(since) {
		return 0, nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // its time was over since the directory was read
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return scan(f, each)
}

// scan hands over the lines of our format. each answers errForeign for what is
// none nevertheless.
func scan(in io.Reader, each func(line []byte) error) (skipped int, err error) {
	l := lines{r: bufio.NewReaderSize(in, 256<<10)}
	later := 0
	for {
		b, whole, err := l.next()
		if errors.Is(err, io.EOF) {
			if len(b) > 0 {
				skipped++ // torn: its writer was killed, or is writing now
			}
			if later > 0 {
				return skipped, &LaterError{later}
			}
			return skipped, nil
		}
		if err != nil {
			return skipped, err
		}
		err = errForeign
		if whole {
			err = version(b)
		}
		if err == nil {
			err = each(b)
		}
		switch {
		case errors.Is(err, errForeign):
			skipped++
		case errors.Is(err, ErrVersion):
			later++
		case err != nil:
			return skipped, err
		}
	}
}

// Decode reads a line that Encode wrote; one of a later format is ErrVersion.
func Decode(line []byte) (*filter.Record, error) {
	if err := version(line); err != nil {
		return nil, err
	}
	r := &filter.Record{}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	return r, nil
}

// current is how our lines begin.
var current = fmt.Appendf(nil, `{"v":%d,`, Version)

// version refuses lines of a later format before they are read as one of ours.
func version(b []byte) error {
	if bytes.HasPrefix(b, current) {
		return nil
	}
	var head struct{ V int }
	switch err := json.Unmarshal(b, &head); {
	case err != nil || head.V < 1:
		return errForeign
	case head.V > Version:
		return fmt.Errorf("%w: %d", ErrVersion, head.V)
	}
	return nil
}

// maxLine bounds a line: a message to thousands of recipients is long.
const maxLine = 16 << 20

// lines cuts a file into lines in bounded memory.
type lines struct {
	r    *bufio.Reader
	long []byte
}

// next gives a line without its end, valid until the next call. A line that is
// too long is not whole and empty. At the end of the file comes what follows the
// last line end, with io.EOF.
func (l *lines) next() (b []byte, whole bool, err error) {
	l.long = l.long[:0]
	over := false
	for {
		part, err := l.r.ReadSlice('\n')
		if over = over || len(l.long)+len(part) > maxLine; over {
			l.long, part = l.long[:0], nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.long = append(l.long, part...)
			continue
		case over:
			return nil, false, err
		case len(l.long) > 0:
			l.long = append(l.long, part...)
			part = l.long
		}
		return bytes.TrimSuffix(part, []byte("\n")), err == nil, err
	}
}

// Find gives the latest record that Matches a reference; nil when there is none.
func Find(dir, ref string) (*filter.Record, error) {
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	m := newMention(ref)
	var later error
	for _, name := range slices.Backward(files) {
		var hit *filter.Record
		_, err := readFile(name, time.Time{}, func(b []byte) error {
			var r filter.Record
			if !m.in(b) {
				return nil
			}
			if json.Unmarshal(b, &r) != nil {
				return errForeign
			}
			if Matches(&r, ref) {
				hit = &r
			}
			return nil
		})
		switch {
		case hit != nil:
			return hit, nil
		case errors.Is(err, ErrVersion):
			later = err // what is wanted may be there
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil, later
}

// mention finds lines that may match without decoding them, which is most of the
// work.
type mention struct {
	words [][]byte // one for each form
	low   []byte
}

func newMention(ref string) mention {
	var m mention
	for _, form := range forms(ref) {
		m.words = append(m.words, longestWord(form))
	}
	return m
}

func (m *mention) in(line []byte) bool {
	m.low = m.low[:0]
	for _, c := range line {
		m.low = append(m.low, lower(c))
	}
	return slices.ContainsFunc(m.words, func(w []byte) bool { return bytes.Contains(m.low, w) })
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// longestWord gives the part of a reference that JSON writes as it is, in lower
// case.
func longestWord(ref string) []byte {
	var best []byte
	for _, w := range strings.FieldsFunc(ref, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._@", r))
	}) {
		if len(w) > len(best) {
			best = []byte(w)
		}
	}
	for i, c := range best {
		best[i] = lower(c)
	}
	return best
}

// Matches tells whether what somebody says names the record: its reference, its
// session's, a queue id, or a Message-ID with or without its brackets. References
// may be given as they stand in a reply, a log line or the trace header, or
// without the hyphen. Anybody can send a Message-ID that reads like another's
// reference, so only what looks like a Message-ID is taken for one.
func Matches(r *filter.Record, said string) bool {
	return slices.ContainsFunc(forms(said), func(ref string) bool {
		same := func(a string) bool { return a != "" && strings.EqualFold(a, ref) }
		id := ""
		if strings.ContainsAny(ref, "<@") {
			id = strings.Trim(r.Facts.Txn.MessageID.Value, "<>")
		}
		return same(r.Ref) || same(r.Facts.Conn.Session) || same(r.Facts.Txn.QueueID) || id != "" && id == strings.Trim(ref, "<>")
	})
}

// forms gives what may be meant. A queue id can look like a reference without its
// hyphen.
func forms(said string) []string {
	ref := strings.TrimSpace(strings.Trim(strings.TrimSpace(said), "()"))
	if len(ref) > 3 && strings.EqualFold(ref[:3], "ref") && strings.ContainsRune(" \t:=", rune(ref[3])) {
		ref = strings.TrimLeft(ref[3:], " \t:=")
	}
	letters := strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, ref)
	if len(letters) == 10 {
		return []string{ref, letters[:5] + "-" + letters[5:]}
	}
	return []string{ref}
}
