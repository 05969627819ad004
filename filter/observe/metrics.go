// Package observe looks on: it counts what the engine does for Prometheus and
// writes one log line for each message. It changes nothing.
package observe

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Metrics are all counters of the server. Label values come from fixed sets or
// from the configuration (rule, list and server names), never from mail.
type Metrics struct {
	Sessions      prometheus.Gauge
	SessionsTotal prometheus.Counter
	Refused       *prometheus.CounterVec // why
	Panics        *prometheus.CounterVec // stage
	Broken        prometheus.Counter
	Stage         *prometheus.HistogramVec
	Messages      *prometheus.CounterVec // verdict
	Bytes         prometheus.Counter
	Recipients    *prometheus.CounterVec // verdict
	Checks        *prometheus.CounterVec // check, state, result
	CheckTime     *prometheus.HistogramVec
	Rules         *prometheus.CounterVec // rule, verdict, mode
	Removed       prometheus.Counter
	Greylist      *prometheus.CounterVec // result
	FirstContacts prometheus.Counter
	FirstPasses   prometheus.Counter
	GreylistDelay prometheus.Histogram
	DNSQueries    *prometheus.CounterVec // type, result
	DNSTime       *prometheus.HistogramVec
	DNSCache      *prometheus.CounterVec // outcome
	StoreOps      *prometheus.CounterVec // op, result
	StoreTime     *prometheus.HistogramVec
	Degraded      *prometheus.GaugeVec // dependency
	ListEntries   *prometheus.GaugeVec // list
	ListLoaded    *prometheus.GaugeVec // list
	ListErrors    *prometheus.CounterVec
	ListFetches   *prometheus.CounterVec // list, result
	ListSuccess   *prometheus.GaugeVec   // list
	ListEvery     *prometheus.GaugeVec   // list
	DNSBLLookups  *prometheus.CounterVec // zone, outcome
	OwnListed     *prometheus.GaugeVec   // address, zone
	RateExceeded  *prometheus.CounterVec // limit
	RateDecisions *prometheus.CounterVec // limit, result
	MTA           *prometheus.GaugeVec   // version
	Build         *prometheus.GaugeVec
	ReloadOK      prometheus.Gauge
	ReloadTime    prometheus.Gauge
	Reloads       *prometheus.CounterVec
	Journal       *prometheus.CounterVec // result
	Shared        *prometheus.CounterVec // result
	Doctor        *prometheus.GaugeVec   // finding, severity

	words    map[string]bool // all results that checks can have
	versions versions
}

// latency covers a cached answer up to a stage's budget.
var latency = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// New makes the metrics and registers them.
func New(reg prometheus.Registerer) *Metrics {
	f := factory{reg}
	return &Metrics{
		words: resultWords(),

		Sessions:      f.gauge("sessions", "SMTP sessions that MTAs have open to us."),
		SessionsTotal: f.counter("sessions_total", "SMTP sessions opened."),
		Refused:       f.counters("refused_connections_total", "Connections of MTAs not served.", "why"),
		Panics:        f.counters("panics_total", "Callbacks that broke and were answered by on_error.", "stage"),
		Broken:        f.counter("broken_connections_total", "Connections of MTAs that broke off or broke the protocol."),
		Stage:         f.histograms("stage_duration_seconds", "Time to answer the MTA.", "stage"),
		Messages:      f.counters("messages_total", "Messages by final verdict.", "verdict"),
		Bytes:         f.counter("message_bytes_total", "Bytes of header and body of complete messages."),
		Recipients:    f.counters("recipients_total", "Recipients by verdict at RCPT; those of exempt messages are accepted.", "verdict"),
		Checks:        f.counters("checks_total", "Findings of checks.", "check", "state", "result"),
		CheckTime:     f.histograms("check_duration_seconds", "Time that checks took.", "check"),
		Rules:         f.counters("rules_total", "Decisions by rule; mode observe counts what would have been.", "rule", "verdict", "mode"),
		Removed:       f.counter("removed_headers_total", "Forged header fields removed."),
		Greylist:      f.counters("greylist_total", "Answers of the greylist.", "result"),
		FirstContacts: f.counter("greylist_first_contacts_total", "Deferrals of what was not seen before, by client identity, sender and recipient."),
		FirstPasses:   f.counter("greylist_first_passes_total", "Of those, what came again in time and was let through."),
		GreylistDelay: f.histogram("greylist_delay_seconds", "Delay that greylisting added to mail that came again.", []float64{60, 240, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400}),
		DNSQueries:    f.counters("dns_queries_total", "Questions sent to DNS servers.", "type", "result"),
		DNSTime:       f.histograms("dns_duration_seconds", "Time that DNS servers took.", "server"),
		DNSCache:      f.counters("dns_cache_total", "Lookups by cache outcome.", "outcome"),
		StoreOps:      f.counters("store_operations_total", "Operations on the shared store.", "op", "result"),
		StoreTime:     f.histograms("store_duration_seconds", "Time that the store took.", "op"),
		Degraded:      f.gauges("degraded", "1 while a dependency does not work.", "dependency"),
		ListEntries:   f.gauges("list_entries", "Entries of each list.", "list"),
		ListLoaded:    f.gauges("list_loaded_timestamp_seconds", "When each list was last read.", "list"),
		ListErrors:    f.counters("list_errors_total", "Lists that could not be read; the old one stays.", "list"),
		ListFetches:   f.counters("list_fetches_total", "Tries to fetch feeds.", "list", "result"),
		ListSuccess:   f.gauges("list_last_success_timestamp_seconds", "When each feed was last found good, changed or not.", "list"),
		ListEvery:     f.gauges("list_fetch_interval_seconds", "How often each feed is fetched.", "list"),
		DNSBLLookups:  f.counters("dnsbl_lookups_total", "Questions to DNS lists for messages.", "zone", "outcome"),
		OwnListed:     f.gauges("own_address_listed", "1 while a DNS list has an address of reputation.own_ips.", "address", "zone"),
		RateExceeded:  f.counters("rate_exceeded_total", "Recipients and messages that exceeded a limit.", "limit"),
		RateDecisions: f.counters("rate_decisions_total", "Decisions of each limit: within, exceeded, or error (nothing was counted).", "limit", "result"),
		MTA:           f.gauges("mta_info", "1 for each MTA version seen.", "version"),
		Build:         f.gauges("build_info", "1, labelled with our own build.", "version", "go"),
		ReloadOK:      f.gauge("config_last_reload_successful", "1 when the last configuration read was good."),
		ReloadTime:    f.gauge("config_last_reload_success_timestamp_seconds", "When a configuration was last taken."),
		Reloads:       f.counters("config_reloads_total", "Configuration reads.", "result"),
		Journal:       f.counters("journal_records_total", "Decisions journalled or dropped.", "result"),
		Shared:        f.counters("decisions_shared_total", "Decisions given to the other filters over Redis, or dropped.", "result"),
		Doctor:        f.gauges("doctor_findings", "1 while doctor finds it, 0 else; see doctor.md.", "finding", "severity"),
	}
}

type factory struct{ reg prometheus.Registerer }

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "mailwicket", Name: name, Help: help})
	f.reg.MustRegister(g)
	return g
}

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "mailwicket", Name: name, Help: help})
	f.reg.MustRegister(c)
	return c
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "mailwicket", Name: name, Help: help}, labels)
	f.reg.MustRegister(g)
	return g
}

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "mailwicket", Name: name, Help: help}, labels)
	f.reg.MustRegister(c)
	return c
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "mailwicket", Name: name, Help: help, Buckets: buckets})
	f.reg.MustRegister(h)
	return h
}

func (f factory) histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "mailwicket", Name: name, Help: help, Buckets: latency}, labels)
	f.reg.MustRegister(h)
	return h
}

// Message counts a finished message (filter.Observer).
func (m *Metrics) Message(r *filter.Record) {
	m.Messages.WithLabelValues(r.Verdict.String()).Inc()
	m.Removed.Add(float64(len(r.Removed)))
	if r.Complete {
		m.Bytes.Add(float64(r.Facts.Txn.Size.Value))
	}
	if v := m.versions.label(r.Facts.Conn.MTA.Version); v != "" {
		m.MTA.WithLabelValues(v).Set(1)
	}
	accepted := 0
	for i := range r.Decisions {
		d := &r.Decisions[i]
		m.rules(d)
		if d.Recipient != "" {
			m.Recipients.WithLabelValues(d.Verdict.String()).Inc()
			m.greylist(d.Rcpt.Greylist)
			m.rates(d.Rcpt.Rates)
			if d.Verdict != policy.Tempfail && d.Verdict != policy.Reject {
				accepted++
			}
		}
	}
	if exempt := len(r.Facts.Txn.Rcpts) - accepted; exempt > 0 {
		m.Recipients.WithLabelValues(policy.Accept.String()).Add(float64(exempt))
	}
	m.greylist(r.Facts.Txn.Greylist)
	m.rates(r.Facts.Txn.Rates)
}

func (m *Metrics) rules(d *filter.Decided) {
	if d.Rule != "" {
		m.Rules.WithLabelValues(d.Rule, d.Verdict.String(), policy.Enforce.String()).Inc()
	}
	for _, w := range d.Would {
		m.Rules.WithLabelValues(w.Rule, w.Verdict.String(), policy.Observe.String()).Inc()
	}
}

// rates counts by limit: their names are the configuration's.
func (m *Metrics) rates(f fact.Fact[[]string]) {
	for _, name := range f.Value {
		m.RateExceeded.WithLabelValues(name).Inc()
	}
}

// greylist counts an answer. What never came again is the difference of first
// contacts and first passes.
func (m *Metrics) greylist(f fact.Fact[fact.Greylist]) {
	switch f.State {
	case fact.Known:
		g := f.Value
		m.Greylist.WithLabelValues(m.word(g.Result)).Inc()
		switch {
		case g.Result == "defer" && g.Attempts == 1:
			m.FirstContacts.Inc()
		case g.Result == "pass" && g.Delayed > 0:
			m.FirstPasses.Inc()
			m.GreylistDelay.Observe(g.Delayed.Seconds())
		}
	case fact.Failed:
		m.Greylist.WithLabelValues("failed").Inc()
	}
}

// Check counts a finding (filter.Observer).
func (m *Metrics) Check(name string, st fact.State, result string, took time.Duration) {
	m.Checks.WithLabelValues(name, st.String(), m.word(result)).Inc()
	if took > 0 {
		m.CheckTime.WithLabelValues(name).Observe(took.Seconds())
	}
}

// ForgetList drops the series of a list that is there no more.
func (m *Metrics) ForgetList(name string) {
	for _, v := range []*prometheus.GaugeVec{m.ListEntries, m.ListLoaded} {
		v.DeleteLabelValues(name)
	}
	m.ListErrors.DeleteLabelValues(name)
	m.ForgetFeed(name)
}

// ForgetFeed drops the series of a list that is no feed any more.
func (m *Metrics) ForgetFeed(name string) {
	m.ListSuccess.DeleteLabelValues(name)
	m.ListEvery.DeleteLabelValues(name)
	m.ListFetches.DeletePartialMatch(prometheus.Labels{"list": name})
}

// StageTook notes the time of an answer.
func (m *Metrics) StageTook(s mail.Stage, took time.Duration) {
	m.Stage.WithLabelValues(s.String()).Observe(took.Seconds())
}

// other stands for all label values beyond those that are expected.
const other = "other"

// resultWords are the words of the facts' table, and those of list checks.
func resultWords() map[string]bool {
	words := map[string]bool{"": true, "listed": true, "clean": true}
	for _, f := range fact.Fields() {
		for _, w := range f.Words {
			words[w] = true
		}
	}
	return words
}

// word keeps a text that is no result word from becoming a label value.
func (m *Metrics) word(result string) string {
	if !m.words[result] {
		return other
	}
	return result
}

const (
	maxVersions = 20
	maxVersion  = 64 // bytes
)

// versions bounds the MTA versions that become label values: macro v is what the
// peer says. The zero value is ready; it is safe for concurrent use.
type versions struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (v *versions) label(version string) string {
	if version == "" {
		return ""
	}
	version = strings.ToValidUTF8(fact.Clean(version[:min(len(version), maxVersion)]), "")
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen[version] {
		return version
	}
	if len(v.seen) >= maxVersions {
		return other
	}
	if v.seen == nil {
		v.seen = map[string]bool{}
	}
	v.seen[version] = true
	return version
}
