package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mailwicket/filter/fact"
)

// Truth is three-valued (Kleene): a condition over a fact that is not known is
// Unknown, and so is its negation.
type Truth uint8

// The truth values.
const (
	False Truth = iota
	Unknown
	True
)

func not(t Truth) Truth { return True - t }

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}

// Cond is a node of a rule's condition. Exactly one of the members is set; the
// zero Cond is true.
type Cond struct {
	All  []Cond
	Any  []Cond
	Not  *Cond
	Leaf *Leaf
}

// Leaf asks one field.
type Leaf struct {
	Field string
	Match Match
	At    Position
}

// Op is how a field's value is compared.
type Op string

// The operators. All texts are compared without regard to case; a field with
// several values matches when any of them does. The result word "temperror" is
// no answer: a comparison matches it by name, and is Unknown otherwise.
const (
	Equals   Op = "equals"   // any of Text
	Prefix   Op = "prefix"   // begins with any of Text
	Suffix   Op = "suffix"   // ends with any of Text
	Contains Op = "contains" // holds any of Text
	Regex    Op = "regex"    // RE2
	Under    Op = "under"    // the domain or one below it, any of Text
	In       Op = "in"       // an address in any of the networks
	Less     Op = "lt"
	AtMost   Op = "le"
	Greater  Op = "gt"
	AtLeast  Op = "ge"
	Is       Op = "is"    // yes or no
	Empty    Op = "empty" // no value, or all values empty: yes or no
	State    Op = "state" // any of the states named in Text
)

// Match is one comparison, or several that must all hold (All), or a negation.
type Match struct {
	Op   Op
	Text []string
	Num  float64
	Bool bool
	Not  *Match
	All  []Match
}

// String prints a match as traces show it.
func (m Match) String() string {
	kind := fact.Text
	if m.Op == Equals && len(m.Text) == 0 {
		kind = fact.Number
	}
	return m.want(kind)
}

// want prints the match for a field of that kind.
func (m Match) want(k fact.Kind) string {
	switch {
	case m.Not != nil:
		return m.Not.unwanted(k)
	case len(m.All) > 0:
		var parts []string
		for _, x := range m.All {
			parts = append(parts, x.want(k))
		}
		return strings.Join(parts, " and ")
	}
	switch m.Op {
	case Equals:
		if k == fact.Number || k == fact.Duration {
			return m.number(k)
		}
		return m.list()
	case Less:
		return "< " + m.number(k)
	case AtMost:
		return "<= " + m.number(k)
	case Greater:
		return "> " + m.number(k)
	case AtLeast:
		return ">= " + m.number(k)
	case Is:
		return strconv.FormatBool(m.Bool)
	case Empty:
		if m.Bool {
			return "empty"
		}
		return "not empty"
	}
	return string(m.Op) + " " + m.list()
}

// unwanted prints the negation of the match.
func (m Match) unwanted(k fact.Kind) string {
	switch {
	case m.Not != nil:
		return m.Not.want(k)
	case len(m.All) > 1:
		return "not (" + m.want(k) + ")"
	}
	return "not " + m.want(k)
}

func (m Match) list() string {
	if len(m.Text) == 1 {
		return strconv.Quote(m.Text[0])
	}
	return fmt.Sprintf("one of %q", m.Text)
}

func (m Match) number(k fact.Kind) string {
	if k == fact.Duration {
		return time.Duration(m.Num * float64(time.Second)).String()
	}
	return strconv.FormatFloat(m.Num, 'f', -1, 64)
}

// node is a compiled condition.
type node struct {
	op   nodeOp
	kids []node
	leaf *leaf
}

type nodeOp uint8

const (
	opAll nodeOp = iota
	opAny
	opNot
	opLeaf
)

// leaf is a compiled Leaf: the texts for traces are made once.
type leaf struct {
	field          fact.Field
	test           test
	want, unwanted string
}

// cause is the leaf that settled a condition, which may stand under a "not".
type cause struct {
	leaf    *leaf
	negated bool
}

// eval walks the condition. The cause is the first leaf that has the outcome's
// truth: for a condition that is false one that was false, for an unknown one
// one that was not known.
func (e *evaluation) eval(n *node) (Truth, cause) {
	switch n.op {
	case opLeaf:
		return n.leaf.test(e.read(&n.leaf.field)), cause{leaf: n.leaf}
	case opNot:
		t, why := e.eval(&n.kids[0])
		why.negated = !why.negated
		return not(t), why
	case opAny:
		return e.fold(n.kids, True)
	}
	if len(n.kids) == 0 {
		return True, cause{}
	}
	return e.fold(n.kids, False)
}

// fold gives the highest truth of the conditions when looking for True, and the
// lowest when looking for False.
func (e *evaluation) fold(kids []node, wanted Truth) (Truth, cause) {
	best, why := e.eval(&kids[0])
	for i := 1; i < len(kids) && best != wanted; i++ {
		t, w := e.eval(&kids[i])
		if wanted == True && t > best || wanted == False && t < best {
			best, why = t, w
		}
	}
	return best, why
}

// read gives a field's value; tags and points are those of this evaluation so
// far.
func (e *evaluation) read(f *fact.Field) fact.Value {
	switch {
	case f.Get != nil:
		return f.Get(e.set)
	case f.Name == fieldTags:
		return fact.Value{State: fact.Known, Text: e.tags}
	}
	return fact.Value{State: fact.Known, Num: e.points}
}

func inAny(nets []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func isEmpty(list []string) bool {
	for _, s := range list {
		if s != "" {
			return false
		}
	}
	return true
}
