package keys

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// Duration is a time.Duration that is written 240s, 5m, 48h, 36d or 2w.
type Duration time.Duration

// Std gives the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of bytes that is written 512KiB, 10MiB or plainly.
type Size int64

// Words are the only texts that a key takes; none where it takes any.
func Words(tag reflect.StructTag) []string {
	if e := tag.Get("enum"); e != "" {
		return strings.Split(e, ",")
	}
	return nil
}

// TypeName is how errors and the manual call a key's type.
func TypeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "a duration"
	case reflect.TypeFor[Size]():
		return "a size"
	case reflect.TypeFor[netip.Prefix]():
		return "a network"
	case reflect.TypeFor[netip.Addr]():
		return "an IP address"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Map:
		return "a mapping of texts"
	}
	return "a text"
}

// wanted says what a key takes, for an error.
func wanted(t reflect.Type, tag reflect.StructTag) string {
	if w := Words(tag); len(w) > 0 {
		return "one of " + strings.Join(w, ", ")
	}
	if r := Limits(t, tag); r != "" {
		return TypeName(t) + " from " + r
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return "a duration such as 240s"
	case reflect.TypeFor[Size]():
		return "a size such as 10MiB"
	case reflect.TypeFor[netip.Prefix]():
		return "a network such as 192.0.2.0/24"
	}
	return TypeName(t)
}

// Limits is the range of a key, such as "1s to 24h"; "" where it has none.
func Limits(t reflect.Type, tag reflect.StructTag) string {
	lo, hi := tag.Get("min"), tag.Get("max")
	if t.Kind() == reflect.Slice || lo == "" || hi == "" {
		return ""
	}
	if t == reflect.TypeFor[Size]() {
		a, _ := ParseSize(lo)
		b, _ := ParseSize(hi)
		return a.String() + " to " + b.String()
	}
	return lo + " to " + hi
}

// set reads a scalar into v; a hint tells how it is meant.
func set(v reflect.Value, n *yaml.Node, tag reflect.StructTag) (hint string, ok bool) {
	switch v.Type() {
	case reflect.TypeFor[netip.Prefix]():
		p, hint, ok := parsePrefix(n.Value)
		if ok {
			v.Set(reflect.ValueOf(p))
		}
		return hint, ok
	case reflect.TypeFor[netip.Addr]():
		a, err := netip.ParseAddr(n.Value)
		if err != nil || a.Zone() != "" {
			return "", false
		}
		v.Set(reflect.ValueOf(a.Unmap()))
		return "", true
	case reflect.TypeFor[Duration]():
		d, err := rulefile.ParseDuration(n.Value)
		if err != nil {
			return "write 240s, 5m, 48h or 36d", false
		}
		return setNumber(v, int64(d), tag)
	case reflect.TypeFor[Size]():
		s, err := ParseSize(n.Value)
		if err != nil {
			return err.Error(), false
		}
		return setNumber(v, int64(s), tag)
	}
	switch v.Kind() {
	case reflect.Bool:
		return setBool(v, n)
	case reflect.Int:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if err != nil || n.Tag == "!!str" {
			return "write digits only, without quotes", false
		}
		return setNumber(v, i, tag)
	case reflect.Float64:
		return setFloat(v, n, tag)
	}
	return setText(v, n.Value, tag)
}

func setBool(v reflect.Value, n *yaml.Node) (hint string, ok bool) {
	switch {
	case n.Value == "true" || n.Value == "false":
		if n.Tag == "!!str" {
			return "leave the quotes out", false
		}
		v.SetBool(n.Value == "true")
		return "", true
	case strings.EqualFold(n.Value, "yes") || strings.EqualFold(n.Value, "on"):
		return "write true", false
	case strings.EqualFold(n.Value, "no") || strings.EqualFold(n.Value, "off"):
		return "write false", false
	}
	return "", false
}

func setNumber(v reflect.Value, x int64, tag reflect.StructTag) (hint string, ok bool) {
	if lo := tag.Get("min"); lo != "" && x < Bound(v.Type(), lo) {
		return "", false
	}
	if hi := tag.Get("max"); hi != "" && x > Bound(v.Type(), hi) {
		return "", false
	}
	v.SetInt(x)
	return "", true
}

// setFloat reads a number with its range: without one, NaN would do.
func setFloat(v reflect.Value, n *yaml.Node, tag reflect.StructTag) (hint string, ok bool) {
	x, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || n.Tag == "!!str" {
		return "write a number such as 1.5, without quotes", false
	}
	lo, _ := strconv.ParseFloat(tag.Get("min"), 64)
	hi, _ := strconv.ParseFloat(tag.Get("max"), 64)
	if !(lo <= x && x <= hi) {
		return "", false
	}
	v.SetFloat(x)
	return "", true
}

// Bound reads a tag's min or max.
func Bound(t reflect.Type, s string) int64 {
	if t == reflect.TypeFor[Duration]() {
		d, _ := rulefile.ParseDuration(s)
		return int64(d)
	}
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func setText(v reflect.Value, s string, tag reflect.StructTag) (hint string, ok bool) {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "control characters and line breaks cannot be part of it", false
	}
	all := Words(tag)
	for _, w := range all {
		if w == s {
			v.SetString(s)
			return "", true
		}
	}
	if len(all) == 0 {
		v.SetString(s)
		return "", true
	}
	if slices.Contains(strings.Split(tag.Get("later"), ","), s) && s != "" {
		return fmt.Sprintf("%q is not supported by this version", s), false
	}
	if near := policy.Nearest(s, all); near != "" {
		return fmt.Sprintf("did you mean %q?", near), false
	}
	return "", false
}

// parsePrefix reads a network, or an address as the network of itself. Bits
// beyond the length leave open what is meant.
func parsePrefix(s string) (p netip.Prefix, hint string, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), "", true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, "", false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return p, fmt.Sprintf("write %s for the network, or %s for the address", p.Masked(), p.Addr()), false
	}
	return p, "", true
}

// units of sizes, largest first.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

var errSize = errors.New("write 512KiB, 10MiB, 2GiB, or bytes")

// ParseSize reads "10MiB", or a number of bytes.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, "BKMGTikmgtb ")
	unit := strings.TrimSpace(s[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, errSize
	}
	if unit == "" {
		return Size(n), nil
	}
	for _, u := range units {
		if unit != u.name {
			continue
		}
		if n > math.MaxInt64/u.bytes {
			return 0, errSize
		}
		return Size(n * u.bytes), nil
	}
	if i := strings.IndexByte("KMGT", strings.ToUpper(unit)[0]); i >= 0 {
		return 0, fmt.Errorf("did you mean %s%ciB?", digits, "KMGT"[i])
	}
	return 0, errSize
}

// String gives the shortest form without a fraction.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// String gives the unit that people would take: 240s, 5m, 48h, 36d.
func (d Duration) String() string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		name        string
		size, least time.Duration
	}{{"d", day, 3 * day}, {"h", time.Hour, time.Hour}, {"m", time.Minute, 5 * time.Minute}, {"s", time.Second, 0}} {
		if x := time.Duration(d); x >= u.least && x%u.size == 0 {
			return strconv.FormatInt(int64(x/u.size), 10) + u.name
		}
	}
	return time.Duration(d).String()
}
