// Package casefile reads the cases that tests play: one message with its world,
// and what becomes of it. It signs and seals on the way. Tests of several
// packages play the same files, each through its own door.
package casefile

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"mailwicket/filter/mail"
)

// Case is one file. Its first line says why the message ends as it does, in the
// words of a postmaster. The parts are:
//
//	zone         what the DNS has beside ../common.zone; {key} is the Ed25519 key
//	session      the words of Session, each with its value on a line
//	message.eml  LF is CRLF, \xNN a byte
//	sign         d= s= [i=] [c=] [h=] [key=] [unpublished] [stale], or raw TAGS
//	arc          d= s= i= [cv=] RESULTS
//	prepend      fields put on top after signing
//	append       text put at the end after signing
//	want         the lines of Wants
type Case struct {
	Name    string
	Why     string
	Session Session
	Zone    string // all that the DNS has
	Message string // as it goes over the wire
	Wants   []string
}

// Session is who sends, and what the filter was told of the world.
type Session struct {
	Client   string // address; "none" where the MTA tells none
	Name     string // verified by the MTA
	Helo     string // "none" where the client gives none
	MailFrom string
	Rcpts    []string
	Auth     string // login name

	Trusted []netip.Prefix // networks that the filter trusts
	Sealers []string       // ARC sealers that it trusts
	DNSBL   string         // DNS list that the client is on
	Links   string         // domains on the list "harmful", whose rule harmful-links refuses what links to them
}

// Usual is an honest sender.
func Usual() Session {
	return Session{Client: "192.0.2.1", Name: "mail.good.example", Helo: "mail.good.example",
		MailFrom: "<alice@good.example>", Rcpts: []string{"<bob@our.example>"}}
}

var parts = []string{"zone", "session", "message.eml", "sign", "arc", "prepend", "append", "want"}

// Read reads a file and ends the test where it is wrong.
func Read(t testing.TB, file string) *Case {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &Case{Name: strings.TrimSuffix(filepath.Base(file), ".txtar"), Why: strings.TrimSpace(string(ar.Comment))}
	text := map[string]string{}
	for _, f := range ar.Files {
		if !slices.Contains(parts, f.Name) {
			t.Fatalf("%s: unknown part %q", file, f.Name)
		}
		text[f.Name] = string(f.Data)
	}
	common, err := os.ReadFile(filepath.Join(filepath.Dir(file), "..", "common.zone"))
	if err != nil {
		t.Fatal(err)
	}
	w := Workshop{T: t, Msg: Wire(text["message.eml"])}
	for _, l := range lines(text["sign"]) {
		w.Sign(l)
	}
	for _, l := range lines(text["arc"]) {
		w.Seal(l)
	}
	c.Zone = string(common) + strings.ReplaceAll(text["zone"], "{key}", w.PublicKey()) + "\n" + w.Zone.String()
	c.Message = Wire(text["prepend"]) + w.Msg + Wire(text["append"])
	c.session(t, text["session"])
	if c.Wants = lines(text["want"]); len(c.Wants) == 0 {
		t.Fatalf("%s: nothing is wanted", file)
	}
	return c
}

func (c *Case) session(t testing.TB, part string) {
	t.Helper()
	s := Usual()
	s.Rcpts = nil
	for _, l := range lines(part) {
		k, v, _ := strings.Cut(l, " ")
		switch v = Wire(v); k {
		case "client":
			s.Client, s.Name = v, ""
		case "name":
			s.Name = v
		case "helo":
			s.Helo = v
		case "mail_from":
			s.MailFrom = v
		case "rcpt":
			s.Rcpts = append(s.Rcpts, v)
		case "auth":
			s.Auth = v
		case "trusted":
			s.Trusted = append(s.Trusted, netip.MustParsePrefix(v))
		case "sealers":
			s.Sealers = strings.Fields(v)
		case "dnsbl":
			s.DNSBL = v
		case "links":
			s.Links = v
		default:
			t.Fatalf("%s: session: unknown word %q", c.Name, k)
		}
	}
	if len(s.Rcpts) == 0 {
		s.Rcpts = Usual().Rcpts
	}
	c.Session = s
}

var escape = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// Wire writes a text as it goes over the wire.
func Wire(s string) string {
	s = strings.ReplaceAll(s, "\n", "\r\n")
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		b, _ := strconv.ParseUint(e[2:], 16, 8)
		return string([]byte{byte(b)})
	})
}

// Split parts a message with CRLF line ends as an MTA does.
func Split(msg string) (mail.Header, string) {
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	var h mail.Header
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\r\n"), "\r\n") {
		if n := len(h); n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			h[n-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		h = append(h, mail.Field{Name: name, Value: value})
	}
	return h, body
}

func lines(part string) []string {
	return slices.DeleteFunc(strings.Split(part, "\n"), func(l string) bool {
		return strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#")
	})
}

var verdict = regexp.MustCompile(`^(observe|standard|strict)(?: after (\S+))?: (.*)$`)

// Try is what becomes of the message when it comes again after a time.
type Try struct {
	After time.Duration
	Want  string // VERDICT [CODE ENHANCED] [RULE] [+TAGS]
}

// Tries gives what the file wants under a profile, the earliest first.
func (c *Case) Tries(t testing.TB, profile string) (out []Try) {
	t.Helper()
	for _, l := range c.Wants {
		m := verdict.FindStringSubmatch(l)
		if m == nil || m[1] != profile {
			continue
		}
		try := Try{Want: m[3]}
		if m[2] != "" {
			var err error
			if try.After, err = time.ParseDuration(m[2]); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
		}
		out = append(out, try)
	}
	slices.SortStableFunc(out, func(a, b Try) int { return cmp.Compare(a.After, b.After) })
	return out
}

// IsVerdict tells whether a line of Wants is one of Tries.
func IsVerdict(line string) bool { return verdict.MatchString(line) }
