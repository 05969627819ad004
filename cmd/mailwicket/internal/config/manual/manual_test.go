package manual

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/cmd/mailwicket/internal/config/ruleset"
	"mailwicket/cmd/mailwicket/internal/golden"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/fact"
	"mailwicket/filter/limit"
	"mailwicket/filter/list"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

func report(problems []policy.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// Every key has a doc and stands in both manuals.
func TestEveryKeyIsDocumented(t *testing.T) {
	example, reference := string(Example()), string(Reference())
	for _, f := range keys.All(config.Default()) {
		if doc := f.Doc(); !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: the doc %q is no sentence", f.Path, doc)
		}
		if !strings.Contains(reference, "`"+f.Path+"`") {
			t.Errorf("%s is not in the reference", f.Path)
		}
		if !regexp.MustCompile(`(?m)^ *(#- |#  )?` + f.Name + `:`).MatchString(example) {
			t.Errorf("%s is not in the example", f.Path)
		}
	}
}

// Tags that the decoder reads must be readable themselves.
func TestTags(t *testing.T) {
	for _, f := range keys.All(config.Default()) {
		lo, hi := f.Tag.Get("min"), f.Tag.Get("max")
		if (lo == "") != (hi == "") {
			t.Errorf("%s has half a range", f.Path)
		}
		if lo != "" && keys.Bound(f.Value.Type(), lo) >= keys.Bound(f.Value.Type(), hi) {
			t.Errorf("%s: range %s to %s", f.Path, lo, hi)
		}
		if (f.Value.CanInt() || f.Value.CanFloat()) && lo == "" {
			t.Errorf("%s has no range", f.Path)
		}
	}
}

// What the manual calls the default of a key that is filled in later, is.
func TestPresets(t *testing.T) {
	c, problems := config.Parse("", []byte(`
lists: [{name: a, type: domain, url: "https://example.org/a"}]
dnsbl: [{zone: Example.ORG, type: domain, codes: {127.0.0.2: x}}]
rates: [{name: a, key: [client], limit: 5/1h}, {name: b, key: [client], limit: 5MiB/1h}]
`))
	if len(problems) > 0 {
		t.Fatal(report(problems))
	}
	preset := map[string]string{}
	for _, f := range keys.All(config.Default()) {
		preset[f.Path] = f.Tag.Get("preset")
	}
	l, z := c.Lists[0], c.DNSBL[0]
	for path, got := range map[string]string{
		"lists[].every": l.Every.String(), "lists[].max_bytes": l.MaxBytes.String(), "lists[].guard": string(l.Guard), "dnsbl[].ask": string(z.Ask),
	} {
		if got != preset[path] {
			t.Errorf("%s: got %s, the manual says %s", path, got, preset[path])
		}
	}
	if !slices.Equal(z.Apply, dnsbl.Points()) || z.Name != "example.org" || z.Weight != 1 {
		t.Errorf("zone %+v", z)
	}
	if c.Rates[0].Unit != limit.Messages || c.Rates[1].Unit != limit.Bytes {
		t.Errorf("units %s and %s", c.Rates[0].Unit, c.Rates[1].Unit)
	}
}

// The words that tags name are those of the packages that they configure.
func TestWords(t *testing.T) {
	enum := map[string][]string{}
	for _, f := range keys.All(config.Default()) {
		enum[f.Path] = keys.Words(f.Tag)
	}
	var points []string
	for _, p := range dnsbl.Points() {
		points = append(points, string(p))
	}
	if d := cmp.Diff(points, enum["dnsbl[].apply"]); d != "" {
		t.Errorf("points (-dnsbl +config):\n%s", d)
	}
	points = nil
	for _, p := range list.Points() {
		points = append(points, string(p))
	}
	if d := cmp.Diff(points, enum["lists[].apply"]); d != "" {
		t.Errorf("points (-list +config):\n%s", d)
	}
	for _, k := range []string{"key", "unit"} {
		for _, w := range enum["rates[]."+k] {
			l := limit.Limit{Name: "x", Key: []limit.Key{limit.Client}, Count: 1, Per: time.Hour}
			if k == "key" {
				l.Key[0] = limit.Key(w)
			} else {
				l.Unit = limit.Unit(w)
			}
			if err := limit.Validate([]limit.Limit{l}); err != nil {
				t.Errorf("rates[].%s: %v", k, err)
			}
		}
	}
	wrong := limit.Limit{Name: "x", Key: []limit.Key{"?"}, Unit: "?", Count: 1, Per: time.Hour}
	told := limit.Validate([]limit.Limit{wrong}).Error()
	for _, k := range []string{"key", "unit"} {
		if all := strings.Join(enum["rates[]."+k], ", "); !strings.Contains(told, "of "+all+"\n") && !strings.HasSuffix(told, "of "+all) {
			t.Errorf("rates[].%s: config knows %s\n%s", k, all, told)
		}
	}
}

func TestExampleIsTheDefault(t *testing.T) {
	c, problems := config.Parse("", Example())
	problems = append(problems, c.Validate()...)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", report(problems))
	}
	if d := cmp.Diff(config.Default(), c, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}),
		cmpopts.IgnoreUnexported(config.Config{})); d != "" {
		t.Errorf("the example is not the default (-default +example):\n%s", d)
	}
}

// samples are lines whose "#" is not followed by exactly one blank.
var samples = regexp.MustCompile(`(?m)^( *)#(\S|  )`)

// They are good when the "#" is taken away.
func TestSamplesOfTheExample(t *testing.T) {
	c, problems := config.Parse("", samples.ReplaceAll(Example(), []byte("$1$2")))
	problems = append(problems, c.Validate()...)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", report(problems))
	}
	if len(c.Lists) != 2 || len(c.DNSBL) != 2 || len(c.Rates) != 2 || len(c.Rules) != 3 {
		t.Errorf("%d lists, %d zones, %d limits and %d rules, want 2, 2, 2 and 3", len(c.Lists), len(c.DNSBL), len(c.Rates), len(c.Rules))
	}
	rules, err := ruleset.Of(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := policy.Compile(rules); len(problems) > 0 {
		t.Errorf("sample rules:\n%s", report(problems))
	}
}

// The reference names the very words that the rule parser takes.
func TestReferenceOfRules(t *testing.T) {
	_, problems := rulefile.Parse("", []byte("rules: [{name: x, when: {spf.result: {zzzzzzzzzzzz: 1}}, do: zzzzzzzzzzzz}]"))
	if len(problems) != 2 {
		t.Fatalf("problems:\n%s", report(problems))
	}
	for i, table := range [][][]string{operators(), actions()} {
		_, list, _ := strings.Cut(problems[i].Hint, "it can be ")
		want := map[string]bool{}
		for _, w := range strings.Split(list, ", ") {
			want["`"+w+"`"] = true
		}
		got := map[string]bool{}
		for _, row := range table {
			got[row[0]] = true
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("words (-parser +reference):\n%s", d)
		}
	}
	reference := string(Reference())
	for _, f := range fact.Fields() {
		if !strings.Contains(reference, "| `"+f.Name+"` | ") {
			t.Errorf("field %s is not in the reference", f.Name)
		}
	}
}

// Cells with a bar would break the table.
func TestReferenceTables(t *testing.T) {
	bars := regexp.MustCompile(`\\\|`)
	columns := 0
	for line := range strings.Lines(string(Reference())) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(bars.ReplaceAllString(line, ""), "|")
		if columns != 0 && n != columns {
			t.Errorf("a row of %d instead of %d: %s", n-1, columns-1, line)
		}
		columns = n
	}
}

const referenceFile = "../../../../../deploy/docs/reference.md"

// The shipped manual is the one that this version prints.
func TestReferenceFile(t *testing.T) {
	if _, err := os.Stat(referenceFile); errors.Is(err, fs.ErrNotExist) && !golden.Updating() {
		t.Skip("not written yet: mailwicket config reference > deploy/docs/reference.md")
	}
	golden.Compare(t, referenceFile, string(Reference()))
}
