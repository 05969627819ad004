package observe

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

var update = flag.Bool("update", false, "write the documents that are made from the code")

// described collects what is registered with it.
type described struct {
	prometheus.Registerer
	rows []row
}

type row struct{ name, kind, labels, help string }

var desc = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)", .*constLabels: \{\}, variableLabels: \{([^}]*)\}`)

func (d *described) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		d.rows = append(d.rows, rowOf(c))
	}
	d.Registerer.MustRegister(cs...)
}

func rowOf(c prometheus.Collector) row {
	ch := make(chan *prometheus.Desc, 1)
	c.Describe(ch)
	m := desc.FindStringSubmatch((<-ch).String())
	kind := "counter"
	switch c.(type) {
	case *prometheus.GaugeVec, prometheus.Gauge:
		kind = "gauge"
	case *prometheus.HistogramVec, prometheus.Histogram:
		kind = "histogram"
	}
	return row{m[1], kind, strings.ReplaceAll(m[3], ",", ", "), m[2]}
}

const (
	manual = "../../deploy/docs/metrics.md"
	begin  = "<!-- made by go test ./filter/observe -update -->\n"
	end    = "<!-- end -->\n"
)

// TestMetricsManual keeps the manual's table that of the code.
func TestMetricsManual(t *testing.T) {
	d := &described{Registerer: prometheus.NewRegistry()}
	New(d)
	table := "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
	for _, r := range d.rows {
		if !strings.HasSuffix(r.help, ".") {
			t.Errorf("%s: help %q is no sentence", r.name, r.help)
		}
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", r.name, r.kind, r.labels, r.help)
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", manual)
	}
	want := slices.Concat(before, []byte(begin+table+end), after)
	if *update {
		if err := os.WriteFile(manual, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s is not that of the code: go test ./filter/observe -update", manual)
	}
}

// used is a set of metrics each of which has a value.
func used() (*Metrics, *prometheus.Registry) {
	reg := prometheus.NewRegistry()
	m := New(reg)
	m.Refused.WithLabelValues("limit").Inc()
	m.Panics.WithLabelValues("mail").Inc()
	m.StageTook(mail.StageMail, time.Second)
	m.Message(everything())
	m.Check("spf", fact.Known, "pass", time.Second)
	m.greylist(fact.Is(fact.Greylist{Result: "pass", Delayed: time.Minute}))
	m.DNSQueries.WithLabelValues("TXT", "ok").Inc()
	m.DNSTime.WithLabelValues("127.0.0.1:53").Observe(1)
	m.DNSCache.WithLabelValues("hit").Inc()
	m.StoreOps.WithLabelValues("get", "ok").Inc()
	m.StoreTime.WithLabelValues("get").Observe(1)
	m.Degraded.WithLabelValues("dns").Set(1)
	m.ListEntries.WithLabelValues("l").Set(1)
	m.ListLoaded.WithLabelValues("l").Set(1)
	m.ListErrors.WithLabelValues("l").Inc()
	m.ListFetches.WithLabelValues("l", "ok").Inc()
	m.ListSuccess.WithLabelValues("l").Set(1)
	m.ListEvery.WithLabelValues("l").Set(1)
	m.DNSBLLookups.WithLabelValues("z", "clean").Inc()
	m.OwnListed.WithLabelValues("192.0.2.1", "z").Set(1)
	m.RateExceeded.WithLabelValues("per-user").Inc()
	m.RateDecisions.WithLabelValues("per-user", "within").Inc()
	m.Message(mtaSays("Postfix 3.7.11"))
	m.Build.WithLabelValues("1", "go").Set(1)
	m.Reloads.WithLabelValues("ok").Inc()
	m.Journal.WithLabelValues("written").Inc()
	m.Shared.WithLabelValues("shared").Inc()
	m.Doctor.WithLabelValues("client-nat", "problem").Set(1)
	return m, reg
}

func mtaSays(version string) *filter.Record {
	r := &filter.Record{}
	r.Facts.Conn.MTA.Version = version
	return r
}

// TestMetricNames holds the names to Prometheus's own rules.
func TestMetricNames(t *testing.T) {
	_, reg := used()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	d := &described{Registerer: prometheus.NewRegistry()}
	New(d)
	if len(all) != len(d.rows) {
		t.Errorf("%d of %d metrics were looked at", len(all), len(d.rows))
	}
}

func series(t *testing.T, c prometheus.Collector) int { return testutil.CollectAndCount(c) }

// TestLabelsAreBounded: what comes from outside never makes a new series for each
// of its values, and cannot break the counting.
func TestLabelsAreBounded(t *testing.T) {
	m := New(prometheus.NewRegistry())
	for i := range 1000 {
		m.Message(mtaSays(fmt.Sprintf("Sendmail %d\xff\n", i)))
		m.Check("spf", fact.Known, fmt.Sprintf("word %d", i), 0)
		m.greylist(fact.Is(fact.Greylist{Result: fmt.Sprint(i)}))
	}
	m.Message(mtaSays(strings.Repeat("é", 1000)))
	if n := series(t, m.MTA); n != maxVersions+1 {
		t.Errorf("%d versions", n)
	}
	if n := series(t, m.Checks) + series(t, m.Greylist); n != 2 {
		t.Errorf("%d results", n)
	}
	long := New(prometheus.NewRegistry())
	long.Message(mtaSays(strings.Repeat("é", 1000)))
	if got := testutil.ToFloat64(long.MTA.WithLabelValues(strings.Repeat("é", maxVersion/2))); got != 1 {
		t.Error("a long version is not cut")
	}
	for _, f := range fact.Fields() {
		for _, w := range f.Words {
			if m.word(w) != w {
				t.Errorf("%s is no result of %s", w, f.Name)
			}
		}
	}
}

func TestMessageIsCounted(t *testing.T) {
	m := New(prometheus.NewRegistry())
	r := everything()
	m.Message(r)
	r.Complete = true
	r.Facts.Txn.Rcpts = []mail.Address{mail.ParsePath("<e@d.example>")}
	m.Message(r)
	r.Decisions[1].Rcpt.Rates, r.Facts.Txn.Rates = fact.Is([]string{"per-user", "bytes"}), fact.Is([]string{"bytes"})
	m.Message(r)
	exempt := &filter.Record{Verdict: policy.Accept}
	exempt.Facts.Txn.Rcpts = make([]mail.Address, 3)
	m.Message(exempt)
	for name, c := range map[string]struct {
		got  prometheus.Collector
		want float64
	}{
		"messages":            {m.Messages.WithLabelValues("reject"), 3},
		"bytes of whole ones": {m.Bytes, 1800},
		"removed":             {m.Removed, 6},
		"deferred":            {m.Recipients.WithLabelValues("tempfail"), 3},
		"taken":               {m.Recipients.WithLabelValues("continue"), 3},
		"taken unasked":       {m.Recipients.WithLabelValues("accept"), 3},
		"rule":                {m.Rules.WithLabelValues("greylist", "tempfail", "enforce"), 3},
		"limit":               {m.RateExceeded.WithLabelValues("bytes"), 2},
		"would":               {m.Rules.WithLabelValues("try", "reject", "observe"), 3},
	} {
		if got := testutil.ToFloat64(c.got); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestChecksAreCounted(t *testing.T) {
	m := New(prometheus.NewRegistry())
	m.Check("spf", fact.Known, "pass", time.Second)
	m.Check("spf", fact.Failed, "", 0)
	if got := testutil.ToFloat64(m.Checks.WithLabelValues("spf", "known", "pass")) + 2*testutil.ToFloat64(m.Checks.WithLabelValues("spf", "failed", "")); got != 3 {
		t.Errorf("counted %v", got)
	}
	if n := series(t, m.CheckTime); n != 1 {
		t.Errorf("%d histograms", n)
	}
}

// TestNeverReturned: first contacts less first passes is what never came again.
func TestNeverReturned(t *testing.T) {
	m := New(prometheus.NewRegistry())
	for _, g := range []fact.Fact[fact.Greylist]{
		fact.Is(fact.Greylist{Result: "defer", Attempts: 1}),                           // a spammer
		fact.Is(fact.Greylist{Result: "defer", Attempts: 1}),                           // a server,
		fact.Is(fact.Greylist{Result: "defer", Attempts: 2}),                           // which comes too early,
		fact.Is(fact.Greylist{Result: "pass", Attempts: 3, Delayed: 10 * time.Minute}), // in time,
		fact.Is(fact.Greylist{Result: "pass", Attempts: 3}),                            // with more mail,
		fact.Is(fact.Greylist{Result: "known", Attempts: 1}),                           // and is known at last
		fact.Is(fact.Greylist{Result: "opted_out"}),
		fact.Fail[fact.Greylist]("down"), fact.Skip[fact.Greylist]("off"), {},
	} {
		r := &filter.Record{Decisions: []filter.Decided{{Recipient: "a@b.example", Rcpt: fact.Rcpt{Greylist: g}}}}
		m.Message(r)
	}
	null := &filter.Record{}
	null.Facts.Txn.Greylist = fact.Is(fact.Greylist{Result: "defer", Attempts: 1})
	m.Message(null)
	first, passed := testutil.ToFloat64(m.FirstContacts), testutil.ToFloat64(m.FirstPasses)
	if first != 3 || passed != 1 {
		t.Errorf("%v first contacts, %v passes", first, passed)
	}
	for result, want := range map[string]float64{"defer": 4, "pass": 2, "known": 1, "opted_out": 1, "failed": 1} {
		if got := testutil.ToFloat64(m.Greylist.WithLabelValues(result)); got != want {
			t.Errorf("%s: %v, want %v", result, got, want)
		}
	}
}
