package dmarc

import (
	"testing"

	"mailwicket/filter/dns/dnstest"
)

const benchZone = `
_dmarc.example.com TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.com; ruf=mailto:dmarc@example.com; fo=1; pct=100"
www.example.com A 192.0.2.1
`

var benchInputs = map[string]Input{
	"own":     {From: []string{"example.com"}, SPF: Identifier{"esp.net", "pass"}, DKIM: []Identifier{{"example.com", "pass"}}},
	"relaxed": {From: []string{"www.example.com"}, SPF: Identifier{"bounce.example.com", "pass"}, DKIM: []Identifier{{"example.com", "pass"}}},
	"deep":    {From: []string{"a.b.c.d.e.f.g.h.i.j.example.com"}, DKIM: []Identifier{{"k.l.m.n.o.p.q.r.s.t.example.com", "pass"}}},
	"five":    {From: []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"}},
}

// BenchmarkCheck: warm is a second Check of the same message, cold a new one
// over a resolver that answers at once.
func BenchmarkCheck(b *testing.B) {
	r := dnstest.MustParse(benchZone).Resolver()
	for name, in := range benchInputs {
		b.Run(name+"/warm", func(b *testing.B) {
			l := NewLookup(r)
			l.Check(b.Context(), in)
			b.ReportAllocs()
			for b.Loop() {
				l.Check(b.Context(), in)
			}
		})
		b.Run(name+"/cold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewLookup(r).Check(b.Context(), in)
			}
		})
	}
}

func BenchmarkParseRecord(b *testing.B) {
	const text = "v=DMARC1; p=reject; sp=none; rua=mailto:dmarc@example.com; ruf=mailto:dmarc@example.com; fo=1; pct=100"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecord(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	r, err := ParseRecord("v=DMARC1; p=reject")
	if err != nil {
		b.Fatal(err)
	}
	e := evidence{domain: "example.com", org: "example.com", policy: level{name: "example.com", record: r, found: true},
		ids: []identifier{{by: bySPF, domain: "bounce.example.com", org: "example.com"}, {by: byDKIM, domain: "example.com"}}}
	b.ReportAllocs()
	for b.Loop() {
		evaluate(e)
	}
}
