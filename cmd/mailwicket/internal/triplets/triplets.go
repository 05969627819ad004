// Package triplets reads what other greylists know, as text: plain lines of
// client, sender and recipient, and what db_dump prints of postgrey's database.
package triplets

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Triplet is one client, sender and recipient, and when they were seen.
type Triplet struct {
	Line      int
	Client    netip.Addr // of a network where the host is not known
	Sender    string     // "<>" for the null sender
	Recipient string
	First     time.Time
	Last      time.Time // zero: the text does not say
	Passed    bool      // the other greylist let it through
}

// Bad is a line that could not be read.
type Bad struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

// ErrBinary says that this is a database file itself.
var ErrBinary = errors.New("this is no text: print the database first, db_dump -p postgrey.db | mailwicket greylist import -")

// postgreyDelay is how long postgrey lets wait where nobody changed that
// (postgrey 1.37, --delay).
const postgreyDelay = 300 * time.Second

// maxLine bounds a line; two addresses fit several times.
const maxLine = 16 << 10

// reader is the state between lines.
type reader struct {
	found []Triplet
	bad   []Bad
	line  int
	head  bool // within db_dump's header
	bytes bool // the dump is in hexadecimal: db_dump without -p
	key   string
	at    int // line of key; 0: there is none
}

// Read reads all lines. Those that make no sense are in bad. An error means that
// the rest was not read. Two forms may stand in any order:
//
//	CLIENT SENDER RECIPIENT [LAST SEEN]
//	CLIENT/SENDER/RECIPIENT FIRST,LAST[,HOST]
//
// the second, which is postgrey's, also with the times on the next line, as
// db_dump prints it. Blank lines and those that start with # are left out.
func Read(in io.Reader) ([]Triplet, []Bad, error) {
	r := &reader{}
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		r.line++
		if bytes.IndexByte(s.Bytes(), 0) >= 0 {
			return r.found, r.bad, ErrBinary
		}
		r.take(s.Text())
	}
	r.orphan()
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return r.found, r.bad, fmt.Errorf("line %d is longer than %d bytes: is this a list of triplets?", r.line+1, maxLine)
	}
	return r.found, r.bad, s.Err()
}

func (r *reader) take(line string) {
	if r.header(line) {
		return
	}
	indented := strings.HasPrefix(line, " ")
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return
	}
	if indented {
		var err error
		if line, err = unescape(line, r.bytes); err != nil {
			r.reject(err.Error())
			return
		}
	}
	if times.MatchString(line) {
		r.value(line)
		return
	}
	r.orphan()
	fields := strings.Fields(line)
	switch {
	case hashed.MatchString(line):
		r.reject("a hash in place of a triplet (postgrey --privacy): nobody can read it back")
	case len(fields) == 1 && strings.Count(line, "/") >= 2:
		r.key, r.at = line, r.line
	case len(fields) == 2 && strings.Count(fields[0], "/") >= 2 && times.MatchString(fields[1]):
		r.key, r.at = fields[0], r.line
		r.value(fields[1])
	case len(fields) == 3 || len(fields) == 4:
		r.plain(fields)
	default:
		r.reject("want CLIENT SENDER RECIPIENT [LAST SEEN], or CLIENT/SENDER/RECIPIENT FIRST,LAST")
	}
}

var (
	times  = regexp.MustCompile(`^\d{1,12},\d{1,12}(,\d{1,3})?$`)
	hashed = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// header takes the lines in which db_dump says how it writes.
func (r *reader) header(line string) bool {
	switch {
	case strings.HasPrefix(line, "VERSION="):
		r.head = true
	case line == "HEADER=END", line == "DATA=END":
		r.head = false
		return true
	case r.head && strings.HasPrefix(line, "format="):
		r.bytes = line == "format=bytevalue"
	}
	return r.head
}

// unescape undoes db_dump's way of writing bytes: all in hexadecimal, or those
// that do not print as "\" and two hexadecimal digits.
func unescape(s string, all bool) (string, error) {
	if all {
		b, err := hex.DecodeString(s)
		if err != nil || bytes.IndexByte(b, 0) >= 0 {
			return "", errors.New("not hexadecimal, as the dump's header says")
		}
		return string(b), nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i+1:], `\`):
			b.WriteByte('\\')
			i++
		default:
			c, err := strconv.ParseUint(s[i+1:min(i+3, len(s))], 16, 8)
			if err != nil || c == 0 {
				return "", errors.New(`"\" without two hexadecimal digits`)
			}
			b.WriteByte(byte(c))
			i += 2
		}
	}
	return b.String(), nil
}

func (r *reader) reject(why string) { r.bad = append(r.bad, Bad{r.line, why}) }

// orphan gives up a key that no times came for.
func (r *reader) orphan() {
	if r.at > 0 {
		r.bad = append(r.bad, Bad{r.at, "no times behind it"})
		r.at = 0
	}
}

// value completes postgrey's record: first and last contact, and the last octet
// where the key has a network.
func (r *reader) value(s string) {
	if r.at == 0 {
		r.reject("times without a triplet before them")
		return
	}
	at, parts := r.at, strings.Split(s, ",")
	r.at = 0
	first, _ := strconv.ParseInt(parts[0], 10, 64)
	last, _ := strconv.ParseInt(parts[1], 10, 64)
	t, err := splitKey(r.key)
	if err != nil {
		r.bad = append(r.bad, Bad{at, err.Error()})
		return
	}
	t.Line, t.First, t.Last = at, time.Unix(first, 0).UTC(), time.Unix(last, 0).UTC()
	t.Passed = t.Last.Sub(t.First) >= postgreyDelay
	if len(parts) == 3 && t.Client.Is4() {
		b := t.Client.As4()
		if host, err := strconv.ParseUint(parts[2], 10, 8); err == nil && b[3] == 0 {
			b[3] = byte(host)
			t.Client = netip.AddrFrom4(b)
		}
	}
	r.found = append(r.found, t)
}

// splitKey takes CLIENT/SENDER/RECIPIENT apart. Local parts may hold slashes, the
// client a prefix length.
func splitKey(key string) (Triplet, error) {
	client, rest, _ := strings.Cut(key, "/")
	if bits, after, ok := strings.Cut(rest, "/"); ok && len(bits) <= 3 && bits != "" && strings.Trim(bits, "0123456789") == "" {
		rest = after
	}
	for i := range len(rest) {
		if rest[i] == '/' && (i == 0 || strings.Contains(rest[:i], "@")) {
			return triplet(client, rest[:i], rest[i+1:])
		}
	}
	return Triplet{}, errors.New("want CLIENT/SENDER/RECIPIENT")
}

func (r *reader) plain(f []string) {
	client, _, _ := strings.Cut(f[0], "/")
	t, err := triplet(client, f[1], f[2])
	if err == nil && len(f) == 4 {
		t.Last, err = parseTime(f[3])
	}
	if err != nil {
		r.reject(err.Error())
		return
	}
	t.Line, t.First, t.Passed = r.line, t.Last, true
	r.found = append(r.found, t)
}

func triplet(client, sender, rcpt string) (Triplet, error) {
	addr, err := netip.ParseAddr(client)
	if err != nil || addr.Zone() != "" {
		return Triplet{}, fmt.Errorf("%q is no IP address", client)
	}
	sender, rcpt = bare(sender), bare(rcpt)
	switch {
	case sender == "":
		sender = "<>"
	case !mailbox(sender):
		return Triplet{}, fmt.Errorf("sender %q is no address", sender)
	}
	if !mailbox(rcpt) {
		return Triplet{}, fmt.Errorf("recipient %q is no address", rcpt)
	}
	return Triplet{Client: addr.Unmap(), Sender: sender, Recipient: rcpt}, nil
}

func bare(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">") }

func mailbox(s string) bool {
	i := strings.LastIndexByte(s, '@')
	return i > 0 && i < len(s)-1 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0xfffd })
}

func parseTime(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<40 {
		return time.Unix(n, 0).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Unix() > 0 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want seconds since 1970, 2026-11-25 or 2026-11-25T12:00:00Z", s)
}
