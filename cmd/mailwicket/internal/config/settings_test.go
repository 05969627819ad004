package config

import (
	"slices"
	"strings"
	"testing"
)

const someSettings = `
lists: [{name: harm, type: domain, file: harm.txt, do: reject}]
dnsbl: [{zone: zen.example, type: ip, codes: {127.0.0.2: listed}}]
rates: [{name: few, key: [client], limit: 5/1h}]
`

// TestSettings: a setting that facts hang on has another fingerprint when it
// changes, and nothing else has.
func TestSettings(t *testing.T) {
	prints := func(text string) []string {
		t.Helper()
		c, problems := Parse("m.yaml", []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return strings.Fields(c.Settings())
	}
	before := prints(someSettings)
	if again := prints(someSettings); !slices.Equal(before, again) {
		t.Errorf("%q, then %q", before, again)
	}
	for change, want := range map[string]string{
		someSettings + "trusted: {networks: []}\n":                                                        "trusted",
		someSettings + "dkim: {max_signatures: 3}\n":                                                      "dkim",
		someSettings + "dmarc: {org_domain: psl}\n":                                                       "dmarc",
		someSettings + "arc: {trusted_sealers: [lists.example]}\n":                                        "arc",
		someSettings + "content: {links: false}\n":                                                        "content list.harm", // which then applies elsewhere
		someSettings + "greylist: {delay: 1h}\n":                                                          "greylist",
		someSettings + "greylist: {scope: all, skip_senders: [a.example]}":                                "",
		strings.Replace(someSettings, "harm.txt", "other.txt", 1):                                         "list.harm",
		strings.Replace(someSettings, "file: harm.txt", "url: \"https://lists.example/a\", every: 2h", 1): "list.harm",
		strings.Replace(someSettings, "do: reject", "do: tag", 1):                                         "",
		strings.Replace(someSettings, "name: harm", "name: evil", 1):                                      "list.evil",
		strings.Replace(someSettings, "127.0.0.2", "127.0.0.3", 1):                                        "dnsbl.zen.example",
		strings.Replace(someSettings, "5/1h", "6/1h", 1):                                                  "rate.few",
		someSettings + "profile: strict\nlog: {level: debug}\n":                                           "",
	} {
		var changed []string
		for _, p := range prints(change) {
			if !slices.Contains(before, p) {
				name, _, _ := strings.Cut(p, "=")
				changed = append(changed, name)
			}
		}
		if got := strings.Join(changed, " "); got != want {
			t.Errorf("%s\nchanges %q, want %q", change, got, want)
		}
	}
}
