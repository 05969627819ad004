package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/dns"
	dnsclient "mailwicket/filter/dns/client"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
	"mailwicket/filter/observe"
	"mailwicket/filter/observe/journal"
	"mailwicket/greylist"
	"mailwicket/policy/rulefile"
)

// What goes on beside the mail must not cost it much: the journal, lists that are
// read anew, DNS lists that hang. Each benchmark plays the same messages with and
// without, in turns.

const kib4 = 4 << 10

// besideStore is a greylist that costs nothing to speak of.
func besideStore() greylist.Store { return greylist.NewMemory(1 << 16) }

// BenchmarkJournal plays sessions in batches, and waits after each until the
// journal is on disk: its work counts, though mail does not wait for it.
func BenchmarkJournal(b *testing.B) {
	var written atomic.Int64
	start := func(redact func(*filter.Record) *filter.Record) func(*filter.Config) {
		j, err := journal.New(journal.Config{Dir: b.TempDir(), Keep: time.Hour, MaxFile: 64 << 20, MaxAll: 2 << 30, Queue: 10_000,
			Redact: redact, Now: time.Now, Log: slog.New(slog.DiscardHandler), Written: func(string) { written.Add(1) }})
		check(b, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { j.Run(ctx); close(done) }()
		b.Cleanup(func() { cancel(); <-done })
		return func(c *filter.Config) { c.Observer = append(c.Observer.(observe.All), j) }
	}
	const batch = 50
	plain := newWorld(b, besideStore())
	kept := newWorld(b, besideStore(), start(nil))
	hidden := newWorld(b, besideStore(), start(observe.Redactor([]byte("secret"))))
	costs := make([]sample, 3)
	plays := make([]func(), 3)
	for i, w := range []*world{plain, kept, hidden} {
		play, stop := player(b, w.socket, newLetter(w.message(b, kib4)), false)
		defer stop()
		plays[i] = func() {
			before := written.Load()
			for range batch {
				play()
			}
			for i > 0 && written.Load() < before+batch {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
	for b.Loop() {
		for i := range plays {
			costs[i].add(plays[i])
		}
	}
	b.ReportMetric(costs[0].median()/batch, "ns/op")
	b.ReportMetric(batch*1e9/costs[0].median(), "messages/s-without")
	b.ReportMetric(batch*1e9/costs[1].median(), "messages/s-with")
	b.ReportMetric(costs[1].cpuMean()/costs[0].cpuMean(), "x_cpu")
	b.ReportMetric(costs[2].cpuMean()/costs[0].cpuMean(), "x_cpu-redacted")
}

// BenchmarkReloadOfLists reads a list of a million names again and again, and
// tells what messages feel of it. The Go scheduler shares two cores among both.
func BenchmarkReloadOfLists(b *testing.B) {
	file := filepath.Join(b.TempDir(), "names.txt")
	f, err := os.Create(file)
	check(b, err)
	out := bufio.NewWriter(f)
	for i := range 1_000_000 {
		fmt.Fprintf(out, "host-%d.listed.example\n", i)
	}
	check(b, out.Flush())
	check(b, f.Close())
	book := list.New([]list.Config{{Name: "big", Kind: list.Domain, File: file, Apply: []list.Point{list.PointMailFrom, list.PointHelo, list.PointPTR}}}, list.Options{})
	check(b, book.Load(b.Context()))
	w := newWorld(b, besideStore(), func(c *filter.Config) { c.Lists = book })
	play, stop := player(b, w.socket, newLetter(w.message(b, kib4)), false)
	defer stop()
	var quiet, busy sample
	for b.Loop() {
		quiet.add(play)
	}
	reading, end := context.WithCancel(b.Context())
	done := make(chan int)
	go func() {
		n := 0
		for ; reading.Err() == nil; n++ {
			now := time.Now().Add(time.Duration(n) * time.Second)
			check(b, os.Chtimes(file, now, now))
			_ = book.Load(reading) // cut off at the end
		}
		done <- n
	}()
	for range len(quiet.wall) {
		busy.add(play)
	}
	end()
	n := <-done
	over := func(s *sample) float64 {
		limit, over := 2*time.Duration(quiet.median()), 0
		for _, d := range s.wall {
			if d > limit {
				over++
			}
		}
		return 100 * float64(over) / float64(len(s.wall))
	}
	b.ReportMetric(quiet.median(), "ns/op")
	b.ReportMetric(float64(n), "reloads")
	b.ReportMetric(busy.median()/quiet.median(), "x_median")
	b.ReportMetric(over(&quiet), "%over-2x-quiet")
	b.ReportMetric(over(&busy), "%over-2x-reloading")
	b.ReportMetric(float64(slices.Max(quiet.wall))/quiet.median(), "x_max-quiet")
	b.ReportMetric(float64(slices.Max(busy.wall))/quiet.median(), "x_max-reloading")
}

// silenced is a resolver that stops to answer for one zone.
type silenced struct {
	dns.Resolver
	zone string
	now  atomic.Bool
}

func (s *silenced) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	if s.now.Load() && strings.HasSuffix(name, s.zone) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Resolver.LookupA(ctx, name)
}

// BenchmarkHangingZone tells what a DNS list that hangs costs: nothing where no
// rule reads it, and where one does, a zone's timeout for each message until it is
// out of service, and then nothing.
func BenchmarkHangingZone(b *testing.B) {
	const zone = "zone.example"
	entries, err := dnstest.Parse("zone", strings.NewReader("2.0.0.127."+zone+" A 127.0.0.2\n"))
	check(b, err)
	server, err := dnstest.Serve(entries, "")
	check(b, err)
	b.Cleanup(server.Close)
	client, err := dnsclient.New(dnsclient.Config{Servers: []string{server.Addr()}, CacheSize: 1})
	check(b, err)
	b.Cleanup(client.Close)
	reads, problems := rulefile.Parse("rules", []byte("rules: [{name: listed, when: {dnsbl.zones: zone}, do: reject}]"))
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	codes, err := dnsbl.ParseCodes(map[string]string{"127.0.0.2": "listed"})
	check(b, err)
	quiet := &silenced{Resolver: client, zone: zone}
	book := func() *dnsbl.Book {
		one := dnsbl.New([]dnsbl.Config{{Name: "zone", Zone: zone, Type: dnsbl.IP, Codes: codes}},
			dnsbl.Options{Resolver: quiet, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Timeout: time.Second})
		one.Probe(b.Context())
		return one
	}
	without := newWorld(b, besideStore())
	unread := newWorld(b, besideStore(), func(c *filter.Config) { c.DNSBL = book() })
	read := newWorld(b, besideStore(), func(c *filter.Config) { c.DNSBL, c.Policy = book(), rules(b, reads...) })
	quiet.now.Store(true)
	var costs [3]sample
	var slow int
	var lost time.Duration
	for i, w := range []*world{without, unread, read} {
		play, stop := player(b, w.socket, newLetter(w.message(b, kib4)), false)
		defer stop()
		for range 20 { // caches warm, and the zone goes out of service
			begin := time.Now()
			play()
			if took := time.Since(begin); i == 2 && took > time.Second/2 {
				slow, lost = slow+1, lost+took
			}
		}
	}
	for b.Loop() {
		for i, w := range []*world{without, unread, read} {
			play, stop := player(b, w.socket, newLetter(w.message(b, kib4)), false)
			costs[i].add(play)
			stop()
		}
	}
	b.ReportMetric(costs[0].median(), "ns/op")
	b.ReportMetric(costs[1].median()/costs[0].median(), "x_not-read")
	b.ReportMetric(costs[2].median()/costs[0].median(), "x_read")
	b.ReportMetric(float64(slow), "messages-that-waited")
	b.ReportMetric(lost.Seconds()/float64(max(slow, 1)), "s-each")
}
