package policy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"mailwicket/filter/fact"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

var update = flag.Bool("update", false, "write what the stories give into their files")

// A story is a policy, the facts of one message, and what is decided and why.
// Several facts are several moments of it: facts-1.json, want-1.json, ...
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/story/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { story(t, file) })
	}
}

func story(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]*txtar.File{}
	for i := range ar.Files {
		parts[ar.Files[i].Name] = &ar.Files[i]
	}
	rules, problems := rulefile.Parse("rules.yaml", parts["rules.yaml"].Data)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p := compile(t, rules...)
	asked := 0
	for i := range ar.Files {
		moment, ok := strings.CutPrefix(ar.Files[i].Name, "facts")
		if !ok {
			continue
		}
		asked++
		got := decide(t, p, ar.Files[i].Data)
		want := parts["want"+moment]
		if want == nil {
			t.Fatalf("no want%s", moment)
		}
		if *update {
			want.Data = got
			continue
		}
		if diff := cmp.Diff(string(want.Data), string(got)); diff != "" {
			t.Errorf("facts%s (-want +got)\n%s", moment, diff)
		}
	}
	if asked == 0 {
		t.Error("no facts")
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// decide reads facts strictly and writes the decision.
func decide(t *testing.T, p *policy.Policy, facts []byte) []byte {
	t.Helper()
	var s fact.Set
	d := json.NewDecoder(bytes.NewReader(facts))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p.Decide(&s)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
