package rulefile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/fact"
)

func (p *parser) text(n *yaml.Node, path string) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		p.problem(n, path, "want a text, got "+kind(n), "")
		return ""
	}
	return n.Value
}

// texts reads one text or a list of them.
func (p *parser) texts(n *yaml.Node, path string) []string {
	if n.Kind != yaml.SequenceNode {
		return []string{p.text(n, path)}
	}
	if len(n.Content) == 0 {
		p.problem(n, path, "the list is empty", "name at least one value")
	}
	var out []string
	for _, x := range items(n) {
		out = append(out, p.text(x, path))
	}
	return out
}

func (p *parser) yes(n *yaml.Node, path string) bool {
	b, err := strconv.ParseBool(n.Value)
	if err != nil || n.Tag != "!!bool" {
		p.problem(n, path, "want true or false, got "+kind(n), "")
	}
	return b
}

// number reads a number, a size or a duration, as the field's kind wants.
func (p *parser) number(n *yaml.Node, k fact.Kind, path string) float64 {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		p.problem(n, path, "want a "+k.String()+", got "+kind(n), "")
		return 0
	}
	if k == fact.Duration {
		d, err := ParseDuration(n.Value)
		if err != nil {
			p.problem(n, path, err.Error(), "")
		}
		return d.Seconds()
	}
	f, ok := parseNumber(n.Value)
	if !ok {
		p.problem(n, path, "want a number, got "+kind(n), "sizes are written 10MiB")
	}
	return f
}

// parseNumber reads "12", "-1.5" and the sizes "64KiB", "10MiB", "1GiB".
func parseNumber(s string) (float64, bool) {
	factor := 1.0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if num, ok := strings.CutSuffix(s, unit); ok {
			s, factor = num, float64(int64(1)<<(10*(i+1)))
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	f *= factor
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

const day = 24 * time.Hour

// ParseDuration reads "240s", "90m", "48h", "36d", "2w".
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration; write 240s, 5m, 48h or 36d", s)
	unit := time.Duration(0)
	num, ok := strings.CutSuffix(s, "d")
	if ok {
		unit = day
	} else if num, ok = strings.CutSuffix(s, "w"); ok {
		unit = 7 * day
	}
	if unit == 0 {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, bad
		}
		return d, nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || !(f >= 0 && f*float64(unit) < 1<<62) {
		return 0, bad
	}
	return time.Duration(f * float64(unit)), nil
}

// printDuration writes seconds so that ParseDuration reads the same back.
func printDuration(seconds float64) string {
	if seconds != math.Trunc(seconds) || seconds == 0 {
		return strconv.FormatFloat(seconds, 'f', -1, 64) + "s"
	}
	for _, u := range []struct {
		seconds float64
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}} {
		if math.Mod(seconds, u.seconds) == 0 {
			return strconv.FormatFloat(seconds/u.seconds, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(seconds, 'f', -1, 64) + "s"
}
