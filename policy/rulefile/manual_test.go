package rulefile

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

const manual = "../../deploy/docs/rules.md"

// block is one fenced block of the manual.
type block struct {
	line       int
	info, text string
}

// blocks gives the fenced blocks of a page in their order.
func blocks(page string) []block {
	var out []block
	open := false
	for i, line := range strings.SplitAfter(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			out = append(out, block{line: i + 1, info: strings.TrimSpace(info)})
		case !fence && open:
			out[len(out)-1].text += line
		}
		open = open != fence
	}
	return out
}

func readManual(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// Every block of rules in the manual is followed by what comes of it: by lines
// that are judged, or by the problems that it has. Both are tried here.
func TestManualExamples(t *testing.T) {
	all := blocks(readManual(t))
	judged := 0
	for i, b := range all {
		if b.info != "yaml" || !strings.HasPrefix(b.text, "rules:") {
			continue
		}
		t.Run(fmt.Sprintf("line-%d", b.line), func(t *testing.T) {
			if i+1 == len(all) {
				t.Fatal("nothing says what comes of it")
			}
			switch next := all[i+1]; next.info {
			case "judged":
				judged++
				judgeExample(t, b, next)
			case "problems":
				checkProblems(t, b, next)
			default:
				t.Fatal("nothing says what comes of it")
			}
		})
	}
	if judged < 20 {
		t.Errorf("%d examples are judged", judged)
	}
}

func checkProblems(t *testing.T, rules, want block) {
	var got strings.Builder
	list, _ := Parse("rules.yaml", []byte(rules.text))
	for _, p := range append(problems("rules.yaml", []byte(rules.text)), policy.LostTags(list)...) {
		got.WriteString(p.String() + "\n")
	}
	if diff := cmp.Diff(strings.Split(want.text, "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("(-manual +got)\n%s", diff)
	}
}

// Every row of the table of conditions reads as one.
func TestManualConditions(t *testing.T) {
	_, section, _ := strings.Cut(readManual(t), "\n## Conditions\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `(.+?)` \\|").FindAllStringSubmatch(section, -1)
	if len(rows) < 20 {
		t.Fatalf("%d conditions are found", len(rows))
	}
	seen := map[policy.Op]bool{}
	for _, row := range rows {
		rules, bad := Parse("row", []byte("rules: [{name: a, when: {"+row[1]+"}, do: {tag: a}}]"))
		if len(bad) == 0 {
			_, bad = policy.Compile(rules)
		}
		if len(bad) > 0 {
			t.Errorf("%s: %v", row[1], bad)
			continue
		}
		operatorsOf(rules[0].When, seen)
	}
	for _, op := range operators {
		if op != "not" && !seen[policy.Op(op)] && !strings.Contains(section, "`"+op+"`") {
			t.Errorf("the operator %s is not told of", op)
		}
	}
}

func operatorsOf(c policy.Cond, seen map[policy.Op]bool) {
	for _, x := range slices.Concat(c.All, c.Any) {
		operatorsOf(x, seen)
	}
	if c.Not != nil {
		operatorsOf(*c.Not, seen)
	}
	if c.Leaf == nil {
		return
	}
	for _, m := range append(c.Leaf.Match.All, c.Leaf.Match) {
		seen[m.Op] = true
	}
}

// Every action has its row.
func TestManualActions(t *testing.T) {
	_, section, _ := strings.Cut(readManual(t), "\n## Actions\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, word := range actions {
		if !regexp.MustCompile("(?m)^\\| `" + word + "\\b").MatchString(section) {
			t.Errorf("the action %s is not told of", word)
		}
	}
}

// judgeExample tries the lines of an example. Each rule must have its hit in one
// of them, unless "# NAME never matches" says that it has none.
func judgeExample(t *testing.T, rules, lines block) {
	rs, bad := Parse("rules.yaml", []byte(rules.text))
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	p, bad := policy.Compile(rs)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	hits, never := map[string]int{}, map[string]bool{}
	for line := range strings.Lines(lines.text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "# "); ok {
			name, ok = strings.CutSuffix(name, " never matches")
			if never[name] = true; !ok {
				t.Errorf("%q is no comment", line)
			}
			continue
		}
		facts, want, ok := strings.Cut(line, " -> ")
		if !ok {
			t.Fatalf("no arrow in %q", line)
		}
		s, err := parseFacts(facts)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got := judge(p, s, strings.Contains(want, ", reply "), hits); got != want {
			t.Errorf("%s\n got %s", line, got)
		}
	}
	for _, r := range p.Rules() {
		if (hits[r.Name] == 0) != never[r.Name] {
			t.Errorf("rule %s matches %d lines", r.Name, hits[r.Name])
		}
	}
}

// judge leads a message through all stages, and writes what came of it for one
// recipient as the manual does. Another one may have come before.
func judge(p *policy.Policy, s fact.Set, reply bool, hits map[string]int) string {
	var d policy.Decision
	var marks []string
	rcpt, points := s.Rcpt, 0.0
	for _, stage := range mail.Stages() {
		if stage > mail.StageRcpt && !s.Txn.First.To.Known() {
			s.Txn.First = rcpt
		}
		s.Stage, s.Rcpt = stage, fact.Rcpt{}
		if stage == mail.StageRcpt {
			s.Rcpt = rcpt
		}
		d = p.Decide(&s)
		for _, step := range d.Trace {
			if step.Matched {
				hits[step.Rule]++
			}
		}
		for _, tag := range d.Tags {
			marks = append(marks, "tag "+tag)
		}
		for _, h := range d.Headers {
			marks = append(marks, "header "+h.Name+": "+h.Value)
		}
		for _, o := range d.Would {
			marks = append(marks, "would "+o.Verdict.String()+" by "+o.Rule)
		}
		points += d.Points
		if d.Verdict != policy.Continue || d.Greylist {
			break
		}
	}
	out := d.Verdict.String()
	if d.Greylist {
		out = "greylist"
	}
	if d.Rule != "" {
		out += " by " + d.Rule
	}
	if points != 0 {
		marks = append(marks, fmt.Sprintf("points %g", points))
	}
	if reply {
		marks = append(marks, "reply "+replied(d))
	}
	return strings.Join(append([]string{out}, marks...), ", ")
}

// replied gives the reply with the codes that stand in for those left out.
func replied(d policy.Decision) string {
	r := d.Reply
	if r.Code == 0 {
		r.Code, r.Enhanced = 550, "5.7.1"
		if d.Verdict == policy.Tempfail {
			r.Code, r.Enhanced = 451, "4.7.1"
		}
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)
}

var factWord = regexp.MustCompile(`^\s*([a-z_.]+)(?:=("(?:[^"\\]|\\.)*"|\S*)|:(failed|skipped))(?:\s|$)`)

// parseFacts reads "field=value field:failed ..."; what is not named is absent.
func parseFacts(text string) (fact.Set, error) {
	var s fact.Set
	type given struct{ name, value string }
	var known []given
	for rest := text; rest != ""; {
		m := factWord.FindStringSubmatch(rest)
		if m == nil {
			return s, fmt.Errorf("no fact at %q", rest)
		}
		rest = rest[len(m[0]):]
		name, value := m[1], m[2]
		set := setters()[name]
		if set == nil {
			return s, fmt.Errorf("the test knows no field %s", name)
		}
		if strings.HasPrefix(value, `"`) {
			var err error
			if value, err = strconv.Unquote(value); err != nil {
				return s, err
			}
		}
		state := fact.Known
		if m[3] != "" {
			state, _ = fact.ParseState(m[3])
		} else {
			known = append(known, given{name, value})
		}
		if err := set(&s, state, value); err != nil {
			return s, fmt.Errorf("%s=%s: %w", name, value, err)
		}
	}
	// What rules will read is what the line says.
	for _, g := range known {
		f, ok := fact.Lookup(g.name)
		if !ok {
			continue // what rules cannot read
		}
		if got := written(f.Get(&s), f.Kind); got != g.value {
			return s, fmt.Errorf("%s=%s reads as %s", g.name, g.value, got)
		}
	}
	return s, nil
}

func written(v fact.Value, k fact.Kind) string {
	switch {
	case v.State != fact.Known:
		return v.State.String()
	case k == fact.Text:
		return strings.Join(v.Text, ",")
	case k == fact.Duration:
		return printDuration(v.Num)
	}
	return v.String(k)
}

// setter puts a fact into the set as the checks would.
type setter func(s *fact.Set, state fact.State, value string) error

// put makes a setter of the place of a fact and of the part that is read.
func put[T any](at func(*fact.Set) *fact.Fact[T], part func(*T, string) error) setter {
	return func(s *fact.Set, state fact.State, value string) error {
		f := at(s)
		f.State = state
		if state != fact.Known {
			return nil
		}
		return part(&f.Value, value)
	}
}

func putText(at func(*fact.Set) *fact.Fact[string]) setter {
	return put(at, func(s *string, v string) error { *s = v; return nil })
}

func putYes(at func(*fact.Set) *fact.Fact[bool]) setter {
	return put(at, func(b *bool, v string) (err error) { *b, err = strconv.ParseBool(v); return err })
}

func putCount(at func(*fact.Set) *fact.Fact[int]) setter {
	return put(at, func(n *int, v string) (err error) { *n, err = strconv.Atoi(v); return err })
}

func putTexts(at func(*fact.Set) *fact.Fact[[]string]) setter {
	return put(at, func(list *[]string, v string) error { *list = several(v); return nil })
}

func putHits(at func(*fact.Set) *fact.Fact[[]fact.ListHit]) setter {
	return put(at, func(hits *[]fact.ListHit, v string) error {
		for _, name := range several(v) {
			*hits = append(*hits, fact.ListHit{List: name})
		}
		return nil
	})
}

func several(v string) []string {
	return slices.DeleteFunc(strings.Split(v, ","), func(s string) bool { return s == "" })
}

// setters are the fields that the manual's examples use.
func setters() map[string]setter {
	m := map[string]setter{}
	clientSetters(m)
	envelopeSetters(m)
	contentSetters(m)
	return m
}

func clientSetters(m map[string]setter) {
	m["client.ip"] = put(func(s *fact.Set) *fact.Fact[netip.Addr] { return &s.Conn.IP },
		func(a *netip.Addr, v string) (err error) { *a, err = netip.ParseAddr(v); return err })
	m["client.trusted"] = put(func(s *fact.Set) *fact.Fact[string] { return &s.Conn.Trusted }, func(why *string, v string) error {
		*why = map[string]string{"true": "trusted network"}[v]
		return nil
	})
	m["client.dynamic"] = putYes(func(s *fact.Set) *fact.Fact[bool] { return &s.Conn.Dynamic })
	m["client.lists"] = putHits(func(s *fact.Set) *fact.Fact[[]fact.ListHit] { return &s.Conn.ListIP })
	iprev := func(s *fact.Set) *fact.Fact[fact.Iprev] { return &s.Conn.Iprev }
	m["iprev.result"] = put(iprev, func(i *fact.Iprev, v string) error { i.Result = v; return nil })
	m["iprev.name"] = put(iprev, func(i *fact.Iprev, v string) error { i.Names = several(v); return nil })
	m["dnsbl.zones"] = putHits(func(s *fact.Set) *fact.Fact[[]fact.ListHit] { return &s.Conn.DNSBL })
	m["dnsbl.score"] = put(func(s *fact.Set) *fact.Fact[[]fact.ListHit] { return &s.Conn.DNSBLName }, func(hits *[]fact.ListHit, v string) error {
		w, err := strconv.ParseFloat(v, 64)
		*hits = append(*hits, fact.ListHit{List: "any", Weight: w})
		return err
	})
	m["helo.name"] = putText(func(s *fact.Set) *fact.Fact[string] { return &s.Conn.Helo })
	m["helo.kind"] = putText(func(s *fact.Set) *fact.Fact[string] { return &s.Conn.HeloIs })
	m["helo.dns"] = putText(func(s *fact.Set) *fact.Fact[string] { return &s.Conn.HeloDNS })
	m["tls.version"] = put(func(s *fact.Set) *fact.Fact[mail.TLS] { return &s.Conn.TLS },
		func(t *mail.TLS, v string) error { t.Version = v; return nil })
}

func envelopeSetters(m map[string]setter) {
	from := func(s *fact.Set) *fact.Fact[mail.Address] { return &s.Txn.MailFrom }
	to := func(s *fact.Set) *fact.Fact[mail.Address] { return &s.Rcpt.To }
	whole := func(a *mail.Address, v string) error { *a = mail.ParsePath(v); return nil }
	domain := func(a *mail.Address, v string) error { *a = mail.ParsePath("someone@" + v); return nil }
	m["auth.user"] = putText(func(s *fact.Set) *fact.Fact[string] { return &s.Txn.AuthUser })
	m["mail_from.address"], m["mail_from.domain"] = put(from, whole), put(from, domain)
	m["mail_from.null"] = put(from, func(*mail.Address, string) error { return nil })
	spf := func(s *fact.Set) *fact.Fact[fact.SPF] { return &s.Txn.SPF }
	m["spf.result"] = put(spf, func(r *fact.SPF, v string) error { r.Result = v; return nil })
	m["spf.domain"] = put(spf, func(r *fact.SPF, v string) error { r.Domain = v; return nil })
	m["rcpt.address"], m["rcpt.domain"] = put(to, whole), put(to, domain)
	m["first"] = put(func(s *fact.Set) *fact.Fact[mail.Address] { return &s.Txn.First.To }, whole)
	m["rcpt.count"] = func(s *fact.Set, _ fact.State, v string) error {
		n, err := strconv.Atoi(v)
		s.Txn.Rcpts = make([]mail.Address, n)
		return err
	}
	m["rates.exceeded"] = putTexts(func(s *fact.Set) *fact.Fact[[]string] { return &s.Rcpt.Rates })
	m["greylist.result"] = put(func(s *fact.Set) *fact.Fact[fact.Greylist] { return &s.Rcpt.Greylist },
		func(g *fact.Greylist, v string) error { g.Result = v; return nil })
}

func contentSetters(m map[string]setter) {
	from := func(s *fact.Set) *fact.Fact[fact.From] { return &s.Txn.From }
	m["header_from.address"] = put(from, func(f *fact.From, v string) error { f.Addresses = several(v); return nil })
	m["header_from.domain"] = put(from, func(f *fact.From, v string) error { f.Domains = several(v); return nil })
	m["header.subject"] = putText(func(s *fact.Set) *fact.Fact[string] { return &s.Txn.Subject })
	m["header.list_id"] = putText(func(s *fact.Set) *fact.Fact[string] { return &s.Txn.ListID })
	m["header.defects"] = putTexts(func(s *fact.Set) *fact.Fact[[]string] { return &s.Txn.Defects })
	body := func(s *fact.Set) *fact.Fact[fact.Content] { return &s.Txn.Content }
	m["links.host"] = put(body, func(c *fact.Content, v string) error { c.Hosts = several(v); return nil })
	m["links.ip"] = put(body, func(c *fact.Content, v string) error {
		for _, s := range several(v) {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return err
			}
			c.Addrs = append(c.Addrs, a)
		}
		return nil
	})
	m["content.over"] = put(body, func(c *fact.Content, v string) (err error) { c.Over, err = strconv.ParseBool(v); return err })
	sigs := func(s *fact.Set) *fact.Fact[[]fact.DKIM] { return &s.Txn.DKIM }
	m["dkim.result"] = put(sigs, func(d *[]fact.DKIM, v string) error {
		if v != "none" {
			*d = append(*d, fact.DKIM{Result: v})
		}
		return nil
	})
	m["dkim.domain"] = put(sigs, func(d *[]fact.DKIM, v string) error {
		for _, domain := range several(v) {
			*d = append(*d, fact.DKIM{Result: "pass", Domain: domain})
		}
		return nil
	})
	dmarc := func(s *fact.Set) *fact.Fact[fact.DMARC] { return &s.Txn.DMARC }
	m["dmarc.result"] = put(dmarc, func(r *fact.DMARC, v string) error { r.Result = v; return nil })
	m["dmarc.policy"] = put(dmarc, func(r *fact.DMARC, v string) error { r.Policy = v; return nil })
	m["dmarc.domain"] = put(dmarc, func(r *fact.DMARC, v string) error { r.Domain = v; return nil })
	m["dkim.replay.clients"] = putCount(func(s *fact.Set) *fact.Fact[int] { return &s.Txn.ReplayClients })
	m["dkim.replay.recipients"] = putCount(func(s *fact.Set) *fact.Fact[int] { return &s.Txn.ReplayRecipients })
	m["defer.age"] = put(func(s *fact.Set) *fact.Fact[time.Duration] { return &s.Txn.DeferAge },
		func(d *time.Duration, v string) (err error) { *d, err = ParseDuration(v); return err })
	m["message.size"] = put(func(s *fact.Set) *fact.Fact[int64] { return &s.Txn.Size },
		func(n *int64, v string) (err error) { *n, err = strconv.ParseInt(v, 10, 64); return err })
}
