package replay

import (
	"context"
	"os"
	"testing"
	"time"

	"mailwicket/filter"
)

// BenchmarkReplay reads and judges 20,000 records like real ones on one core.
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
	decisions := 0
	for b.Loop() {
		r, err := Run(context.Background(), p, files, time.Time{}, func(int64, int64) {})
		check(b, err)
		if r.Messages != n || r.Skipped != 0 {
			b.Fatalf("%+v", r)
		}
		decisions += r.Decisions
	}
	b.ReportMetric(float64(decisions)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(st.Size())/n, "B/line")
}
