// Package profile holds the built-in rules as files that a user can print
// (`mailwicket config rules`), read and copy.
package profile

import (
	"embed"
	"fmt"

	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

//go:embed standard.yaml strict.yaml
var files embed.FS

// Names lists the profiles, the most careful first.
func Names() []string { return []string{"observe", "standard", "strict"} }

// Rules gives a profile's rules. observe has those of standard, none of which
// acts; see Observe.
func Rules(name string) ([]policy.Rule, error) {
	file := name
	if name == "observe" {
		file = "standard"
	}
	text, err := files.ReadFile(file + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("unknown profile %q", name)
	}
	rules, problems := rulefile.Parse("profile "+file, text)
	if len(problems) > 0 {
		return nil, fmt.Errorf("built-in rules: %s", problems[0])
	}
	if name == "observe" {
		Observe(rules)
	}
	return rules, nil
}

// Observe takes every rule's power to act: what is off stays off.
func Observe(rules []policy.Rule) {
	for i := range rules {
		if rules[i].Mode == policy.Enforce {
			rules[i].Mode = policy.Observe
		}
	}
}
