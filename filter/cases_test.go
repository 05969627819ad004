package filter_test

import (
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

	"mailwicket/filter"
	"mailwicket/filter/authres"
	"mailwicket/filter/casefile"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/profile"
)

// TestCases plays the files of testdata/cases: what package casefile reads.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			read := casefile.Read(t, file)
			c := fileCase{Case: read, t: t, d: dialogueOf(read)}
			c.run()
		})
	}
}

// fileCase is a case and how to play it.
type fileCase struct {
	*casefile.Case
	t *testing.T
	d dialogue
}

func dialogueOf(c *casefile.Case) dialogue {
	s := c.Session
	d := dialogue{client: s.Client, name: s.Name, helo: s.Helo, mailFrom: s.MailFrom, rcpts: s.Rcpts, user: s.Auth}
	d.header, d.body = casefile.Split(c.Message)
	return d
}

// zoneHit is a DNS list that the client is on.
type zoneHit string

func (zoneHit) Domain(context.Context, list.Point, string) ([]fact.ListHit, error) { return nil, nil }

func (zoneHit) Names(list.Point, string) []string { return nil }

func (z zoneHit) Client(context.Context, netip.Addr) ([]fact.ListHit, error) {
	return []fact.ListHit{{List: string(z)}}, nil
}

// rules are those of the profile, and one for listed links. Without it, nobody reads
// the body.
func (c *fileCase) rules(name string) []policy.Rule {
	rules := profileRules(c.t, name)
	if c.Session.Links != "" {
		rules = append(parseRules(c.t, refuseLinks), rules...)
	}
	if name == "observe" {
		profile.Observe(rules)
	}
	return rules
}

const refuseLinks = `rules:
  - {name: harmful-links, when: {links.lists: harmful}, do: {reject: {code: 550, enhanced: 5.7.1, text: "link to {links.listed} is on our list harmful"}}}
`

// harmful is a list of domains that is applied to links.
func harmful(t testing.TB, domains string) *list.Book {
	t.Helper()
	file := filepath.Join(t.TempDir(), "harmful.txt")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(domains, " ", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	b := list.New([]list.Config{{Name: "harmful", Kind: list.Domain, File: file, Apply: []list.Point{list.PointLinks}}}, list.Options{})
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (c *fileCase) engine(profile string) (*filter.Engine, *watcher, *clock) {
	cfg, w, now := newConfig(c.t, c.Zone, c.rules(profile))
	if c.Session.Links != "" {
		cfg.Lists = harmful(c.t, c.Session.Links)
	}
	cfg.Trusted, cfg.TrustedSealers = c.Session.Trusted, c.Session.Sealers
	if c.Session.DNSBL != "" {
		cfg.DNSBL = zoneHit(c.Session.DNSBL)
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
	for _, l := range c.Wants {
		c.want(l, out.plan, w.last(c.t))
	}
}

func (c *fileCase) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("%s\n\t"+format, append([]any{c.Why}, args...)...)
}

// profile tries the message again after each time that a want names.
func (c *fileCase) profile(name string) {
	e, w, now := c.engine(name)
	at := time.Duration(0)
	for _, try := range c.Tries(c.t, name) {
		now.forward(try.After - at)
		at = try.After
		out := c.d.play(c.t, e)
		if got := describe(out, w.last(c.t)); got != try.Want {
			c.fail("%s after %s:\n\t got %s\n\twant %s\n\t%s", name, try.After, got, try.Want, story(w.last(c.t)))
		}
		c.replay(name, w.last(c.t))
		if out.stage == mail.StageMessage && !refused(out.Answer) {
			checkPlan(c.t, c.d, out.plan, out.plan.Insert == nil)
		}
	}
}

// replay judges the record again: under its own policy it must end as it did.
func (c *fileCase) replay(profile string, r *filter.Record) {
	p, problems := policy.Compile(c.rules(profile))
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
	case casefile.IsVerdict(line), key == "deleted":
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
	for _, l := range c.Wants {
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
