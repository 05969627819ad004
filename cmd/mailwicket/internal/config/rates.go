package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/filter/limit"
)

// Fill gives a limit the unit that its rate implies.
func (r *Rate) Fill() {
	if r.Unit != "" {
		return
	}
	if r.Unit = limit.ImpliedUnit(r.Limit); r.Unit == "" {
		r.Unit = limit.Messages
	}
}

// limit gives what is counted. The error is about the key that it names.
func (r Rate) limit() (l limit.Limit, key string, err error) {
	count, per, err := limit.ParseRate(r.Limit)
	if err != nil {
		return l, "limit", err
	}
	burst, err := keys.ParseSize(r.Burst)
	switch {
	case err != nil:
		return l, "burst", errors.New("want a number such as 50, or a size such as 1MiB")
	case limit.ImpliedUnit(r.Limit) == limit.Bytes && r.Unit != limit.Bytes:
		return l, "unit", fmt.Errorf("%s do not go with a limit of %s", r.Unit, r.Limit)
	case strings.Trim(r.Burst, "0123456789") != "" && r.Unit != limit.Bytes:
		return l, "burst", fmt.Errorf("a size does not go with a limit of %s", r.Unit)
	}
	return limit.Limit{Name: r.Name, Key: r.Key, Count: count, Per: per, Burst: int64(burst), Unit: r.Unit}, "", nil
}

// Limits gives the limits that are not off, of a configuration without problems.
func (c *Config) Limits() []limit.Limit {
	var out []limit.Limit
	for _, r := range c.Rates {
		if l, _, err := r.limit(); err == nil && r.Mode != "off" {
			out = append(out, l)
		}
	}
	return out
}

func (v *validator) rates() {
	first := map[string]string{}
	for i, r := range v.c.Rates {
		path := index("rates", i)
		v.name(path, r.Name, "limit", first)
		if r.Do == "quarantine" && r.Unit != limit.Bytes {
			v.problem(path+".do", "quarantine is possible for bytes only: other limits are about one recipient",
				"use tempfail, reject or tag", path+".unit", path+".limit")
		}
		l, key, err := r.limit()
		if err != nil {
			v.problem(path+"."+key, err.Error(), "", path+".limit", path+".unit")
			l = limit.Limit{Name: r.Name, Key: r.Key, Count: 1, Per: time.Hour} // for the rest of it
		}
		v.limit(path, l)
	}
}

// limit tells what package limit finds wrong: lines of the form "rates[0].key:
// message".
func (v *validator) limit(path string, l limit.Limit) {
	joined, ok := limit.Validate([]limit.Limit{l}).(interface{ Unwrap() []error })
	if !ok {
		return
	}
	var about []string
	for i := range l.Key {
		about = append(about, index(path+".key", i))
	}
	for _, err := range joined.Unwrap() {
		key, message, _ := strings.Cut(strings.TrimPrefix(err.Error(), "rates[0]."), ": ")
		if key != "name" { // checked already
			v.problem(path+"."+key, message, "", about...)
		}
	}
}
