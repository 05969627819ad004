package dmarc

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"mailwicket/filter/dns/dnstest"
)

var update = flag.Bool("update", false, "write what the cases give into their files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCases plays the files in testdata: a zone, an input, and the finding with
// all questions that it took. The comment on top says why.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(ar.Comment)) == 0 || len(ar.Files) != 3 {
				t.Fatal("want a reason, a zone, an input and the wanted finding")
			}
			got := play(t, string(ar.Files[0].Data), string(ar.Files[1].Data))
			if *update {
				ar.Files[2].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(ar.Files[2].Data), got); d != "" {
				t.Errorf("%s(-want +got)\n%s", ar.Comment, d)
			}
		})
	}
}

func play(t *testing.T, zoneText, input string) string {
	t.Helper()
	zone, err := dnstest.Parse("zone", strings.NewReader(zoneText))
	if err != nil {
		t.Fatal(err)
	}
	in := parseInput(t, input)
	f := NewLookup(zone.Resolver()).Check(t.Context(), in)
	asked := zone.Queries()

	// An early start changes nothing, and nothing is asked twice.
	zone.Reset()
	l := NewLookup(zone.Resolver())
	for _, d := range in.From {
		l.Prefetch(t.Context(), d)
	}
	if d := cmp.Diff(f, l.Check(t.Context(), in)); d != "" {
		t.Errorf("after Prefetch:\n%s", d)
	}
	if d := cmp.Diff(f, l.Check(t.Context(), in)); d != "" {
		t.Errorf("when asked again:\n%s", d)
	}
	for q, n := range zone.Queries() {
		if n != 1 {
			t.Errorf("%s asked %d times", q, n)
		}
	}
	return show(f, asked)
}

func parseInput(t *testing.T, text string) Input {
	t.Helper()
	var in Input
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		result, domain, _ := strings.Cut(value, " ")
		switch key {
		case "from":
			in.From = append(in.From, value)
		case "spf":
			in.SPF = Identifier{Domain: domain, Result: result}
		case "dkim":
			in.DKIM = append(in.DKIM, Identifier{Domain: domain, Result: result})
		case "method":
			if value != PSL.String() {
				t.Fatalf("method %q", value)
			}
			in.Method = PSL
		default:
			t.Fatalf("input %q", line)
		}
	}
	return in
}

func show(f Finding, asked map[string]int) string {
	var b strings.Builder
	put := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	truth := map[bool]string{true: "yes"}
	put("result", string(f.Result))
	put("policy", string(f.Policy))
	put("domain", f.Domain)
	put("record", f.RecordDomain)
	if f.RecordDomain != "" {
		put("published", f.Record.String())
	}
	put("org", f.Org)
	put("differs", truth[f.Differs])
	put("aligned", strings.Join(f.Aligned, " "))
	put("testing", truth[f.Testing])
	put("nonexistent", truth[f.NonExistent])
	put("reason", f.Reason)
	for _, q := range slices.Sorted(maps.Keys(asked)) {
		put("asked", q)
	}
	return b.String()
}

// TestQueries: no name costs more than eight questions, however long it is.
func TestQueries(t *testing.T) {
	for n := 1; n <= 125; n++ {
		name := strings.Repeat("a.", n-1) + "b"
		zone := dnstest.MustParse("")
		NewLookup(zone.Resolver()).Check(t.Context(), Input{From: []string{name}})
		if got, want := len(zone.Queries()), min(n, 8); got != want && n < 123 || got > want {
			t.Errorf("%d labels: %d questions, want %d", n, got, want)
		}
	}
}

// TestIdentifierQueries: foreign and equal identifiers are not walked.
func TestIdentifierQueries(t *testing.T) {
	zone := dnstest.MustParse(`_dmarc.example.com TXT "v=DMARC1; p=reject"`)
	in := Input{From: []string{"example.com"}, SPF: Identifier{"bounce.esp.net", "pass"}}
	for i := range 50 {
		in.DKIM = append(in.DKIM, Identifier{fmt.Sprintf("s%d.other.com", i), "pass"}, Identifier{"example.com", "pass"})
	}
	f := NewLookup(zone.Resolver()).Check(t.Context(), in)
	if f.Result != Pass || len(f.Aligned) != 1 {
		t.Errorf("got %+v", f)
	}
	want := map[string]int{"_dmarc.example.com TXT": 1, "_dmarc.com TXT": 1}
	if d := cmp.Diff(want, zone.Queries()); d != "" {
		t.Error(d)
	}
}

// TestContext: an ended context is a temporary error, and it is not remembered.
func TestContext(t *testing.T) {
	zone := dnstest.MustParse(`_dmarc.example.com TXT "v=DMARC1; p=reject"`)
	l := NewLookup(zone.Resolver())
	in := Input{From: []string{"example.com"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.Prefetch(ctx, "example.com")
	if f := l.Check(ctx, in); f.Result != TempError || f.Policy != PolicyUnknown {
		t.Errorf("with an ended context: %+v", f)
	}
	if f := l.Check(t.Context(), in); f.Result != Fail || f.Policy != PolicyReject {
		t.Errorf("later: %+v", f)
	}
}

// TestEarlyStart: Check waits for what Prefetch has under way and does not ask
// it again. Levels are asked at the same time, so that the deepest name takes
// no longer than three answers: its own, the others, and whether it exists.
func TestEarlyStart(t *testing.T) {
	for from, rounds := range map[string]time.Duration{"example.com": 1, "a.b.c.d.e.f.g.h.i.j.example.com": 3} {
		synctest.Test(t, func(t *testing.T) {
			zone := dnstest.MustParse(`_dmarc.example.com TXT "v=DMARC1; p=reject"`)
			zone.Tune(dnstest.Knobs{Delay: time.Second})
			l := NewLookup(zone.Resolver())
			start := time.Now()
			go l.Prefetch(t.Context(), from)
			time.Sleep(time.Second / 2)
			f := l.Check(t.Context(), Input{From: []string{from}, DKIM: []Identifier{{"example.com", "pass"}}})
			if took := time.Since(start); f.Result != Pass || took != rounds*time.Second {
				t.Errorf("%s: %s after %v, want %d s", from, f.Result, took, rounds)
			}
			for q, n := range zone.Queries() {
				if n != 1 {
					t.Errorf("%s asked %d times", q, n)
				}
			}
		})
	}
}
