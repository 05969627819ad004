package ruleset

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/golden"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// Each knob is the rules that stand beside it, those of the profile left out,
// with the stage that the policy finds for them.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			rules := compiled(t, file)
			rules = slices.DeleteFunc(rules, func(r policy.Rule) bool { return strings.HasPrefix(r.At.File, "profile ") })
			printed, err := rulefile.Print(rules)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			b.Write(printed)
			for _, r := range rules {
				fmt.Fprintf(&b, "# %s: %s\n", r.Stage, r.Name)
			}
			golden.Compare(t, strings.TrimSuffix(file, ".yaml")+".rules", b.String())
		})
	}
}

// compiled gives the effective rules of a good file.
func compiled(t *testing.T, file string) []policy.Rule {
	t.Helper()
	c, problems := config.Load(file, nil)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	rules, err := Of(c)
	if err != nil {
		t.Fatal(err)
	}
	p, problems := policy.Compile(rules)
	if len(problems) > 0 {
		t.Fatalf("rules: %v", problems)
	}
	return p.Rules()
}

// Allow lists and the user's own rules may lift everything else; the profile is
// asked before anybody is kept waiting.
func TestRuleOrder(t *testing.T) {
	var order []string
	for _, r := range compiled(t, "testdata/order.yaml") {
		name := r.Name
		if strings.HasPrefix(r.At.File, "profile ") {
			name = "profile"
		}
		if len(order) == 0 || order[len(order)-1] != name {
			order = append(order, name)
		}
	}
	const want = "good-client mine rate-per-user bad-client dnsbl-zen.example.org profile greylist greylist-null-sender"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Under the profile observe nothing acts, and what is off stays off.
func TestObserveActsNever(t *testing.T) {
	for _, r := range compiled(t, "testdata/observe.yaml") {
		if r.Mode == policy.Enforce {
			t.Errorf("rule %s would act", r.Name)
		}
		if r.Name == "off-client" && r.Mode != policy.Off {
			t.Errorf("rule %s is %s", r.Name, r.Mode)
		}
	}
}
