package list

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwicket/filter/fact"
)

// The scales: go test -run - -bench Scale -benchtime 1x ./filter/list
//
// heap_MiB is what the lists hold in the heap after a collection, rss_MiB all that
// the process holds then, peak_MiB what it held at most while everything was
// loaded twice.
func BenchmarkScale1M(b *testing.B)  { scale(b, 1_000_000, 100_000) }
func BenchmarkScale10M(b *testing.B) { scale(b, 10_000_000, 1_000_000) }

var kept []fact.ListHit

func scale(b *testing.B, names, nets int) {
	dir := b.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	cfgs := []Config{
		{Name: "names", Kind: Domain, File: filepath.Join(dir, "names"), Apply: []Point{PointHelo}},
		{Name: "nets", Kind: IP, File: filepath.Join(dir, "nets"), Apply: []Point{PointClient}},
	}
	generate(b, cfgs[0].File, names, func(i int) string { return scaleName(i) })
	generate(b, cfgs[1].File, nets, func(i int) string { return scaleNet(r, i) })
	base, before := heap(), rss("VmRSS")
	for b.Loop() {
		book := New(cfgs, Options{})
		start := time.Now()
		if err := book.Load(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "load_s")
		held := heap() - base
		b.ReportMetric(float64(held)/(1<<20), "heap_MiB")
		b.ReportMetric(float64(rss("VmRSS")-before)/float64(names+nets), "B/entry")
		b.ReportMetric(float64(rss("VmRSS"))/(1<<20), "rss_MiB")
		if n := book.Status()[0].Entries; n < names*99/100 {
			b.Fatal("entries are missing: ", n)
		}
		for _, l := range book.lists {
			l.live.Load().version = "" // as if the files had changed
		}
		var reload sync.WaitGroup
		reload.Go(func() {
			if err := book.Load(b.Context()); err != nil {
				b.Error(err)
			}
		})
		lookups(b, "reloading", func(i int) { kept = book.Domain(PointHelo, fmt.Sprintf("mail.out.x%d.example.com", i)) })
		reload.Wait()
		b.ReportMetric(float64(rss("VmHWM"))/(1<<20), "peak_MiB")
		lookups(b, "miss", func(i int) { kept = book.Domain(PointHelo, fmt.Sprintf("mail.out.x%d.example.com", i)) })
		lookups(b, "hit", func(i int) { kept = book.Domain(PointHelo, "mail.out."+scaleName(i)) })
		lookups(b, "ip", func(i int) {
			kept = book.IP(PointClient, netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(i), byte(i >> 8), 1}))
		})
		runtime.KeepAlive(book)
	}
}

// lookups reports how long single lookups take, with the making of the name and
// the reading of the clock.
func lookups(b *testing.B, what string, f func(int)) {
	took := make([]time.Duration, 200_000)
	for i := range took {
		start := time.Now()
		f(i)
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), what+"_p50_ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), what+"_p99_ns")
}

// scaleName makes distinct names of 17 bytes on average.
func scaleName(i int) string {
	tlds := [...]string{"com", "net", "org", "top", "xyz", "co.uk", "de"}
	return fmt.Sprintf("%s-%07x.%s", "abcdefghijkl"[:1+i%8], i, tlds[i%len(tlds)])
}

func scaleNet(r *rand.Rand, i int) string {
	if i%10 == 0 {
		return fmt.Sprintf("2001:db8:%x:%x::/64", r.Uint32N(1<<16), i>>4&0xffff)
	}
	return fmt.Sprintf("%d.%d.%d.%d", 1+r.Uint32N(220), r.Uint32N(256), r.Uint32N(256), r.Uint32N(256))
}

func generate(b *testing.B, path string, n int, line func(int) string) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintln(w, line(i))
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// rss gives the memory that the process has (VmRSS) or had at most (VmHWM), 0
// where that is unknown.
func rss(what string) (bytes uint64) {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, what+": %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}
