package dnsbl

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Code is a pattern for the addresses by which a zone answers:
//
//	127.0.0.2      this one
//	127.0.0.2-11   these; the last octet counts on
//	127.0.0.0/24   a network
//	127.0.0.0&4    those of the /24 whose last octet has this bit
//
// No pattern matches the error answers 127.255.255.0/24 and 127.0.0.1, or addresses
// outside 127.0.0.0/8. The zero value matches nothing.
type Code struct {
	from, to uint32
	bit      uint8 // not 0: one bit
}

// CodeRule gives a name to the answers that match a pattern.
type CodeRule struct {
	Match  Code
	Name   string
	Weight float64 // 0 takes the zone's
}

// Every address of a zone lies in 127.0.0.0/8 (RFC 5782, 2.1); operators answer
// out of 127.255.255.0/24 where they mean "you asked wrongly". SURBL and URIBL, whose
// codes are bits, say so by 127.0.0.1.
var (
	codeNet  = netip.MustParsePrefix("127.0.0.0/8")
	errorNet = netip.MustParsePrefix("127.255.255.0/24")
	blocked  = netip.MustParseAddr("127.0.0.1")
)

// isError tells whether an answer is one of those.
func isError(a netip.Addr) bool { return errorNet.Contains(a) || a == blocked }

// isCode tells whether an answer can be a code at all.
func isCode(a netip.Addr) bool { return codeNet.Contains(a) && !isError(a) }

// ParseCode reads a pattern.
func ParseCode(s string) (Code, error) {
	c, err := parseCode(s)
	switch {
	case err != nil:
		return Code{}, fmt.Errorf("code %q: %w", s, err)
	case !codeNet.Contains(address(c.from)) || !codeNet.Contains(address(c.to)):
		return Code{}, fmt.Errorf("code %q: codes lie in 127.0.0.0/8", s)
	case errorNet.Contains(address(c.from)):
		return Code{}, fmt.Errorf("code %q: 127.255.255.0/24 means that the question was refused, never that something is listed", s)
	case c.from == c.to && address(c.from) == blocked:
		return Code{}, fmt.Errorf("code %q: 127.0.0.1 means that the question was refused, never that something is listed", s)
	}
	return c, nil
}

var errForm = errors.New("want an address such as 127.0.0.2, a range 127.0.0.2-11, a network 127.0.0.0/24 or a bit 127.0.0.0&4")

func parseCode(s string) (Code, error) {
	i := strings.IndexAny(s, "-/&")
	if i < 0 {
		a, err := parse4(s)
		return Code{from: a, to: a}, err
	}
	a, err := parse4(s[:i])
	if err != nil {
		return Code{}, err
	}
	n, err := number(s[i+1:])
	if err != nil {
		return Code{}, err
	}
	switch s[i] {
	case '-':
		if n <= a&0xff {
			return Code{}, fmt.Errorf("a range goes up: %d is not above %d", n, a&0xff)
		}
		return Code{from: a, to: a&^0xff | n}, nil
	case '/':
		if n < 8 || n > 32 {
			return Code{}, errors.New("the prefix length is 8 to 32")
		}
		rest := uint32(1)<<(32-n) - 1
		if a&rest != 0 {
			return Code{}, fmt.Errorf("the network begins at %s", address(a&^rest))
		}
		return Code{from: a, to: a | rest}, nil
	}
	switch {
	case a&0xff != 0:
		return Code{}, fmt.Errorf("a bit is one of the last octet: write %s&%d", address(a&^0xff), n)
	case bits.OnesCount32(n) != 1:
		return Code{}, errors.New("want one of the bits 1, 2, 4, 8, 16, 32, 64, 128: name each in a line of its own")
	}
	return Code{from: a, to: a | 0xff, bit: uint8(n)}, nil
}

func parse4(s string) (uint32, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0, errForm
	}
	return value(a), nil
}

// number reads one of 0 to 255 in its only form.
func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errForm
	}
	return uint32(n), nil
}

func value(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(u uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], u)
	return netip.AddrFrom4(b)
}

// String gives the form that ParseCode reads.
func (c Code) String() string {
	switch {
	case c.bit != 0:
		return fmt.Sprintf("%s&%d", address(c.from), c.bit)
	case c.from == c.to:
		return address(c.from).String()
	case c.from&0xff == 0 && c.size()&(c.size()-1) == 0 && c.from&uint32(c.size()-1) == 0:
		return fmt.Sprintf("%s/%d", address(c.from), 32-bits.Len32(c.to-c.from))
	}
	return fmt.Sprintf("%s-%d", address(c.from), c.to&0xff)
}

// size is how many addresses there are from the first to the last.
func (c Code) size() uint64 { return uint64(c.to) - uint64(c.from) + 1 }

// Match tells whether an answer is one of the pattern's.
func (c Code) Match(a netip.Addr) bool {
	if !a.Is4() || !isCode(a) {
		return false
	}
	u := value(a)
	return c.from <= u && u <= c.to && (c.bit == 0 || u&uint32(c.bit) != 0)
}

// ParseCodes reads patterns with their names, and gives rules in a fixed order.
// The error joins one for each pattern that is wrong.
func ParseCodes(named map[string]string) ([]CodeRule, error) {
	var rules []CodeRule
	var errs []error
	for _, s := range slices.Sorted(maps.Keys(named)) {
		c, err := ParseCode(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rules = append(rules, CodeRule{Match: c, Name: named[s]})
	}
	return ordered(rules), errors.Join(errs...)
}

// ordered puts the narrowest patterns first.
func ordered(rules []CodeRule) []CodeRule {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b CodeRule) int {
		return cmp.Or(cmp.Compare(a.Match.size(), b.Match.size()), cmp.Compare(a.Match.from, b.Match.from),
			cmp.Compare(a.Match.bit, b.Match.bit))
	})
	return rules
}

// named gives the rules that say what an answer means: all bits that it has,
// and of the other patterns the narrowest. The rules are ordered.
func named(rules []CodeRule, a netip.Addr) []CodeRule {
	var out []CodeRule
	whole := false
	for _, r := range rules {
		if (r.Match.bit == 0 && whole) || !r.Match.Match(a) {
			continue
		}
		whole = whole || r.Match.bit == 0
		out = append(out, r)
	}
	return out
}

// refusal tells why an answer means that the zone does not serve us; "" if it
// does not mean that.
func refusal(answers []netip.Addr) string {
	for _, a := range answers {
		switch {
		case !codeNet.Contains(a):
			return fmt.Sprintf("answered %s, which is no code: someone else answers for the zone", a)
		case isError(a):
			return fmt.Sprintf("answered %s: %s", a, refusalText(value(a)&0xff))
		}
	}
	return ""
}

// refusalFault is the kind of such an answer.
func refusalFault(answers []netip.Addr) Fault {
	for _, a := range answers {
		switch {
		case !codeNet.Contains(a):
			return FaultForeign
		case isError(a):
			return FaultRefusing
		}
	}
	return ""
}

// refusalText is what Spamhaus means by its error codes; others follow it.
func refusalText(last uint32) string {
	switch last {
	case 252:
		return "the zone's name is mistyped"
	case 254:
		return "questions of public resolvers are refused"
	case 255:
		return "too many questions"
	}
	return "the question was refused"
}
