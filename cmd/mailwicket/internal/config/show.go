package config

import (
	"fmt"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/policy/rulefile"
)

// Show gives the effective configuration as YAML that Parse reads: every key,
// defaults too. Secrets are hidden.
func (c *Config) Show() []byte {
	shown := c.hidden()
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range keys.Of(reflect.ValueOf(shown).Elem()) {
		if f.Name != "rules" {
			root.Content = append(root.Content, keys.Text(f.Name), keys.Encode(f.Value))
		}
	}
	out := keys.Dump(root)
	if len(c.Rules) == 0 {
		return append(out, "rules: []\n"...)
	}
	rules, err := rulefile.Print(c.Rules)
	if err != nil {
		return fmt.Appendf(out, "# rules: %q\n", err.Error())
	}
	return append(out, rules...)
}

// hidden gives a copy without the secrets that URLs may hold.
func (c *Config) hidden() *Config {
	shown := *c
	shown.Redis.URL = keys.HideURL(c.Redis.URL)
	shown.Lists = slices.Clone(c.Lists)
	for i := range shown.Lists {
		shown.Lists[i].URL = hideFeed(shown.Lists[i].URL)
	}
	return &shown
}
