package rulefile

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v4"

	"mailwicket/filter/fact"
	"mailwicket/policy"
)

var update = flag.Bool("update", false, "write the problems that are found into testdata/bad")

// problems are those that a user sees: the file's, or else the policy's.
func problems(name string, text []byte) []policy.Problem {
	rules, problems := Parse(name, text)
	if len(problems) == 0 {
		_, problems = policy.Compile(rules)
	}
	return problems
}

// Each file in testdata/bad has its problems beside it.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		base := filepath.Base(file)
		t.Run(strings.TrimSuffix(base, ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, p := range problems(base, text) {
				got.WriteString(p.String() + "\n")
			}
			if got.Len() == 0 {
				t.Fatal("nothing is wrong with it")
			}
			expected := strings.TrimSuffix(file, ".yaml") + ".problems"
			if *update {
				if err := os.WriteFile(expected, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A structure that hostile hands built ends soon, and with one problem.
func TestBombs(t *testing.T) {
	rep := strings.Repeat
	for name, text := range map[string]string{
		"flow lists":     rep("[", 1<<20),
		"block lists":    rep("- ", 1<<20),
		"mappings":       rep("{a: ", 1<<18),
		"complex keys":   rep("? ", 1<<18),
		"deep lists":     "rules: " + rep("[", 9000) + rep("]", 9000),
		"deep headers":   "rules: [{name: a, do: {header: " + rep("[", 9000) + rep("]", 9000) + "}}]",
		"long":           "rules: [" + rep("a, ", maxNodes) + "]",
		"huge":           "rules: # " + rep("x", maxBytes),
		"doubling":       "rules: []\na0: &a0 [x]\n" + doubling(60),
		"no UTF-8":       "rules: \xff",
		"unknown anchor": "rules: *a",
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse("f", []byte(text))
			if len(problems) == 0 || len(problems) > 2 {
				t.Fatalf("%d problems", len(problems))
			}
			if problems[0].At.File != "f" || len(problems[0].String()) > 300 {
				t.Errorf("%d bytes of message", len(problems[0].String()))
			}
		})
	}
}

func doubling(n int) string {
	var b strings.Builder
	for i := range n {
		name := func(i int) string { return "a" + strings.Repeat("i", i) }
		b.WriteString(name(i+1) + ": &" + name(i+1) + " [*" + map[bool]string{true: "a0", false: name(i)}[i == 0] + ", *" + map[bool]string{true: "a0", false: name(i)}[i == 0] + "]\n")
	}
	return b.String()
}

// Many mistakes are told up to a bound.
func TestManyProblems(t *testing.T) {
	_, got := Parse("f", []byte("rules: ["+strings.Repeat("x, ", 5000)+"]"))
	if len(got) != maxProblems+1 || got[maxProblems].Message != "too many problems, the rest is not told" {
		t.Errorf("%d problems, last %v", len(got), got[len(got)-1])
	}
}

var sameRules = cmp.Options{
	cmpopts.IgnoreFields(policy.Rule{}, "At"), cmpopts.IgnoreFields(policy.Leaf{}, "At"), cmpopts.EquateEmpty(),
}

// What is printed reads as the same rules, and prints as the same text.
func TestGoodFilesRoundTrip(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rules, bad := Parse(filepath.Base(file), text)
			if len(bad) > 0 {
				t.Fatal(bad)
			}
			printed, again := reprint(t, rules)
			if diff := cmp.Diff(rules, again, sameRules); diff != "" {
				t.Errorf("(-read +read again)\n%s\n%s", diff, printed)
			}
			p, bad := policy.Compile(rules)
			if len(bad) > 0 {
				t.Fatal(bad)
			}
			// The compiled policy prints as it was written.
			if compiled, err := Print(p.Rules()); err != nil || !bytes.Equal(compiled, printed) {
				t.Errorf("compiled (%v):\n%s", err, compiled)
			}
		})
	}
}

// reprint prints, reads and prints again: a fixed point.
func reprint(t testing.TB, rules []policy.Rule) ([]byte, []policy.Rule) {
	t.Helper()
	first, err := Print(rules)
	if err != nil {
		t.Fatal(err)
	}
	again, bad := Parse("printed", first)
	if len(bad) > 0 {
		t.Fatalf("what is printed is wrong: %v\n%s", bad, first)
	}
	for i := range again {
		again[i].At = rules[i].At
	}
	second, err := Print(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Fatalf("no fixed point:\n%s\n%s", first, second)
	}
	return first, again
}

func TestParseReadsWhatIsWritten(t *testing.T) {
	rules, bad := Parse("f.yaml", []byte(`
rules:
  - name: a
    stage: header
    mode: observe
    when: {helo.kind: own, client.ip: 192.0.2.1, not: {message.size: {gt: 1MiB}}}
    do: {reject: {code: 554, enhanced: 5.7.0, text: t}, tag: x, points: 2, header: {name: N, value: v}}
    reason: why
`))
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	at := func(line, col int) policy.Position { return policy.Position{File: "f.yaml", Line: line, Col: col} }
	want := []policy.Rule{{Name: "a", Stage: 4, Mode: policy.Observe, Reason: "why", At: at(3, 5),
		When: policy.Cond{All: []policy.Cond{
			{Leaf: &policy.Leaf{Field: "helo.kind", At: at(6, 12), Match: policy.Match{Op: policy.Equals, Text: []string{"own"}}}},
			{Leaf: &policy.Leaf{Field: "client.ip", At: at(6, 28), Match: policy.Match{Op: policy.In, Text: []string{"192.0.2.1"}}}},
			{Not: &policy.Cond{Leaf: &policy.Leaf{Field: "message.size", At: at(6, 56), Match: policy.Match{Op: policy.Greater, Num: 1 << 20}}}},
		}},
		Do: policy.Action{Verdict: policy.Reject, Tags: []string{"x"}, Points: 2, Headers: []policy.HeaderEdit{{Name: "N", Value: "v"}},
			Reply: policy.Reply{Code: 554, Enhanced: "5.7.0", Text: "t"}}}}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Nested "all" is one list, so that what is printed reads as it was.
func TestAllIsFlat(t *testing.T) {
	rules, bad := Parse("f", []byte("rules: [{name: a, do: accept, when: {helo.name: x, all: [{helo.kind: ok}, {all: [{helo.kind: own}, {tls.version: y}]}]}}]"))
	if len(bad) > 0 || len(rules[0].When.All) != 4 {
		t.Errorf("%v %+v", bad, rules)
	}
}

// Texts of any shape come back as they were, also inside flow mappings.
func TestTextsRoundTrip(t *testing.T) {
	for _, s := range []string{"", " ", "\n", "a\n", "a\n\n\n", "\n a", " a\n  b\n", "\ta\n", "a\r\nb", "a\rb", "\u0085", "\u2028a\n", "\ufeff", "\x1b", "\x7f",
		"#a", "a #b", "a: b", "- a", "{a}", "'", `"`, "*a", "&a", "!a", "%a", "null", "~", "true", "1", ".inf", "0x1", "2026-01-01", "=", "<<", "---", "...", "é😀"} {
		r := policy.Rule{Name: "n" + fact.Clean(s), Auto: true, Reason: s, Do: policy.Action{Verdict: policy.Reject, Reply: policy.Reply{Text: s}},
			When: policy.Cond{All: []policy.Cond{
				{Leaf: &policy.Leaf{Field: "header.subject", Match: policy.Match{Op: policy.Equals, Text: []string{s}}}},
				{Leaf: &policy.Leaf{Field: "helo.name", Match: policy.Match{Op: policy.Equals, Text: []string{s, "x" + s}}}},
			}}}
		rules := []policy.Rule{r, {Name: "other", Auto: true, At: policy.Position{File: "a\nb: c", Line: 3}}}
		printed, again := reprint(t, rules)
		if diff := cmp.Diff(rules, again, sameRules); diff != "" {
			t.Errorf("%q (-was +is)\n%s\n%s", s, diff, printed)
		}
	}
}

func TestNode(t *testing.T) {
	var doc struct{ A, Rules yaml.Node }
	if err := yaml.Load([]byte("a: &a {name: x, do: accept}\nrules: [*a, {name: y, doo: reject}]\n"), &doc); err != nil {
		t.Fatal(err)
	}
	rules, bad := Node("c.yaml", &doc.Rules, "rules")
	if len(rules) != 1 || rules[0].Name != "x" || rules[0].At.String() != "c.yaml:1:4" {
		t.Errorf("rules %+v", rules)
	}
	var got []string
	for _, p := range bad {
		got = append(got, p.String())
	}
	want := []string{`c.yaml:2:23: rules[1].doo: unknown key (did you mean "do"?)`,
		"c.yaml:2:13: rules[1]: rule has no do (add do: reject, tempfail, accept, quarantine, hold, discard, greylist, or {tag: word})"}
	if !slices.Equal(got, want) {
		t.Errorf("problems %q", got)
	}
	for name, n := range map[string]*yaml.Node{"nil": nil, "zero": {}, "null": {Kind: yaml.ScalarNode, Tag: "!!null"}} {
		if rules, bad := Node("f", n, "rules"); rules != nil || bad != nil {
			t.Errorf("%s: %v %v", name, rules, bad)
		}
	}
	loop := &yaml.Node{Kind: yaml.SequenceNode}
	loop.Content = []*yaml.Node{{Kind: yaml.AliasNode, Alias: loop}}
	if _, bad := Node("f", loop, "rules"); len(bad) != 1 {
		t.Errorf("loop: %v", bad)
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"240s": 4 * time.Minute, "90m": 90 * time.Minute, "48h": 48 * time.Hour, "36d": 36 * day, "2w": 14 * day, "1.5d": 36 * time.Hour,
		"0": 0, "0d": 0, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"": -1, "5": -1, "-1h": -1, "-1d": -1, "d": -1, "NaNd": -1, "Infd": -1, "1e300w": -1, "1d2h": -1, "soon": -1, "9999999999999h": -1,
	} {
		got, err := ParseDuration(in)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q = %v, %v, want %v", in, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "36d") {
			t.Errorf("%q: %v", in, err)
		}
		if err == nil {
			if back, err := ParseDuration(printDuration(got.Seconds())); err != nil || back != got {
				t.Errorf("%q prints as %s", in, printDuration(got.Seconds()))
			}
		}
	}
}

func TestParseNumber(t *testing.T) {
	for in, want := range map[string]float64{
		"0": 0, "-1.5": -1.5, "1e3": 1000, "1KiB": 1024, "10MiB": 10 << 20, "1.5GiB": 3 << 29,
		"": math.NaN(), "nan": math.NaN(), "inf": math.NaN(), "1e308GiB": math.NaN(), "MiB": math.NaN(), "10 MiB": math.NaN(), "10MB": math.NaN(), "ten": math.NaN(),
	} {
		if got, ok := parseNumber(in); ok == math.IsNaN(want) || ok && got != want {
			t.Errorf("%q = %v, %v, want %v", in, got, ok, want)
		}
	}
}

// FuzzParse: any text ends in rules or problems; rules that are right print to
// a fixed point, and compile without a panic.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, bad := Parse("f", text)
		p, problems := policy.Compile(rules)
		if (p == nil) == (problems == nil) {
			t.Fatal("neither policy nor problems, or both")
		}
		for _, x := range append(bad, problems...) {
			if x.Message == "" || x.At.File != "f" {
				t.Fatalf("problem %+v", x)
			}
		}
		if len(bad) > 0 {
			return
		}
		printed, again := reprint(t, rules)
		if diff := cmp.Diff(rules, again, sameRules); diff != "" {
			t.Fatalf("(-read +read again)\n%s\n%s", diff, printed)
		}
		if _, more := policy.Compile(again); len(more) != len(problems) {
			t.Fatalf("problems before %v\nafter %v", problems, more)
		}
	})
}
