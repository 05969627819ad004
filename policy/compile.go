package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// Problem is something wrong with a rule or a configuration: where, what, and
// what to do about it.
type Problem struct {
	At      Position
	Path    string // such as "rules[3].when.spf.result"
	Message string
	Hint    string
}

// String gives "file:line:col: path: message (hint)".
func (p Problem) String() string {
	var b strings.Builder
	if at := p.At.String(); at != "" {
		b.WriteString(at + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// checkGreylist finds facts of one recipient, but for null senders.
const checkGreylist = "greylist"

// The fields that are no facts: what rules have left so far.
const (
	fieldTags   = "tags"
	fieldPoints = "points"
)

// program is a compiled rule.
type program struct {
	rule          Rule
	when          node
	reply, reason template
	headers       []template

	checks    []string // whose facts it reads
	readsMark bool     // asks for tags or points
	asks      []Leaf   // what it asks of tags and points, in its condition and the header fields that it adds
	hangs     bool     // its condition asks for what is of one recipient
	personal  bool     // its condition asks for what redaction hides

	bound  bool  // what it does at RCPT hangs on the recipient and matters later
	brings marks // those of them that rules after RCPT ask for
}

// leavesMarks tells whether a rule only leaves something for later ones.
func (p *program) leavesMarks() bool {
	do := &p.rule.Do
	return p.rule.Mode != Off && !do.Greylist && !do.Verdict.terminal() && (len(do.Tags) > 0 || do.Points != 0)
}

// Compile checks all rules and gives the policy, or every problem at once. The
// caller's rules are not changed.
func Compile(rules []Rule) (*Policy, []Problem) {
	c := compiler{p: &Policy{rules: make([]program, 0, len(rules))}, fields: map[string]fact.Field{
		fieldTags:   {Name: fieldTags, Kind: fact.Text},
		fieldPoints: {Name: fieldPoints, Kind: fact.Number},
	}}
	for _, f := range fact.Fields() {
		c.fields[f.Name] = f
	}
	seen := map[string]Position{}
	for _, r := range rules {
		if r.Name == RecipientsDiffer {
			c.problem(r.At, "rule "+r.Name, "this name stands for recipients that cannot share a message", "choose another")
		}
		if first, ok := seen[r.Name]; ok {
			hint := "rules are told apart by name"
			if at := first.String(); at != "" {
				hint = "first used at " + at
			}
			c.problem(r.At, "rule "+r.Name, "name is used twice", hint)
		} else {
			seen[r.Name] = r.At
		}
		c.p.rules = append(c.p.rules, c.rule(r))
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	c.index()
	return c.p, nil
}

type compiler struct {
	p        *Policy
	fields   map[string]fact.Field
	problems []Problem
}

func (c *compiler) problem(at Position, path, message, hint string) {
	c.problems = append(c.problems, Problem{at, path, message, hint})
}

// reading gathers what a rule reads.
type reading struct {
	rule   *Rule
	path   string
	stage  mail.Stage // the earliest at which all of it can be known
	late   string     // the field that is known last
	rcpt   string     // a field that is known at RCPT only
	marks  mail.Stage // the latest at which an earlier rule leaves a mark that is read
	marked bool
	checks []string
	asks   []Leaf // as of the program
	hangs  bool

	personal bool
}

func (c *compiler) rule(r Rule) program {
	r.Do.Tags, r.Do.Headers = slices.Clone(r.Do.Tags), slices.Clone(r.Do.Headers)
	rd := &reading{rule: &r, path: "rule " + r.Name}
	p := program{when: c.cond(&r.When, rd)}
	text := func(s string) template {
		t := c.template(s, func(name string) {
			c.problem(r.At, rd.path, fmt.Sprintf("unknown field {%s} in a text", name), c.didYouMean(name))
		})
		for _, x := range t {
			if x.field != nil {
				c.read(rd, &Leaf{Field: x.field.Name}, *x.field)
			}
		}
		return t
	}
	p.reply, p.reason = text(r.Do.Reply.Text), text(r.Reason)
	for _, h := range r.Do.Headers {
		p.headers = append(p.headers, text(h.Value))
	}
	for _, x := range slices.Concat(p.headers...) {
		if x.field != nil && x.field.Get == nil {
			rd.asks = append(rd.asks, Leaf{Field: x.field.Name})
		}
	}
	c.action(&r, rd.path)
	c.stage(&r, rd)
	p.rule, p.checks, p.readsMark, p.asks, p.hangs, p.personal = r, rd.checks, rd.marked, rd.asks, rd.hangs, rd.personal
	return p
}

// cond compiles a condition.
func (c *compiler) cond(x *Cond, rd *reading) node {
	set := 0
	for _, is := range []bool{len(x.All) > 0, len(x.Any) > 0, x.Not != nil, x.Leaf != nil} {
		if is {
			set++
		}
	}
	if set > 1 {
		c.problem(rd.rule.At, rd.path, "a condition has only one of all, any, not and a field", "nest them")
	}
	several := func(op nodeOp, list []Cond) node {
		n := node{op: op}
		for i := range list {
			n.kids = append(n.kids, c.cond(&list[i], rd))
		}
		return n
	}
	switch {
	case x.Leaf != nil:
		return node{op: opLeaf, leaf: c.leaf(x.Leaf, rd)}
	case x.Not != nil:
		return node{op: opNot, kids: []node{c.cond(x.Not, rd)}}
	case len(x.Any) > 0:
		return several(opAny, x.Any)
	}
	return several(opAll, x.All)
}

func (c *compiler) leaf(l *Leaf, rd *reading) *leaf {
	at := l.At
	if at == (Position{}) {
		at = rd.rule.At
	}
	f, ok := c.fields[l.Field]
	if !ok {
		c.problem(at, rd.path, fmt.Sprintf("unknown field %q", l.Field), c.didYouMean(l.Field))
		return nil
	}
	c.read(rd, l, f)
	rd.hangs = rd.hangs || f.Rcpt || f.Check == checkGreylist
	rd.personal = rd.personal || f.Personal
	if f.Get == nil {
		rd.asks = append(rd.asks, *l)
	}
	return &leaf{field: f, test: c.match(l.Match, f, at, rd.path), want: l.Match.want(f.Kind), unwanted: l.Match.unwanted(f.Kind)}
}

// read notes that the rule reads a field.
func (c *compiler) read(rd *reading, l *Leaf, f fact.Field) {
	if f.Check != "" && !slices.Contains(rd.checks, f.Check) {
		rd.checks = append(rd.checks, f.Check)
	}
	if f.Stage > rd.stage {
		rd.stage, rd.late = f.Stage, f.Name
	}
	if f.Rcpt {
		rd.rcpt = f.Name
	}
	if f.Get != nil {
		return
	}
	rd.marked = true
	for i := range c.p.rules {
		if p := &c.p.rules[i]; p.leavesMarks() && c.asksFor(l, &p.rule.Do) {
			rd.marks = max(rd.marks, p.rule.Stage)
		}
	}
}

// asksFor tells whether the condition can see what the action leaves.
func (c *compiler) asksFor(l *Leaf, do *Action) bool {
	if l.Field == fieldPoints {
		return do.Points != 0
	}
	return slices.ContainsFunc(do.Tags, func(tag string) bool { return c.turns(l.Match, tag) })
}

// maxPoints keeps sums finite: a decision must fit into JSON.
const maxPoints = 1e6

// action finds what an action cannot do.
func (c *compiler) action(r *Rule, path string) {
	if r.Do.Greylist && r.Do.Verdict.terminal() {
		c.problem(r.At, path, "greylist and "+r.Do.Verdict.String()+" in one rule", "greylisting is a verdict of its own: make two rules")
	}
	if p := r.Do.Points; math.IsNaN(p) || math.Abs(p) > maxPoints {
		c.problem(r.At, path, fmt.Sprintf("%g are no points", p), "write a number up to a million")
	}
	for _, t := range r.Do.Tags {
		if !word(t) {
			c.problem(r.At, path, fmt.Sprintf("%q is no tag", t), "a tag is one word of ASCII without comma")
		}
	}
}

func word(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return s != ""
}

// stage finds the rule's stage, or checks the one that was written.
func (c *compiler) stage(r *Rule, rd *reading) {
	least, why := leastStage(&r.Do)
	switch {
	case r.Auto:
		// Refusals wait for RCPT, so that logs bear sender and recipient.
		r.Stage = max(rd.stage, rd.marks, least, mail.StageRcpt)
		if r.Do.Verdict == Discard && r.Stage == mail.StageRcpt {
			r.Stage = mail.StageHeader
		}
	case r.Stage < rd.stage:
		c.problem(r.At, rd.path, fmt.Sprintf("%s is not known at stage %s", rd.late, r.Stage),
			fmt.Sprintf("it is known from stage %s on; leave stage: out to have it found", rd.stage))
	case r.Stage < least:
		c.problem(r.At, rd.path, why, "use stage: "+least.String()+" or leave it out")
	}
	if rd.rcpt != "" && r.Stage > mail.StageRcpt {
		c.recipientGone(r, rd)
	}
	if r.Do.Greylist && r.Stage >= mail.StageMessage {
		why, hint := "greylisting at the end of the message costs the whole transfer", "use stage: rcpt or header"
		if r.Auto && rd.late != "" {
			hint = rd.late + " is known only then: ask for something else"
		}
		c.problem(r.At, rd.path, why, hint)
	}
}

// recipientGone tells why a rule can never match: what it asks of a recipient is
// forgotten before what else it needs is known.
func (c *compiler) recipientGone(r *Rule, rd *reading) {
	why := fmt.Sprintf("%s is of one recipient and known at stage rcpt only, but the rule waits for stage %s", rd.rcpt, r.Stage)
	hint := "let a rule at rcpt leave a tag by it, and ask for that tag here"
	switch {
	case r.Auto && r.Do.Verdict == Discard:
		hint = "stage: rcpt drops the message for all its recipients"
	case !rd.hangs:
		hint = "the texts of such a rule cannot name it"
	}
	c.problem(r.At, rd.path, why, hint)
}

// leastStage gives the earliest stage at which the action is possible, and why.
func leastStage(do *Action) (mail.Stage, string) {
	switch {
	case do.Verdict == Quarantine || do.Verdict == Hold:
		return mail.StageMessage, do.Verdict.String() + " is only possible at the end of the message"
	case len(do.Headers) > 0:
		return mail.StageMessage, "header fields can only be added at the end of the message"
	case do.Verdict == Discard:
		return mail.StageMail, "MTAs do not discard before MAIL"
	case do.Greylist:
		return mail.StageRcpt, "greylisting needs sender and recipient"
	}
	return mail.StageConnect, ""
}

func (c *compiler) didYouMean(name string) string {
	if n := Nearest(name, slices.Sorted(maps.Keys(c.fields))); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return "config reference lists all fields"
}

// index prepares what Decide and the session ask.
func (c *compiler) index() {
	var checks [stages]map[string]bool
	for i := range checks {
		checks[i] = map[string]bool{}
	}
	for i := range c.p.rules {
		p := &c.p.rules[i]
		at := p.rule.Stage
		c.p.stages[at] = append(c.p.stages[at], p)
		if p.rule.Mode == Off {
			continue
		}
		c.p.grey[at] = c.p.grey[at] || p.rule.Do.Greylist && p.rule.Mode == Enforce
		for _, name := range p.checks {
			checks[at][name] = true
		}
	}
	c.bind()
	for at := range checks {
		c.p.checks[at] = slices.Sorted(maps.Keys(checks[at]))
		reads := func(p *program) bool { return p.rule.Mode != Off && p.readsMark }
		if slices.ContainsFunc(c.p.stages[at], reads) {
			c.p.earlier[at] = marksBefore(c.p.stages[:at])
		}
	}
}

// marksBefore lists the rules of earlier stages that leave marks.
func marksBefore(stages [][]*program) []*program {
	var out []*program
	for _, list := range stages {
		for _, p := range list {
			if p.leavesMarks() && p.rule.Mode == Enforce {
				out = append(out, p)
			}
		}
	}
	return out
}
