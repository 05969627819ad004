package filter_test

import (
	"cmp"
	"context"
	"fmt"
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

	"mailwicket/filter"
	"mailwicket/filter/authres"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// TestCases plays the files of testdata/cases. Each is one message and what
// becomes of it under the profiles; its first line says why, in the words of a
// postmaster. The parts:
//
//	zone      what the DNS has beside testdata/common.zone; {key} is the Ed25519 key
//	session   client, name, helo, mail_from, rcpt, auth, tls, param, trusted,
//	          sealers, dnsbl: one word and its value a line
//	message   LF is CRLF, \xNN a byte
//	sign      d= s= [i=] [c=] [h=] [key=] [unpublished] [stale], or raw TAGS
//	arc       d= s= i= [cv=] RESULTS
//	prepend   fields put on top after signing
//	append    text put at the end after signing
//	want      see (*fileCase).want
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := fileCase{t: t, why: strings.TrimSpace(string(ar.Comment))}
			c.read(ar)
			c.run()
		})
	}
}

type fileCase struct {
	t       *testing.T
	why     string
	zone    string
	d       dialogue
	trusted []netip.Prefix
	sealers []string
	dnsbl   string
	wants   []string
}

func lines(part string) []string {
	return slices.DeleteFunc(strings.Split(part, "\n"), func(l string) bool {
		return strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#")
	})
}

func (c *fileCase) read(ar *txtar.Archive) {
	parts := map[string]string{}
	for _, f := range ar.Files {
		parts[f.Name] = string(f.Data)
	}
	for name := range parts {
		if !slices.Contains([]string{"zone", "session", "message.eml", "sign", "arc", "prepend", "append", "want"}, name) {
			c.t.Fatalf("unknown part %q", name)
		}
	}
	w := workshop{t: c.t, msg: wire(parts["message.eml"])}
	for _, l := range lines(parts["sign"]) {
		w.sign(l)
	}
	for _, l := range lines(parts["arc"]) {
		w.seal(l)
	}
	common, err := os.ReadFile("testdata/common.zone")
	if err != nil {
		c.t.Fatal(err)
	}
	own := strings.ReplaceAll(parts["zone"], "{key}", w.publicKey())
	c.zone = string(common) + own + "\n" + w.zone.String()
	c.session(parts["session"])
	c.d.header, c.d.body = split(wire(parts["prepend"]) + w.msg + wire(parts["append"]))
	if c.wants = lines(parts["want"]); len(c.wants) == 0 {
		c.t.Fatal("nothing is wanted")
	}
}

var escape = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// wire writes a text as it goes over the wire.
func wire(s string) string {
	s = strings.ReplaceAll(s, "\n", "\r\n")
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		b, _ := strconv.ParseUint(e[2:], 16, 8)
		return string([]byte{byte(b)})
	})
}

func (c *fileCase) session(part string) {
	c.d = usual()
	c.d.rcpts = nil
	for _, l := range lines(part) {
		k, v, _ := strings.Cut(l, " ")
		switch v = wire(v); k {
		case "client":
			c.d.client, c.d.name = v, ""
		case "name":
			c.d.name = v
		case "helo":
			c.d.helo = v
		case "mail_from":
			c.d.mailFrom = v
		case "rcpt":
			c.d.rcpts = append(c.d.rcpts, v)
		case "auth":
			c.d.user = v
		case "tls":
			c.d.tls = v
		case "param":
			c.d.params = append(c.d.params, v)
		case "trusted":
			c.trusted = append(c.trusted, netip.MustParsePrefix(v))
		case "sealers":
			c.sealers = strings.Fields(v)
		case "dnsbl":
			c.dnsbl = v
		default:
			c.t.Fatalf("session: unknown word %q", k)
		}
	}
	if len(c.d.rcpts) == 0 {
		c.d.rcpts = usual().rcpts
	}
}

// zoneHit is a DNS list that the client is on.
type zoneHit string

func (zoneHit) Domain(context.Context, list.Point, string) ([]fact.ListHit, error) { return nil, nil }

func (z zoneHit) Client(context.Context, netip.Addr) ([]fact.ListHit, error) {
	return []fact.ListHit{{List: string(z)}}, nil
}

func (c *fileCase) engine(profile string) (*filter.Engine, *watcher, *clock) {
	cfg, w, now := newConfig(c.t, c.zone, profileRules(c.t, profile))
	cfg.Trusted, cfg.TrustedSealers = c.trusted, c.sealers
	if c.dnsbl != "" {
		cfg.DNSBL = zoneHit(c.dnsbl)
	}
	return filter.NewEngine(cfg), w, now
}

// run plays the message under each profile that is asked for. Facts, results
// and deletions are those of observe, which always comes to the end.
func (c *fileCase) run() {
	e, w, _ := c.engine("observe")
	out := c.d.play(c.t, e)
	if out.Verdict != policy.Continue || out.stage != mail.StageMessage {
		c.fail("observe gives %s", describe(out, w.last(c.t)))
	}
	inside := out.plan.Insert == nil
	checkPlan(c.t, c.d, out.plan, inside)
	c.deleted(out.plan)
	for _, profile := range []string{"observe", "standard", "strict"} {
		c.profile(profile)
	}
	for _, l := range c.wants {
		c.want(l, out.plan, w.last(c.t))
	}
}

func (c *fileCase) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("%s\n\t"+format, append([]any{c.why}, args...)...)
}

var verdictLine = regexp.MustCompile(`^(observe|standard|strict)(?: after (\S+))?: (.*)$`)

// profile tries the message again after each time that a want names.
func (c *fileCase) profile(name string) {
	type try struct {
		after time.Duration
		want  string
	}
	var tries []try
	for _, l := range c.wants {
		if m := verdictLine.FindStringSubmatch(l); m != nil && m[1] == name {
			after, err := time.ParseDuration(cmp.Or(m[2], "0s"))
			if err != nil {
				c.t.Fatal(err)
			}
			tries = append(tries, try{after, m[3]})
		}
	}
	slices.SortStableFunc(tries, func(a, b try) int { return cmp.Compare(a.after, b.after) })
	e, w, now := c.engine(name)
	at := time.Duration(0)
	for _, try := range tries {
		now.forward(try.after - at)
		at = try.after
		out := c.d.play(c.t, e)
		if got := describe(out, w.last(c.t)); got != try.want {
			c.fail("%s after %s:\n\t got %s\n\twant %s\n\t%s", name, try.after, got, try.want, story(w.last(c.t)))
		}
		c.replay(name, w.last(c.t))
		if out.stage == mail.StageMessage && !refused(out.Answer) {
			checkPlan(c.t, c.d, out.plan, out.plan.Insert == nil)
		}
	}
}

// replay judges the record again: under its own policy it must end as it did.
func (c *fileCase) replay(profile string, r *filter.Record) {
	p, problems := policy.Compile(profileRules(c.t, profile))
	if len(problems) > 0 {
		c.t.Fatal(problems)
	}
	if got := filter.Replay(p, r); got.Verdict != r.Verdict || got.Rule != r.Rule {
		c.fail("%s: replayed it is %s by %q, it was %s by %q", profile, got.Verdict, got.Rule, r.Verdict, r.Rule)
	}
}

// describe puts an outcome into one line: verdict, reply codes, rule and tags.
func describe(out outcome, r *filter.Record) string {
	words := []string{out.Verdict.String()}
	switch {
	case refused(out.Answer):
		words = append(words, strconv.Itoa(out.Code), out.Enhanced, r.Rule)
	case out.Verdict == policy.Continue:
		words[0] = "accept"
	default:
		words = append(words, r.Rule)
	}
	for _, i := range out.plan.Insert {
		if i.Name == "X-Mailwicket-Tags" {
			words = append(words, "+"+i.Value)
		}
	}
	return strings.Join(words, " ")
}

// story tells what was found, for failures.
func story(r *filter.Record) string {
	d := r.Facts.Txn.DMARC.Value
	return fmt.Sprintf("%s; %s; from %q %s; dmarc policy %q: %s", r.Summary(), r.Reason,
		r.Facts.Txn.From.Value.Domains, r.Facts.Txn.From.Value.Defect, d.Policy, d.Reason)
}

// want holds one line against what was found:
//
//	observe|standard|strict [after 4h]: VERDICT [CODE ENHANCED] [RULE] [+TAGS]
//	results: REGEXP        our field matches it, !results: does not
//	fact: NAME VALUE       the field of rules; several values are joined with a comma
//	deleted: NAME INDEX    this field and no other one; see deleted
func (c *fileCase) want(line string, p filter.Plan, r *filter.Record) {
	key, v, _ := strings.Cut(line, ": ")
	switch {
	case verdictLine.MatchString(line), key == "deleted":
	case key == "results" || key == "!results":
		if regexp.MustCompile(v).MatchString(ours(p)) != (key == "results") {
			c.fail("%s %s\n\tin %s", key, v, ours(p))
		}
	case key == "fact":
		name, want, _ := strings.Cut(v, " ")
		f, ok := fact.Lookup(name)
		if !ok {
			c.t.Fatalf("no fact %q", name)
		}
		if got := shown(f, &r.Facts); got != want {
			c.fail("fact %s is %q, want %q\n\t%s", name, got, want, story(r))
		}
	default:
		c.t.Fatalf("want: unknown line %q", line)
	}
}

// ours gives the field with our results on one line.
func ours(p filter.Plan) string {
	for _, i := range p.Insert {
		if i.Name == "Authentication-Results" {
			return strings.ReplaceAll(i.Value, "\r\n\t", " ")
		}
	}
	return ""
}

func shown(f fact.Field, s *fact.Set) string {
	v := f.Get(s)
	if v.State != fact.Known {
		return v.State.String()
	}
	if f.Kind == fact.Text {
		return strings.Join(v.Text, ",")
	}
	return v.String(f.Kind)
}

// deleted wants exactly the deletions that the case names, in their order.
func (c *fileCase) deleted(p filter.Plan) {
	var got, want []string
	for _, d := range p.Delete {
		got = append(got, fmt.Sprintf("%s %d", d.Name, d.Index))
	}
	for _, l := range c.wants {
		if v, ok := strings.CutPrefix(l, "deleted: "); ok {
			want = append(want, v)
		}
	}
	if !slices.Equal(got, want) {
		c.fail("deleted are %q, want %q", got, want)
	}
}

// badField tells what must not be in a field that is inserted: anything but
// printable ASCII, and folds other than the one that is promised.
func badField(i filter.Insertion) string {
	v := strings.ReplaceAll(i.Value, "\r\n\t", "")
	for j := 0; j < len(v); j++ {
		switch c := v[j]; {
		case c == '\r' || c == '\n':
			return "a line end that is no fold"
		case c != '\t' && (c < ' ' || c > '~'):
			return fmt.Sprintf("the byte %#x", c)
		}
	}
	for l := range strings.SplitSeq(i.Value, "\r\n") {
		if strings.Trim(l, " \t") == "" {
			return "an empty line"
		}
	}
	return ""
}

// checkLeft deletes as an MTA does and looks for what is left of forgeries.
func checkLeft(t testing.TB, h mail.Header, p filter.Plan, inside bool) {
	t.Helper()
	gone := map[string]bool{}
	for _, d := range p.Delete {
		gone[fmt.Sprintf("%s %d", strings.ToLower(d.Name), d.Index)] = true
	}
	count := map[string]int{}
	for _, f := range h {
		name := strings.ToLower(strings.TrimRight(f.Name, " \t"))
		count[name]++
		key := fmt.Sprintf("%s %d", name, count[name])
		if gone[key] {
			delete(gone, key)
			continue
		}
		if !inside && name == "authentication-results" && authres.Claims(f.Value, ourID) {
			t.Errorf("%q is left, and claims to be ours", f.Value)
		}
		if slices.Contains([]string{"x-mailwicket-action", "x-mailwicket-tags", "x-mailwicket-trace"}, name) {
			t.Errorf("%s is left", f.Name)
		}
	}
	for key := range gone {
		t.Errorf("%s is deleted, but there is none", key)
	}
}
