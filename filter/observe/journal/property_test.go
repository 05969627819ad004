package journal

import (
	"encoding/json"
	"flag"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/filter/observe"
	"mailwicket/policy"
	"mailwicket/policy/profile"
	"mailwicket/policy/rulefile"
)

// records draws any record: all states, stages and verdicts, odd strings, missing
// lists.
func records() *rapid.Generator[filter.Record] {
	as := func(g any) *rapid.Generator[any] { return g.(interface{ AsAny() *rapid.Generator[any] }).AsAny() }
	words := []string{"", "pass", "fail", "temperror", "none", "defer", "a.example", "a@a.example", "\xff\xfe", "a\r\nb\u2028<&>\x00"}
	verdicts := []policy.Verdict{policy.Continue, policy.Accept, policy.Quarantine, policy.Hold, policy.Discard, policy.Tempfail, policy.Reject}
	return rapid.MakeCustom[filter.Record](rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[fact.State]():     as(rapid.SampledFrom([]fact.State{fact.Absent, fact.Known, fact.Known, fact.Known, fact.Skipped, fact.Failed})),
		reflect.TypeFor[mail.Stage]():     as(rapid.SampledFrom(mail.Stages())),
		reflect.TypeFor[policy.Verdict](): as(rapid.SampledFrom(verdicts)),
		reflect.TypeFor[policy.Mode]():    as(rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Observe, policy.Off})),
		reflect.TypeFor[string]():         as(rapid.SampledFrom(words)),
		reflect.TypeFor[float64]():        as(rapid.Float64Range(-1e9, 1e9)),
		reflect.TypeFor[time.Time](): as(rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "s"), rapid.Int64Range(0, 1e9).Draw(t, "ns")).UTC()
		})),
		reflect.TypeFor[netip.Addr](): as(rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")})),
	}})
}

// policies are those that are shipped, and one that reads what they do not.
func policies(t *testing.T) []*policy.Policy {
	text := "rules:\n" +
		"  - {name: tag, when: {client.ip: [192.0.2.0/24]}, do: {tag: near}}\n" +
		"  - {name: early, stage: helo, when: {helo.name: a.example, client.name: pass}, do: reject}\n" +
		"  - {name: sender, stage: mail, when: {mail_from.null: true, spf.helo.result: fail}, do: tempfail}\n" +
		"  - {name: rates, when: {rates.exceeded: pass}, do: tempfail}\n" +
		"  - {name: subject, when: {header.subject: [pass, fail]}, do: discard}\n" +
		"  - {name: grey, when: {rcpt.address: a@a.example}, do: greylist}\n" +
		"  - {name: late, when: {defer.age: {ge: 4h}}, do: accept}\n"
	var out []*policy.Policy
	own, problems := rulefile.Parse("own", []byte(text))
	for _, rules := range [][]policy.Rule{shipped(t, "standard"), shipped(t, "strict"), own} {
		p, more := policy.Compile(rules)
		if problems = append(problems, more...); len(problems) > 0 {
			t.Fatal(problems)
		}
		out = append(out, p)
	}
	return out
}

func shipped(t *testing.T, name string) []policy.Rule {
	t.Helper()
	rules, err := profile.Rules(name)
	check(t, err)
	return rules
}

// TestRecordsSurvive: what is read back is what was written, but for bytes that are
// no UTF-8, and is judged the same.
func TestRecordsSurvive(t *testing.T) {
	_ = flag.Set("rapid.nofailfile", "true") // the seed is told anyway
	_ = flag.Set("rapid.checks", "40")       // records are large
	all := policies(t)
	rapid.Check(t, func(t *rapid.T) {
		r := records().Draw(t, "record")
		first := again(t, &r)
		if diff := cmp.Diff(first, again(t, first), same...); diff != "" {
			t.Fatalf("(-written, +read)\n%s", diff)
		}
		quick := &filter.Record{}
		line, err := Encode(nil, &r)
		if err != nil || decodeFacts(slices.Clone(line[:len(line)-1]), quick) != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			want := filter.Replay(p, &r)
			for how, other := range map[string]*filter.Record{"Read": first, "ReadFacts": quick} {
				if got := filter.Replay(p, other); !reflect.DeepEqual(got, want) {
					t.Fatalf("judged %+v, after %s %+v", want, how, got)
				}
			}
		}
	})
}

// TestRedactedIsJudgedTheSame: by rules that do not read what is hidden.
func TestRedactedIsJudgedTheSame(t *testing.T) {
	_ = flag.Set("rapid.nofailfile", "true")
	_ = flag.Set("rapid.checks", "40")
	redact := observe.Redactor([]byte("secret"))
	all := policies(t)[:2]
	rapid.Check(t, func(t *rapid.T) {
		r := records().Draw(t, "record")
		hidden := redact(&r)
		for _, p := range all {
			if want, got := filter.Replay(p, &r), filter.Replay(p, hidden); !reflect.DeepEqual(got, want) {
				t.Fatalf("judged %+v, redacted %+v", want, got)
			}
		}
	})
}

var same = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

func again(t *rapid.T, r *filter.Record) *filter.Record {
	line, err := Encode(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	out := &filter.Record{}
	if err := json.Unmarshal(line, out); err != nil {
		t.Fatal(err)
	}
	return out
}
