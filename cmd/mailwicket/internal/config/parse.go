package config

import (
	"reflect"
	"slices"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/policy"
)

// Parse reads a configuration over the defaults and gives every problem of its
// form: syntax, unknown keys, wrong types, values out of range. With problems
// the configuration holds defaults in their places, and is only good for
// finding more of them (Validate).
func Parse(name string, text []byte) (*Config, []policy.Problem) {
	c := Default()
	c.File = name
	d := keys.Decode(name, text, c, later)
	c.at, c.broken = d.At, d.Broken
	for i := range c.Lists {
		c.Lists[i].Fill(c.Content.Links)
	}
	for i := range c.DNSBL {
		c.DNSBL[i].Fill(c.Content.Links)
	}
	for i := range c.Rates {
		c.Rates[i].Fill()
	}
	return c, d.Problems
}

// Later names the keys that a later version will know. They may stand in a file
// without a value.
func Later() []string {
	return []string{"content.attachments", "content.clamd", "tls", "mta_log", "iprev", "trusted.relays", "dmarc.reports"}
}

func later(path string) bool { return slices.Contains(Later(), path) }

// RestartKeys names the keys that differ and that only a restart can change.
func RestartKeys(old, new *Config) []string {
	a, b := keys.All(old), keys.All(new)
	var out []string
	for i := range a {
		if a[i].Tag.Get("restart") != "" && !reflect.DeepEqual(a[i].Value.Interface(), b[i].Value.Interface()) {
			out = append(out, a[i].Path)
		}
	}
	return out
}
