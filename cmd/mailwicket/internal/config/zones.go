package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
)

// Fill gives a zone what it does not say. links tells whether links are looked for at
// all.
func (z *Zone) Fill(links bool) {
	if z.Name == "" {
		z.Name = mail.CanonicalDomain(z.Zone)
	}
	if z.Type != dnsbl.Domain {
		return
	}
	if z.Ask == "" {
		z.Ask = dnsbl.Registered
	}
	if len(z.Apply) > 0 {
		return
	}
	for _, p := range dnsbl.Points() {
		if senseless(z.Do, p) == "" && (links || p != list.PointLinks) {
			z.Apply = append(z.Apply, p)
		}
	}
}

// config gives the zone without its key. The error is about its codes.
func (z Zone) config() (dnsbl.Config, error) {
	codes, err := dnsbl.ParseCodes(z.Codes)
	return dnsbl.Config{Zone: z.Zone, Name: z.Name, Type: z.Type, Apply: z.Apply, Codes: codes, Weight: z.Weight,
		Ask: z.Ask, Test: z.Test}, err
}

// Zones gives the DNS lists that are not off, of a configuration without
// problems, with the keys that stand in files or in the environment. The error
// tells every key that cannot be had or used.
func (c *Config) Zones(env func(string) string) ([]dnsbl.Config, error) {
	var out []dnsbl.Config
	var errs []error
	for i, z := range c.DNSBL {
		if z.Mode == "off" {
			continue
		}
		cfg, err := z.config()
		key, err2 := c.ZoneKey(i, env)
		cfg.Key = dnsbl.Secret(key)
		out = append(out, cfg)
		errs = append(errs, err, err2)
	}
	for _, p := range dnsbl.Problems(out) {
		errs = append(errs, fmt.Errorf("dnsbl zone %s: %s %s", out[p.Index].Name, p.Key, p.Message))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// ZoneKey gives the key of a DNS list: the environment's or the file's; "" without
// one.
func (c *Config) ZoneKey(i int, env func(string) string) (Secret, error) {
	z := c.DNSBL[i]
	if s := lookup(env, z.keyVariable()); s != "" {
		return Secret(s), nil
	}
	if z.KeyFile == "" {
		return "", nil
	}
	return c.secret(index("dnsbl", i)+".key_file", z.KeyFile)
}

// keyVariable is the environment's name for the key of a zone.
func (z Zone) keyVariable() string {
	return "MAILWICKET_DNSBL_KEY_" + strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(z.Name))
}

func (v *validator) zones() {
	first := map[string]string{}
	var cfgs []dnsbl.Config
	for i, z := range v.c.DNSBL {
		path := index("dnsbl", i)
		v.zoneName(path, z, first)
		v.codes(path, z)
		v.zonePoints(path, z)
		cfg, _ := z.config()
		cfgs = append(cfgs, cfg)
	}
	for _, p := range dnsbl.Problems(cfgs) {
		path := index("dnsbl", p.Index)
		z := v.c.DNSBL[p.Index]
		switch {
		case p.Key == "name", p.Key == "apply" && z.Type == dnsbl.Domain: // told already
		case p.Key == "codes" && len(cfgs[p.Index].Codes) < len(z.Codes): // has a problem already
		default:
			v.problem(path+"."+p.Key, p.Message, p.Hint, path+".type", path+".zone")
		}
	}
}

// zoneName checks a zone's name. It stands in the names of rules, which are
// compared without regard to case.
func (v *validator) zoneName(path string, z Zone, first map[string]string) {
	own := z.Name != mail.CanonicalDomain(z.Zone)
	switch {
	case own && !validListName(strings.ReplaceAll(z.Name, ".", "-")):
		v.problem(path+".name", fmt.Sprintf("want a name of a-z, 0-9, hyphens and dots, got %q", z.Name), "for example zen")
	case first[z.Name] != "" && z.Name != "":
		v.problem(path+".name", fmt.Sprintf("%q is the name of %s too", z.Name, first[z.Name]), "give each zone a name of its own",
			path+".zone")
	default:
		first[z.Name] = path
	}
}

func (v *validator) codes(path string, z Zone) {
	for _, s := range slices.Sorted(maps.Keys(z.Codes)) {
		if _, err := dnsbl.ParseCode(s); err != nil {
			v.problem(path+".codes["+s+"]", strings.TrimPrefix(err.Error(), fmt.Sprintf("code %q: ", s)), "", path+".codes")
		}
	}
}

// zonePoints checks where a domain zone is asked.
func (v *validator) zonePoints(path string, z Zone) {
	if z.Type != dnsbl.Domain {
		return
	}
	fit := slices.DeleteFunc(dnsbl.Points(), func(p list.Point) bool { return senseless(z.Do, p) != "" })
	for i, p := range z.Apply {
		sub := index(path+".apply", i)
		switch {
		case slices.Contains(z.Apply[:i], p):
			v.problem(sub, fmt.Sprintf("%q is given twice", p), "")
		case senseless(z.Do, p) != "":
			v.problem(sub, senseless(z.Do, p), "these fit: "+strings.Trim(fmt.Sprint(fit), "[]"), path+".do")
		case p == list.PointLinks && !v.c.Content.Links:
			v.problem(sub, noLinks, noLinksHint, "content.links")
		}
	}
}

// reputation checks that own addresses can be looked up.
func (v *validator) reputation() {
	own := v.c.Reputation.OwnIPs
	for i, a := range own {
		path := index("reputation.own_ips", i)
		switch {
		case slices.Contains(own[:i], a):
			v.problem(path, fmt.Sprintf("%s is given twice", a), "")
		case !dnsbl.Askable(a):
			v.problem(path, fmt.Sprintf("%s is no public address: no zone lists it", a), "name the address that other servers see")
		}
	}
	usable := func(z Zone) bool { return z.Mode != "off" && z.Type != dnsbl.Domain }
	if len(own) > 0 && !slices.ContainsFunc(v.c.DNSBL, usable) {
		v.problem("reputation.own_ips", "there is no zone of type ip to look them up in", "name one in dnsbl", "dnsbl")
	}
}
