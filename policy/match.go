package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// test is a compiled Match. Only "state" can ask about a fact that is not known.
type test func(fact.Value) Truth

// match compiles a comparison; what is wrong with it becomes a problem.
func (c *compiler) match(m Match, f fact.Field, at Position, path string) test {
	if m.Not != nil {
		inner := c.match(*m.Not, f, at, path)
		return func(v fact.Value) Truth { return not(inner(v)) }
	}
	if len(m.All) > 0 {
		var all []test
		for _, x := range m.All {
			all = append(all, c.match(x, f, at, path))
		}
		return func(v fact.Value) Truth {
			worst := True
			for _, t := range all {
				worst = min(worst, t(v))
			}
			return worst
		}
	}
	if !fits(m.Op, f.Kind) {
		c.problem(at, path, fmt.Sprintf("%q does not apply to %s, whose kind is %s", m.Op, f.Name, f.Kind), operatorsFor(f.Kind))
		return nil
	}
	if m.Op == State {
		return c.state(m, at, path)
	}
	t := c.known(m, f, at, path)
	return func(v fact.Value) Truth {
		if v.State != fact.Known {
			return Unknown
		}
		return t(v)
	}
}

func (c *compiler) state(m Match, at Position, path string) test {
	var want []fact.State
	for _, w := range m.Text {
		s, ok := fact.ParseState(strings.ToLower(w))
		if !ok {
			c.problem(at, path, fmt.Sprintf("unknown state %q", w), "states are absent, known, skipped, failed")
		}
		want = append(want, s)
	}
	return func(v fact.Value) Truth { return truth(slices.Contains(want, v.State)) }
}

// known compiles a comparison with a value that is known.
func (c *compiler) known(m Match, f fact.Field, at Position, path string) test {
	switch m.Op {
	case Less:
		return func(v fact.Value) Truth { return truth(v.Num < m.Num) }
	case AtMost:
		return func(v fact.Value) Truth { return truth(v.Num <= m.Num) }
	case Greater:
		return func(v fact.Value) Truth { return truth(v.Num > m.Num) }
	case AtLeast:
		return func(v fact.Value) Truth { return truth(v.Num >= m.Num) }
	case Is:
		return func(v fact.Value) Truth { return truth(v.Bool == m.Bool) }
	case Empty:
		return func(v fact.Value) Truth {
			if isEmpty(v.Text) && len(v.Open) > 0 {
				return Unknown
			}
			return truth(isEmpty(v.Text) == m.Bool)
		}
	case In:
		nets := c.networks(m, f, at, path)
		return func(v fact.Value) Truth { return truth(inAny(nets, v.Addr)) }
	case Equals:
		if f.Kind == fact.Number || f.Kind == fact.Duration {
			return func(v fact.Value) Truth { return truth(v.Num == m.Num) }
		}
	}
	return anyOf(c.text(m, f, at, path), slices.Contains(f.Words, tempError))
}

// tempError is the word for a check that found no answer. It is known as a word,
// but it is neither a pass nor a fail: "not: pass" must not match it.
const tempError = "temperror"

// anyOf matches when any value does.
func anyOf(one func(string) bool, temp bool) test {
	return func(v fact.Value) Truth {
		worst := False
		for _, s := range v.Text {
			if one(s) {
				return True
			}
			if temp && s == tempError {
				worst = Unknown
			}
		}
		if slices.ContainsFunc(v.Open, one) {
			return Unknown
		}
		return worst
	}
}

// text compiles the comparison with one text.
func (c *compiler) text(m Match, f fact.Field, at Position, path string) func(string) bool {
	if len(m.Text) == 0 {
		c.problem(at, path, f.Name+": no text is given, so this never matches", "name at least one")
	}
	if m.Op == Regex {
		return c.regex(m, f, at, path)
	}
	var words []string
	for _, w := range m.Text {
		words = append(words, strings.ToLower(w))
	}
	var one func(s, w string) bool
	switch m.Op {
	case Equals:
		c.words(m, f, at, path)
		return func(s string) bool { return slices.Contains(words, strings.ToLower(s)) }
	case Under:
		words = c.domains(m, f, at, path)
		one = mail.IsUnder
	case Prefix:
		one = strings.HasPrefix
	case Suffix:
		one = strings.HasSuffix
	default:
		one = strings.Contains
	}
	if m.Op != Under && slices.Contains(words, "") {
		c.problem(at, path, fmt.Sprintf("%s: %s \"\" matches every text", f.Name, m.Op), "write {empty: false} for any text at all")
	}
	return func(s string) bool {
		s = strings.ToLower(s)
		for _, w := range words {
			if one(s, w) {
				return true
			}
		}
		return false
	}
}

func (c *compiler) regex(m Match, f fact.Field, at Position, path string) func(string) bool {
	if len(m.Text) > 1 {
		c.problem(at, path, f.Name+": regex takes one expression", "write a|b for several")
	}
	if len(m.Text) != 1 {
		return nil
	}
	if _, err := regexp.Compile(m.Text[0]); err != nil {
		c.problem(at, path, fmt.Sprintf("%s: %v", f.Name, err), "expressions are RE2: no back references or look-around")
		return nil
	}
	re, err := regexp.Compile("(?i)" + m.Text[0])
	if err != nil {
		c.problem(at, path, fmt.Sprintf("%s: %v", f.Name, err), "")
		return nil
	}
	return re.MatchString
}

func (c *compiler) networks(m Match, f fact.Field, at Position, path string) []netip.Prefix {
	if len(m.Text) == 0 {
		c.problem(at, path, f.Name+": no network is given, so this never matches", "name at least one")
	}
	var nets []netip.Prefix
	for _, w := range m.Text {
		n, err := ParsePrefix(w)
		if err != nil {
			c.problem(at, path, fmt.Sprintf("%s: %q is neither an address nor a network", f.Name, w), "write 192.0.2.0/24 or 2001:db8::/32")
			continue
		}
		nets = append(nets, n)
	}
	return nets
}

// ParsePrefix reads a network, or an address as the network of itself. IPv4
// addresses in IPv6 clothes become IPv4, as client addresses do.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return n, err
	}
	if n.Addr().Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Masked(), nil
}

// domains reads what "under" compares with.
func (c *compiler) domains(m Match, f fact.Field, at Position, path string) []string {
	var out []string
	for _, w := range m.Text {
		d := mail.CanonicalDomain(w)
		if !mail.ValidDomain(d) || strings.ContainsAny(d, "*@") {
			c.problem(at, path, fmt.Sprintf("%s: %q is no domain", f.Name, w), "write example.com for it and all names below it")
		}
		out = append(out, d)
	}
	return out
}

// words finds values that the field can never have.
func (c *compiler) words(m Match, f fact.Field, at Position, path string) {
	if len(f.Words) == 0 {
		return
	}
	for _, w := range m.Text {
		if !slices.Contains(f.Words, strings.ToLower(w)) {
			c.problem(at, path, fmt.Sprintf("%s is never %q", f.Name, w), canBe(w, f.Words))
		}
	}
}

// canBe is the hint for a word that is none of a few.
func canBe(got string, words []string) string {
	shown := slices.Clone(words)
	for i, w := range shown {
		if w == "" {
			shown[i] = `""`
		}
	}
	hint := "it can be " + strings.Join(shown, ", ")
	if n := Nearest(got, words); n != "" {
		hint = fmt.Sprintf("did you mean %q? %s", n, hint)
	}
	return hint
}

func fits(op Op, k fact.Kind) bool {
	switch op {
	case State:
		return true
	case Less, AtMost, Greater, AtLeast:
		return k == fact.Number || k == fact.Duration
	case Is:
		return k == fact.Bool
	case In:
		return k == fact.Addr
	case Equals:
		return k == fact.Text || k == fact.Number || k == fact.Duration
	case Prefix, Suffix, Contains, Regex, Under, Empty:
		return k == fact.Text
	}
	return false
}

func operatorsFor(k fact.Kind) string {
	switch k {
	case fact.Number, fact.Duration:
		return "use a value, or lt, le, gt, ge"
	case fact.Bool:
		return "use true or false"
	case fact.Addr:
		return "use a network such as 192.0.2.0/24, or a list of them"
	}
	return "use a text, a list of texts, or prefix, suffix, contains, regex, under, empty"
}
