package policy_test

import (
	"strings"
	"testing"

	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

func TestLostTags(t *testing.T) {
	const left = "- {name: leaves, when: {spf.result: fail}, do: {tag: [strict, Other]}}\n"
	for when, want := range map[string]string{
		"tags: strict":                           "",
		"tags: [strict, other]":                  "",
		"tags: STRICT":                           "",
		"tags: {prefix: stritc}":                 "",
		"tags: {empty: false}":                   "",
		"header.subject: stritc":                 "",
		"tags: stritc":                           `m:2:36: rule r: no rule leaves the tag "stritc" (did you mean "strict"?)`,
		"tags: [strict, wholly-else]":            `m:2:36: rule r: no rule leaves the tag "wholly-else" (a rule before it must have do: {tag: wholly-else})`,
		"tags: {not: stritc}":                    `m:2:36: rule r: no rule leaves the tag "stritc" (did you mean "strict"?)`,
		"not: {any: [{tags: othr}]}":             `m:2:49: rule r: no rule leaves the tag "othr" (did you mean "other"?)`,
		"all: [{tags: a-b}, {spf.result: pass}]": `m:2:43: rule r: no rule leaves the tag "a-b" (a rule before it must have do: {tag: a-b})`,
	} {
		rules, problems := rulefile.Parse("m", []byte("rules:\n- {name: r, stage: message, when: {"+when+"}, do: reject}\n"+left))
		if len(problems) > 0 {
			t.Fatal(when, problems)
		}
		var got []string
		for _, p := range policy.LostTags(rules) {
			got = append(got, p.String())
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("%s\n got %s\nwant %s", when, s, want)
		}
	}
}
