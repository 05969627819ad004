package manual

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/cmd/mailwicket/internal/golden"
	"mailwicket/filter/fact"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

const schemaFile = "../../../../../deploy/mailwicket.schema.json"

// The shipped schema is the one that this version prints.
func TestSchemaFile(t *testing.T) { golden.Compare(t, schemaFile, string(Schema())) }

// Every key is there with its manual.
func TestSchemaHasEveryKey(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	for _, f := range keys.All(config.Default()) {
		at := root
		for name := range strings.SplitSeq(f.Path, ".") {
			properties, _ := at["properties"].(map[string]any)
			at, _ = properties[strings.TrimSuffix(name, "[]")].(map[string]any)
			if strings.HasSuffix(name, "[]") {
				at, _ = at["items"].(map[string]any)
			}
		}
		if told, _ := at["description"].(string); !strings.HasPrefix(told, f.Doc()) {
			t.Errorf("%s: %q", f.Path, told)
		}
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mailwicket.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mailwicket.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// document reads YAML as editors do (YAML 1.2, core schema). It is not ok where
// that cannot be read at all.
func document(text []byte) (value any, ok bool) {
	var n yaml.Node
	if yaml.Unmarshal(text, &n) != nil {
		return nil, false
	}
	if len(n.Content) == 0 {
		return map[string]any{}, true
	}
	budget := 100_000
	return jsonOf(n.Content[0], &budget)
}

// jsonOf gives a node's value; not of aliases that hold themselves, or blow up.
func jsonOf(n *yaml.Node, budget *int) (any, bool) {
	if *budget--; *budget < 0 {
		return nil, false
	}
	switch n.Kind {
	case yaml.AliasNode:
		return jsonOf(n.Alias, budget)
	case yaml.SequenceNode:
		out := []any{}
		for _, x := range n.Content {
			v, ok := jsonOf(x, budget)
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, ok := jsonOf(n.Content[i+1], budget)
			if !ok {
				return nil, false
			}
			out[n.Content[i].Value] = v
		}
		return out, true
	}
	switch n.Tag {
	case "!!null":
		return nil, true
	case "!!bool":
		return n.Value == "true", true
	case "!!int", "!!float":
		var x float64
		if n.Decode(&x) == nil {
			b, err := json.Marshal(x)
			return json.Number(b), err == nil
		}
	}
	return n.Value, true
}

// What is shipped and what is good has the form that the schema tells.
func TestSchemaTakesGoodFiles(t *testing.T) {
	s := compiledSchema(t)
	texts := map[string][]byte{"the example": Example(), "the defaults": config.Default().Show(),
		"the samples of the example": samples.ReplaceAll(Example(), []byte("$1$2"))}
	for _, pattern := range []string{"../testdata/good/*.yaml", "../ruleset/testdata/*.yaml", "../../../../../deploy/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s", pattern)
		}
		for _, file := range files {
			if filepath.Base(file) == "compose.yaml" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts[file] = text
		}
	}
	for name, text := range texts {
		v, ok := document(text)
		if !ok {
			t.Errorf("%s is not read", name)
			continue
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a schema cannot see, by the bad files that have nothing else.
var unseen = map[string]string{
	"greylist-doubtful":       "keys that contradict each other",
	"greylist-window":         "keys that contradict each other",
	"greylist-window-default": "keys that contradict each other",
	"redis-both":              "keys that contradict each other",
	"redis-unused":            "keys that contradict each other",
	"redis-no-master":         "the inner form of a URL",
	"redis-one-word":          "the inner form of a URL",
	"redis-options":           "the inner form of a URL",
	"tags":                    "type tags",
	"twice":                   "keys given twice",
	"second-document":         "a second document",
}

// Bad files have no good form, but for those whose fault a schema cannot see.
func TestSchemaRefusesBadFiles(t *testing.T) {
	s := compiledSchema(t)
	files, err := filepath.Glob("../testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files")
	}
	seen := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, ok := document(text)
		refused := !ok || s.Validate(v) != nil
		if refused {
			seen++
		}
		if why := unseen[name]; refused == (why != "") {
			t.Errorf("%s: refused is %v, although the fault is %q", name, refused, why)
		}
	}
	t.Logf("%d of %d bad files are seen", seen, len(files))
	for name := range unseen {
		if _, err := os.Stat("../testdata/bad/" + name + ".yaml"); err != nil {
			t.Error(err)
		}
	}
}

// agree holds the schema to what the program says of some rules.
func agree(t *testing.T, s *jsonschema.Schema, rules string) {
	t.Helper()
	_, problems := rulefile.Parse("", []byte(rules))
	if len(problems) == 0 {
		parsed, _ := rulefile.Parse("", []byte(rules))
		_, problems = policy.Compile(parsed)
	}
	v, ok := document([]byte(rules))
	if !ok {
		t.Fatalf("%s is no YAML", rules)
	}
	if err := s.Validate(v); (err == nil) != (len(problems) == 0) {
		t.Errorf("%s\nthe schema says %.300v\nthe program %v", rules, err, problems)
	}
}

// The schema knows which comparisons go with which fields, and their values.
func TestSchemaOfConditions(t *testing.T) {
	s := compiledSchema(t)
	values := []string{"x", "[x]", "[]", "{}", "5", "10MiB", "240s", "true", "192.0.2.0/24", "known", "example.org"}
	tried := map[string]bool{}
	for _, f := range fact.Fields() {
		for _, w := range append(f.Words, values...) {
			if w == "" {
				w = `""`
			}
			agree(t, s, "rules: [{name: a, do: {tag: x}, when: {"+f.Name+": "+w+"}}]")
			agree(t, s, "rules: [{name: a, do: {tag: x}, when: {any: [{not: {"+f.Name+": {not: "+w+"}}}]}}]")
		}
		form := fmt.Sprint(f.Kind, len(f.Words) > 0)
		if tried[form] {
			continue
		}
		tried[form] = true
		for _, op := range operators() {
			for _, w := range values {
				if op[0] == "`prefix`" && w == "[]" || op[0] == "`not`" {
					continue
				}
				agree(t, s, "rules: [{name: a, do: {tag: x}, when: {"+f.Name+": {"+bare(op[0])+": "+w+"}}}]")
			}
		}
	}
}

func TestSchemaOfActions(t *testing.T) {
	s := compiledSchema(t)
	for _, row := range actions() {
		w := bare(row[0])
		agree(t, s, "rules: [{name: a, do: "+w+"}]")
		for _, v := range []string{"true", "false", "", "[]", "x", "5", "[a, b]", "{}", "{text: no}", "{code: 450}", "{code: 550}", "{code: 999}",
			"{enhanced: 4.7.1}", "{enhanced: 5.7.1, code: 550}", "{name: X-A, value: b}", "{name: X A, value: b}", "[{name: X-A}]"} {
			agree(t, s, "rules: [{name: a, when: {helo.name: x}, do: {"+w+": "+v+"}}]")
		}
	}
	for _, rule := range []string{"{name: a}", "{do: reject}", "{name: a, do: {}}", "{name: a, do: reject, when: {}}", "{name: a, do: reject, mode: on}",
		"{name: a, do: reject, stage: data}", "{name: a, do: reject, stage: mail, mode: \"off\", reason: because}", "{name: a, do: reject, whn: {}}",
		"{name: a, do: reject, when: {spff.result: pass}}", "{name: a, do: reject, when: {any: []}}", "{name: a, do: [reject]}", "[]", "a"} {
		agree(t, s, "rules: ["+rule+"]")
	}
}
