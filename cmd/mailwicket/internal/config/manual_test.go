package config

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/fact"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// Every key has a doc and stands in both manuals.
func TestEveryKeyIsDocumented(t *testing.T) {
	example, reference := string(Example()), string(Reference())
	for _, f := range allFields() {
		if doc := f.tag.Get("doc"); !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: the doc %q is no sentence", f.path, doc)
		}
		if !strings.Contains(reference, "`"+f.path+"`") {
			t.Errorf("%s is not in the reference", f.path)
		}
		if !regexp.MustCompile(`(?m)^ *(#- |#  )?` + f.name + `:`).MatchString(example) {
			t.Errorf("%s is not in the example", f.path)
		}
	}
}

// Tags that the decoder reads must be readable themselves.
func TestTags(t *testing.T) {
	for _, f := range allFields() {
		lo, hi := f.tag.Get("min"), f.tag.Get("max")
		if (lo == "") != (hi == "") {
			t.Errorf("%s has half a range", f.path)
		}
		if lo != "" && bound(f.value.Type(), lo) >= bound(f.value.Type(), hi) {
			t.Errorf("%s: range %s to %s", f.path, lo, hi)
		}
		if f.value.CanInt() && lo == "" {
			t.Errorf("%s has no range", f.path)
		}
	}
}

func TestExampleIsTheDefault(t *testing.T) {
	c, problems := Parse("", Example())
	problems = append(problems, c.Validate()...)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", report(problems))
	}
	if d := diff(Default(), c); d != "" {
		t.Errorf("the example is not the default (-default +example):\n%s", d)
	}
}

// Samples are lines whose "#" is not followed by exactly one blank.
func TestSamplesOfTheExample(t *testing.T) {
	sample := regexp.MustCompile(`(?m)^( *)#(\S|  )`)
	c, problems := Parse("", sample.ReplaceAll(Example(), []byte("$1$2")))
	problems = append(problems, c.Validate()...)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", report(problems))
	}
	if len(c.Lists) != 1 || len(c.Rules) != 3 {
		t.Errorf("%d lists and %d rules, want 1 and 3", len(c.Lists), len(c.Rules))
	}
	if _, problems := policy.Compile(c.Rules); len(problems) > 0 {
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

const referenceFile = "../../../../deploy/docs/reference.md"

// The shipped manual is the one that this version prints.
func TestReferenceFile(t *testing.T) {
	if _, err := os.Stat(referenceFile); errors.Is(err, fs.ErrNotExist) && !*update {
		t.Skip("not written yet: mailwicket config reference > deploy/docs/reference.md")
	}
	golden(t, referenceFile, string(Reference()))
}
