package watch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/filter/observe/journal"
)

var now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func message(at time.Time, ip string) *filter.Record {
	r := &filter.Record{Start: at}
	r.Facts.Conn.IP = fact.Is(netip.MustParseAddr(ip))
	r.Facts.Conn.MTA = fact.MTA{Name: "mx.example.org", Version: "Postfix 3.7.11"}
	return r
}

func TestTraffic(t *testing.T) {
	var tr Traffic
	tr.Message(message(now.Add(-25*time.Hour), "10.9.9.9"))
	for i := range 5 {
		tr.Message(message(now.Add(-time.Duration(i)*time.Minute), "::ffff:172.17.0.1"))
	}
	for i := range 3 {
		tr.Message(message(now, fmt.Sprintf("192.0.2.%d", i)))
		login := message(now, "10.0.0.7")
		login.Facts.Txn.AuthUser = fact.Is("alice")
		tr.Message(login)
	}
	tr.Message(&filter.Record{Start: now}) // its client is not known
	last := message(now.Add(time.Second), "172.17.0.1")
	last.Facts.Conn.Trusted = fact.Is("trusted network")
	last.Facts.Conn.MTA.Name = "mx2.example.org"
	tr.Message(last)
	want := &doctor.Traffic{Messages: 9, Since: now.Add(-4 * time.Minute), Clients: 4, Top: netip.MustParseAddr("172.17.0.1"), TopCount: 6,
		Trusted: "trusted network", MTAName: "mx2.example.org", Version: "Postfix 3.7.11"}
	if d := cmp.Diff(want, tr.Evidence(now), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// Memory is bounded, and what came last counts.
func TestTrafficIsBounded(t *testing.T) {
	var tr Traffic
	for i := range 5 * keptMessages {
		ip := "172.17.0.1"
		if i >= 4*keptMessages+10 {
			ip = "192.0.2.1"
		}
		tr.Message(message(now, ip))
	}
	got := tr.Evidence(now)
	if got.Messages != keptMessages || got.TopCount != 10 || len(tr.ring) != keptMessages {
		t.Errorf("%+v", got)
	}
}

func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if got, err := Journal(dir, now); got != nil || err != nil {
		t.Errorf("without one: %+v, %v", got, err)
	}
	j, err := journal.New(journal.Config{Dir: dir, Keep: 48 * time.Hour, MaxFile: 1 << 20, MaxAll: 1 << 20, Queue: 100, Now: func() time.Time { return now },
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); j.Run(ctx) }()
	for range 30 {
		j.Message(message(now.Add(-time.Hour), "172.17.0.1"))
	}
	cancel() // it writes what waits
	<-done
	got, err := Journal(dir, now)
	if err != nil || got == nil || got.Messages != 30 || got.TopCount != 30 || !got.FromDisk {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Journal(dir, now.Add(48*time.Hour)); got != nil || err != nil {
		t.Errorf("days later: %+v, %v", got, err)
	}
}

func TestMacros(t *testing.T) {
	var m Macros
	for range 3 {
		m.Stage(mail.StageConnect, []string{"j", "v"})
	}
	m.Stage(mail.StageConnect, nil)
	m.Stage(mail.StageHeader, []string{"i"})
	want := []doctor.Macros{{Stage: "connect", Seen: 4, Missing: map[string]int{"j": 3, "v": 3}}, {Stage: "header", Seen: 1, Missing: map[string]int{"i": 1}}}
	if d := cmp.Diff(want, m.Evidence()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// Once the MTA is mended, what was before is forgotten.
	for range 3 * halve {
		m.Stage(mail.StageConnect, nil)
	}
	if got := m.Evidence()[0]; got.Seen >= halve || got.Missing["j"] != 0 {
		t.Errorf("%+v", got)
	}
}

// Rounds show each finding as long as it is there, all others as 0, and log what
// comes and goes.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "x"}, []string{"finding", "severity"})
		var log bytes.Buffer
		var rounds atomic.Int32
		r := Rounds{Gauge: gauge, Log: slog.New(slog.NewTextHandler(&log, nil)), Every: time.Minute, Gather: func(context.Context) doctor.Evidence {
			n := rounds.Add(1)
			e := doctor.Evidence{Now: time.Now(), Server: &doctor.Server{Pending: []string{"redis.url"}}}
			if n == 2 || n == 3 {
				e.Server.Reload = "bad"
			}
			return e
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		synctest.Wait()
		of := func(id string, s doctor.Severity) float64 {
			return testutil.ToFloat64(gauge.WithLabelValues(id, string(s)))
		}
		if n := testutil.CollectAndCount(gauge); n != len(doctor.Kinds()) || rounds.Load() != 0 {
			t.Errorf("%d series, %d rounds", n, rounds.Load())
		}
		for i, want := range []float64{0, 1, 1, 0, 0} {
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := of("reload-failed", doctor.Problem); got != want || rounds.Load() != int32(i+1) {
				t.Errorf("round %d of %d: %v", rounds.Load(), i+1, got)
			}
			if got := of("restart-needed", doctor.Info); got != 1 {
				t.Errorf("round %d: the note is %v", i+1, got)
			}
		}
		cancel()
		<-done
		if n := testutil.CollectAndCount(gauge); n != len(doctor.Kinds()) {
			t.Errorf("%d series", n)
		}
		text := log.String()
		if strings.Count(text, "\n") != 2 || !strings.Contains(text, "finding=reload-failed severity=problem") || !strings.Contains(text, "finds it no more") {
			t.Errorf("log:\n%s", text)
		}
	})
}
