package journal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// clock is a time that only tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// record is a small one.
func record(ref string, start time.Time) *filter.Record {
	r := &filter.Record{Ref: ref, Start: start, Verdict: policy.Tempfail, Rule: "greylist", Complete: true,
		DNS: []dns.Answer{{Name: "a.example", Type: "TXT", Result: "ok", Data: []string{`"quoted" \ <x>`}}}}
	r.Facts.Conn.IP = fact.Is(netip.MustParseAddr("192.0.2.1"))
	r.Facts.Conn.Session = "S-" + ref
	r.Facts.Txn.QueueID = "Q" + ref
	r.Facts.Txn.MailFrom = fact.Is(mail.ParsePath("<a@b.example>"))
	r.Facts.Txn.MessageID = fact.Is("<" + ref + "@b.example>")
	d := filter.Decided{Recipient: "c@d.example", Rcpt: fact.Rcpt{To: fact.Is(mail.ParsePath("<c@d.example>"))}}
	d.Stage, d.Verdict, d.Trace = mail.StageRcpt, policy.Tempfail, []policy.Step{{Rule: "greylist", Matched: true, Did: `says "defer"`}}
	r.Decisions = []filter.Decided{d}
	return r
}

// config is one with room for all, whose results are counted.
func config(dir string, c *clock, counts *counter) Config {
	return Config{Dir: dir, Keep: 240 * time.Hour, MaxFile: 1 << 30, MaxAll: 8 << 30, Queue: 1000, Now: c.now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Written: counts.add}
}

// counter counts results.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[result]++
}

func (c *counter) get(result string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[result]
}

// flush writes what is queued.
func flush(j *Journal) {
	over, stop := context.WithCancel(context.Background())
	stop()
	j.Run(over)
}

// put journals records with these references.
func put(tb testing.TB, c Config, refs ...string) {
	tb.Helper()
	j, err := New(c)
	check(tb, err)
	for _, ref := range refs {
		j.Message(record(ref, c.Now()))
	}
	flush(j)
}

// refs reads all references of a directory.
func refs(tb testing.TB, dir string) (out []string, skipped int) {
	tb.Helper()
	files, err := Files(dir)
	check(tb, err)
	skipped, err = Read(files, time.Time{}, func(r *filter.Record) error {
		out = append(out, r.Ref)
		return nil
	})
	check(tb, err)
	return out, skipped
}

// numbered gives references.
func numbered(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("r%d", i))
	}
	return out
}
