//go:build unix

package replay

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"mailwicket/filter"
)

// BenchmarkReplay reads and judges 20,000 records like real ones.
func BenchmarkReplay(b *testing.B) {
	const n = 20_000
	from := real(b)
	records := make([]*filter.Record, n)
	for i := range records {
		records[i] = from[i%len(from)]
	}
	files := keep(b, records)
	p := rules(b, "strict")
	st, err := os.Stat(files[0])
	check(b, err)
	b.SetBytes(st.Size())
	b.ReportAllocs()
	decisions, before := 0, cpu(b)
	for b.Loop() {
		r, err := Run(context.Background(), Policy{Policy: p}, files, time.Time{}, func(int64, int64) {})
		check(b, err)
		if r.Messages != n || r.Skipped != 0 {
			b.Fatalf("%+v", r)
		}
		decisions += r.Decisions
	}
	b.ReportMetric(float64(decisions)/(cpu(b)-before), "decisions/cpu-s")
	b.ReportMetric(float64(decisions)/float64(n*b.N), "decisions/message")
	b.ReportMetric(float64(st.Size())/n, "B/line")
}

// cpu is the processor time that was used, in seconds: what a core can do does
// not hang on how many there are and who else uses them.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
