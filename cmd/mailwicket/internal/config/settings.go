package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// Settings gives a fingerprint of each setting that facts hang on: NAME=PRINT, in
// a fixed order. Records carry them, so that who judges again can tell what was
// otherwise. What is only decided over facts, such as a list's do, does not count.
func (c *Config) Settings() string {
	var words []string
	add := func(name string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(err.Error()) // no type of ours does that
		}
		sum := sha256.Sum256(text)
		words = append(words, fmt.Sprintf("%s=%s", name, hex.EncodeToString(sum[:4])))
	}
	add("trusted", c.Trusted)
	add("dkim", c.DKIM)
	add("dmarc", c.DMARC)
	add("arc", c.ARC)
	add("content", c.Content)
	g := c.Greylist
	g.Scope, g.SkipRecipients, g.SkipSenders = "", nil, nil // who is asked about is decided
	add("greylist", g)
	for _, l := range c.Lists {
		if l.Mode == "off" {
			continue
		}
		l.Do, l.Mode = "", ""
		l.Every, l.MaxBytes, l.Guard, l.Canaries = 0, 0, "", nil // how it is fetched
		add("list."+l.Name, l)
	}
	for _, z := range c.DNSBL {
		if z.Mode == "off" {
			continue
		}
		z.Do, z.Mode, z.KeyFile = "", "", ""
		add("dnsbl."+z.Name, z)
	}
	for _, r := range c.Rates {
		if r.Mode == "off" {
			continue
		}
		r.Do, r.Mode = "", ""
		add("rate."+r.Name, r)
	}
	return strings.Join(words, " ")
}
