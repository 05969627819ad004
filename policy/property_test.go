package policy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

var equal = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

// words occur both in facts and in rules, so that conditions hold now and then.
var words = []string{"pass", "fail", "temperror", "none", "ok", "own", "reject", "a.example", "b.a.example", "X", "defer", ""}

func drawn(g any) *rapid.Generator[any] {
	return g.(interface{ AsAny() *rapid.Generator[any] }).AsAny()
}

// sets draws facts in all states, with what mail may bring.
func sets() *rapid.Generator[fact.Set] {
	texts := rapid.OneOf(rapid.SampledFrom(words), rapid.SampledFrom([]string{"\xff\xfe", "a\r\nb", "Ünï"}), rapid.String())
	return rapid.MakeCustom[fact.Set](rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[fact.State](): drawn(rapid.SampledFrom([]fact.State{fact.Absent, fact.Known, fact.Known, fact.Known, fact.Skipped, fact.Failed})),
		reflect.TypeFor[mail.Stage](): drawn(rapid.SampledFrom(mail.Stages())),
		reflect.TypeFor[string]():     drawn(texts),
		reflect.TypeFor[time.Time](): drawn(rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 1e9).Draw(t, "ns")).UTC()
		})),
		reflect.TypeFor[netip.Addr](): drawn(rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%e")})),
	}})
}

func matches(k fact.Kind, allowed []string) *rapid.Generator[policy.Match] {
	return rapid.Custom(func(t *rapid.T) policy.Match {
		var ops []policy.Op
		switch k {
		case fact.Text:
			ops = []policy.Op{policy.Equals, policy.Equals, policy.Prefix, policy.Suffix, policy.Contains, policy.Regex, policy.Under, policy.Empty}
		case fact.Bool:
			ops = []policy.Op{policy.Is}
		case fact.Addr:
			ops = []policy.Op{policy.In}
		default:
			ops = []policy.Op{policy.Equals, policy.Less, policy.AtMost, policy.Greater, policy.AtLeast}
		}
		m := policy.Match{Op: rapid.SampledFrom(append(ops, policy.State)).Draw(t, "op")}
		m.Num, m.Bool = float64(rapid.IntRange(0, 5).Draw(t, "num")), rapid.Bool().Draw(t, "bool")
		switch m.Op {
		case policy.State:
			m.Text = []string{rapid.SampledFrom([]string{"absent", "known", "skipped", "failed"}).Draw(t, "state")}
		case policy.In:
			m.Text = []string{rapid.SampledFrom([]string{"192.0.2.0/24", "2001:db8::/32", "fe80::/10"}).Draw(t, "net")}
		case policy.Equals:
			from := words
			if len(allowed) > 0 {
				from = allowed
			}
			m.Text = rapid.SliceOfN(rapid.SampledFrom(from), 1, 3).Draw(t, "texts")
		default:
			m.Text = []string{rapid.SampledFrom(words[:len(words)-1]).Draw(t, "text")}
		}
		if rapid.Bool().Draw(t, "negated") {
			inner := m
			m = policy.Match{Not: &inner}
		}
		return m
	})
}

// allFields are those that conditions may ask for.
func allFields() []fact.Field {
	return append(fact.Fields(), fact.Field{Name: "tags"}, fact.Field{Name: "points", Kind: fact.Number})
}

func conds(fields []fact.Field, depth int) *rapid.Generator[policy.Cond] {
	return rapid.Custom(func(t *rapid.T) policy.Cond {
		kind := 0
		if depth > 0 {
			kind = rapid.IntRange(0, 5).Draw(t, "kind")
		}
		switch kind {
		case 1:
			return policy.Cond{All: rapid.SliceOfN(conds(fields, depth-1), 1, 3).Draw(t, "all")}
		case 2:
			return policy.Cond{Any: rapid.SliceOfN(conds(fields, depth-1), 1, 3).Draw(t, "any")}
		case 3:
			c := conds(fields, depth-1).Draw(t, "not")
			return policy.Cond{Not: &c}
		}
		f := rapid.SampledFrom(fields).Draw(t, "field")
		return policy.Cond{Leaf: &policy.Leaf{Field: f.Name, Match: matches(f.Kind, f.Words).Draw(t, "match")}}
	})
}

// rules draws rules that may be wrong: Compile says so.
func rules() *rapid.Generator[[]policy.Rule] { return rulesOver(allFields()) }

func rulesOver(fields []fact.Field) *rapid.Generator[[]policy.Rule] {
	one := rapid.Custom(func(t *rapid.T) policy.Rule {
		r := policy.Rule{Auto: rapid.IntRange(0, 4).Draw(t, "auto") > 0, Stage: rapid.SampledFrom(mail.Stages()).Draw(t, "stage"),
			Mode: rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Observe, policy.Off}).Draw(t, "mode"),
			When: conds(fields, 2).Draw(t, "when"), Reason: rapid.SampledFrom([]string{"", "{helo.name} {points}", "{header.subject}"}).Draw(t, "reason")}
		switch rapid.IntRange(0, 4).Draw(t, "do") {
		case 0:
			r.Do.Greylist = true
		case 1:
			r.Do.Verdict = rapid.SampledFrom([]policy.Verdict{policy.Accept, policy.Quarantine, policy.Discard, policy.Tempfail, policy.Reject}).Draw(t, "verdict")
			if r.Do.Verdict >= policy.Tempfail {
				r.Do.Reply.Text = "{mail_from.address}"
			}
		case 2:
			r.Do.Headers = []policy.HeaderEdit{{Name: "X-A", Value: "{client.ptr}{tags}"}}
		}
		r.Do.Points = float64(rapid.IntRange(-1, 2).Draw(t, "points"))
		r.Do.Tags = rapid.SliceOfN(rapid.SampledFrom([]string{"X", "ok", "fail"}), 0, 2).Draw(t, "tags")
		return r
	})
	return rapid.Custom(func(t *rapid.T) []policy.Rule {
		rs := rapid.SliceOfN(one, 1, 8).Draw(t, "rules")
		for i := range rs {
			rs[i].Name = fmt.Sprint("r", i)
		}
		return rs
	})
}

// compiled draws a policy: rules that are wrong are left out.
func compiled(t *rapid.T, rs []policy.Rule) *policy.Policy {
	var good []policy.Rule
	for _, r := range rs {
		if _, problems := policy.Compile([]policy.Rule{r}); len(problems) == 0 {
			good = append(good, r)
		}
	}
	p, problems := policy.Compile(good)
	if len(problems) > 0 {
		// Only what rules before them leave can move a greylist rule too late.
		t.SkipNow()
	}
	return p
}

// Decide is a function of the facts: it gives the same again, changes nothing,
// and judges recorded facts and read-back decisions alike.
func TestDecideIsAFunction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, rules().Draw(t, "rules"))
		drawn := sets().Draw(t, "set")
		before, err := json.Marshal(drawn)
		if err != nil {
			t.Fatal(err)
		}
		var recorded fact.Set
		if err := json.Unmarshal(before, &recorded); err != nil {
			t.Fatal(err)
		}
		for _, st := range mail.Stages() {
			drawn.Stage, recorded.Stage = st, st
			d := p.Decide(&drawn)
			for name, again := range map[string]policy.Decision{"again": p.Decide(&drawn), "recorded": p.Decide(&recorded), "read back": readBack(t, d)} {
				if diff := cmp.Diff(d, again, equal); diff != "" {
					t.Fatalf("%s at %s (-first +%s)\n%s", name, st, name, diff)
				}
			}
			sane(t, d)
		}
		drawn.Stage = stageOf(t, before)
		if after, _ := json.Marshal(drawn); string(after) != string(before) {
			t.Fatalf("Decide changed the facts\n%s\n%s", before, after)
		}
	})
}

func stageOf(t *rapid.T, b []byte) mail.Stage {
	var s struct{ Stage mail.Stage }
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s.Stage
}

func readBack(t *rapid.T, d policy.Decision) policy.Decision {
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var out policy.Decision
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// sane is what every decision keeps.
func sane(t *rapid.T, d policy.Decision) {
	if (d.Verdict != policy.Continue) != (d.Rule != "") {
		t.Fatalf("verdict %s by rule %q", d.Verdict, d.Rule)
	}
	if d.Greylist && d.Verdict != policy.Continue {
		t.Fatalf("asks the greylist and says %s", d.Verdict)
	}
	for i, s := range d.Trace {
		if s.Matched && (s.Unknown || s.Field != "" || s.Want != "" || s.Got != "") {
			t.Fatalf("step %+v matched and did not", s)
		}
		if s.Rule == d.Rule && (i != len(d.Trace)-1 || s.Mode != policy.Enforce || !s.Matched) {
			t.Fatalf("decided by step %d of %d: %+v", i, len(d.Trace), s)
		}
		if s.Mode == policy.Off && (s.Matched || s.Did != "") {
			t.Fatalf("rule that is off: %+v", s)
		}
	}
}

// With all rules on trial nothing happens, and the same rules match as far as
// they do not hang on each other's marks.
func TestObservedPolicyNeverActs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := rules().Draw(t, "rules")
		for i := range rs {
			rs[i].Mode = policy.Observe
		}
		p := compiled(t, rs)
		s := sets().Draw(t, "set")
		d := p.Decide(&s)
		if d.Verdict != policy.Continue || d.Greylist || len(d.Tags) > 0 || d.Points != 0 || len(d.Headers) > 0 || d.Rule != "" || d.Reply != (policy.Reply{}) {
			t.Fatalf("%+v", d)
		}
		if n := len(p.Rules()); len(d.Trace) > n {
			t.Fatalf("%d steps of %d rules", len(d.Trace), n)
		}
		for _, w := range d.Would {
			if w.Verdict == policy.Continue {
				t.Fatalf("would do nothing: %+v", w)
			}
		}
	})
}

// Rules that are printed and read again decide the same, for the same causes.
func TestPrintedRulesDecideAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, rules().Draw(t, "rules"))
		printed, err := rulefile.Print(p.Rules())
		if err != nil {
			t.Fatal(err)
		}
		again, problems := rulefile.Parse("printed", printed)
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, printed)
		}
		q, problems := policy.Compile(again)
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, printed)
		}
		s := sets().Draw(t, "set")
		for _, s.Stage = range mail.Stages() {
			if diff := cmp.Diff(p.Decide(&s), q.Decide(&s), equal, cmpopts.IgnoreTypes(policy.Position{})); diff != "" {
				t.Fatalf("at %s (-rules +printed)\n%s\n%s", s.Stage, diff, printed)
			}
		}
	})
}

// Every member of a Decision survives JSON, so that journals lose nothing.
func TestDecisionSurvivesJSON(t *testing.T) {
	d := policy.Decision{Stage: mail.StageHeader, Verdict: policy.Reject, Rule: "r", At: policy.Position{File: "f", Line: 1, Col: 2},
		Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "t"}, Reason: "why", Tags: []string{"a"}, Points: 1.5,
		Headers: []policy.HeaderEdit{{Name: "X", Value: "v"}}, Greylist: true, Differs: "d",
		Would: []policy.Outcome{{Rule: "o", Verdict: policy.Tempfail, Reason: "x", At: policy.Position{File: "g"}}},
		Trace: []policy.Step{{Rule: "s", Mode: policy.Observe, Matched: true, Unknown: true, Field: "f", Want: "w", Got: "g", Did: "d"}}}
	v := reflect.ValueOf(d)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the test leaves %s out", v.Type().Field(i).Name)
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back policy.Decision
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back); diff != "" {
		t.Error(diff)
	}
}
