package dnstest

import (
	"fmt"
	"regexp"
	"strings"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns/internal/wire"
)

// fault is a way for a name to fail.
type fault string

const (
	temperror fault = "TEMPERROR"
	timeout   fault = "TIMEOUT"
	nxdomain  fault = "NXDOMAIN"
)

// anyType stands for all types in node.faults.
const anyType = mdns.TypeNone

// node is an existing name. One without records and faults is an empty
// non-terminal (RFC 4592, 2.2.2).
type node struct {
	records map[uint16][]mdns.RR
	faults  map[uint16]fault
}

// content is a parsed file; it does not change. Keys are canonical names, ""
// is the root.
type content struct {
	nodes map[string]*node
	soas  map[string]*mdns.SOA
}

const (
	defaultTTL = 3600
	maxChain   = 16
)

// faultLine finds the lines that are ours and not the master file's.
var faultLine = regexp.MustCompile(`^(\S+)[ \t]+(?:([A-Za-z0-9]+)[ \t]+)?(TEMPERROR|TIMEOUT|NXDOMAIN)[ \t]*(?:;.*)?$`)

var originLine = regexp.MustCompile(`^\$ORIGIN[ \t]+(\S+)`)

func parse(file, text string) (*content, error) {
	c := &content{nodes: map[string]*node{"": {}}, soas: map[string]*mdns.SOA{}}
	text, err := c.takeFaults(file, text)
	if err != nil {
		return nil, err
	}
	zp := mdns.NewZoneParser(strings.NewReader(text), ".", file)
	zp.SetDefaultTTL(defaultTTL)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := c.addRecord(rr); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := zp.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// takeFaults takes our own lines out of the text and leaves empty ones, so
// that the line numbers of errors stay right.
func (c *content) takeFaults(file, text string) (string, error) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	origin := ""
	for i, line := range lines {
		if m := originLine.FindStringSubmatch(line); m != nil {
			origin = absolute(m[1], origin)
			continue
		}
		m := faultLine.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(line, ";") {
			continue
		}
		lines[i] = ""
		qtype := anyType
		if m[2] != "" {
			t, ok := mdns.StringToType[strings.ToUpper(m[2])]
			if !ok {
				return "", fmt.Errorf("%s: line %d: unknown record type %q", file, i+1, m[2])
			}
			qtype = t
		}
		name := absolute(m[1], origin)
		if _, ok := wire.Canonical(name); !ok && name != "" {
			return "", fmt.Errorf("%s: line %d: invalid name %q", file, i+1, m[1])
		}
		c.addFault(name, qtype, fault(m[3]))
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// absolute gives the canonical form of a name as the file has it.
func absolute(name, origin string) string {
	name = strings.ToLower(name)
	switch {
	case name == "@":
		return origin
	case strings.HasSuffix(name, "."):
		return strings.TrimSuffix(name, ".")
	case origin == "":
		return name
	}
	return name + "." + origin
}

func (c *content) addFault(name string, qtype uint16, f fault) {
	n := c.nodes[name]
	if n == nil {
		n = &node{}
		c.nodes[name] = n
	}
	if n.faults == nil {
		n.faults = map[uint16]fault{}
	}
	n.faults[qtype] = f
	if f != nxdomain { // a name that is not there makes no parent
		c.addParents(name)
	}
}

func (c *content) addRecord(rr mdns.RR) error {
	h := rr.Header()
	if h.Class != mdns.ClassINET {
		return fmt.Errorf("record of class %s at %s", mdns.Class(h.Class), h.Name)
	}
	name := plain(h.Name)
	n := c.nodes[name]
	if n == nil {
		n = &node{}
		c.nodes[name] = n
	}
	if n.records == nil {
		n.records = map[uint16][]mdns.RR{}
	}
	n.records[h.Rrtype] = append(n.records[h.Rrtype], rr)
	if soa, ok := rr.(*mdns.SOA); ok {
		c.soas[name] = soa
	}
	c.addParents(name)
	return nil
}

func (c *content) addParents(name string) {
	for name = parent(name); name != ""; name = parent(name) {
		if c.nodes[name] == nil {
			c.nodes[name] = &node{}
		}
	}
}

// parent cuts the first label off; the root is its own parent.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}

// plain gives a name of the library in our canonical form. Only the escapes
// that Presentation makes are undone.
func plain(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !strings.Contains(name, `\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+1 < len(name) && strings.IndexByte(`\"'();@`, name[i+1]) >= 0 {
			i++
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// find gives the node that answers for a name: its own, else the wildcard at
// its closest encloser (RFC 4592, 3.3.1), else nil.
func (c *content) find(name string) *node {
	if n := c.nodes[name]; n != nil {
		return n
	}
	for up := parent(name); ; up = parent(up) {
		if c.nodes[up] != nil && !c.denied(up) || up == "" {
			if up == "" {
				return c.nodes["*"]
			}
			return c.nodes["*."+up]
		}
	}
}

// denied tells whether the file says that a name does not exist, so that it
// encloses nothing.
func (c *content) denied(name string) bool {
	n := c.nodes[name]
	return n.records == nil && n.faults[anyType] == nxdomain
}

// answer fills the outcome for a canonical name, aliases included.
func (c *content) answer(o *outcome, name string, qtype uint16, chase bool) {
	for range maxChain {
		n := c.find(name)
		if n == nil {
			o.rcode, o.soa = mdns.RcodeNameError, c.soa(name)
			return
		}
		f := n.faults[anyType]
		if special, ok := n.faults[qtype]; ok {
			f = special
		}
		switch f {
		case temperror:
			o.rcode, o.answer = mdns.RcodeServerFailure, nil
			return
		case timeout:
			o.drop = true
			return
		case nxdomain:
			o.rcode, o.soa = mdns.RcodeNameError, c.soa(name)
			return
		}
		if rrs := n.records[qtype]; len(rrs) > 0 {
			o.answer = append(o.answer, own(rrs, name)...)
			return
		}
		alias := n.records[mdns.TypeCNAME]
		if len(alias) == 0 {
			o.soa = c.soa(name)
			return
		}
		o.answer = append(o.answer, own(alias[:1], name)...)
		if !chase {
			return
		}
		name = plain(alias[0].(*mdns.CNAME).Target)
	}
	o.rcode, o.answer = mdns.RcodeServerFailure, nil // an endless chain
}

// own gives the records with the name that was asked, which differs from
// theirs when a wildcard made them.
func own(rrs []mdns.RR, name string) []mdns.RR {
	out := make([]mdns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = rr
		if plain(rr.Header().Name) != name {
			out[i] = mdns.Copy(rr)
			out[i].Header().Name = wire.Presentation(name)
		}
	}
	return out
}

// soa gives the nearest SOA at or above a name. Files without one still need
// it in negative answers: one that forbids to keep them stands in.
func (c *content) soa(name string) *mdns.SOA {
	for {
		if s := c.soas[name]; s != nil {
			return s
		}
		if name == "" {
			return &mdns.SOA{Ns: ".", Mbox: ".",
				Hdr: mdns.RR_Header{Name: ".", Rrtype: mdns.TypeSOA, Class: mdns.ClassINET}}
		}
		name = parent(name)
	}
}
