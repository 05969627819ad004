package profile

import (
	"testing"

	"mailwicket/policy"
)

func TestProfilesCompile(t *testing.T) {
	for _, name := range Names() {
		rules, err := Rules(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := policy.Compile(rules); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		for _, r := range rules {
			if name == "observe" && r.Mode == policy.Enforce {
				t.Errorf("observe: rule %s would act", r.Name)
			}
			if r.Do.Verdict != policy.Continue && r.Reason == "" {
				t.Errorf("%s: rule %s gives no reason", name, r.Name)
			}
		}
	}
	if _, err := Rules("harsh"); err == nil {
		t.Error("an unknown profile was found")
	}
}
