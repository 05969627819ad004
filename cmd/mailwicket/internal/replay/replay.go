// Package replay judges journalled messages under another policy and sums up
// what would change.
package replay

import (
	"cmp"
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/observe/journal"
	"mailwicket/policy"
)

// Report is what would change. A message whose verdict would change is counted as
// such; its recipients are counted where the verdict would stay and their answer
// at RCPT would not.
type Report struct {
	Messages  int      `json:"messages"`
	Decisions int      `json:"decisions"`
	Changed   int      `json:"changed"`
	Rcpts     int      `json:"changed_recipients"`
	Apart     int      `json:"apart"` // recipients who would be asked for in another message
	Skipped   int      `json:"skipped_lines"`
	Later     int      `json:"later_lines"` // of a later format
	Seconds   float64  `json:"seconds"`
	Changes   []Change `json:"changes"`           // the most frequent first; "changed" is their sum
	ByRcpt    []Change `json:"recipient_changes"` // likewise; continue is a recipient who is taken
	Rules     []Count  `json:"rules"`             // of changed messages and recipients, under the new policy
	Senders   []Count  `json:"senders"`           // likewise: envelope domains
	Lacking   []Count  `json:"lacking"`           // what the new policy needs and records do not hold
	Settings  []Count  `json:"settings"`          // what facts hang on and was otherwise when they were recorded; "" where that is not known
}

// Policy is what messages are judged by.
type Policy struct {
	*policy.Policy
	Settings string // as filter.Config has them
}

// Change is one kind of change.
type Change struct {
	Old      policy.Verdict `json:"old"`
	New      policy.Verdict `json:"new"`
	Count    int            `json:"count"`
	Examples Examples       `json:"examples"` // the latest
}

// Examples are references, for explain.
type Examples []string

// String gives them on one line.
func (e Examples) String() string { return strings.Join(e, " ") }

// Count is a name and how often it occurs.
type Count struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

const (
	maxExamples = 3
	maxTop      = 10
	maxNames    = 100_000 // sender domains counted
)

// Run judges the records of the files that are not older than since. progress is
// told the bytes done and all bytes now and then.
func Run(ctx context.Context, p Policy, files []string, since time.Time, progress func(done, all int64)) (*Report, error) {
	start := time.Now()
	all, sizes := sizesOf(files)
	work := make(chan string)
	var workers sync.WaitGroup
	var mu sync.Mutex
	total, done, skipped, newer := newTally(p.Settings), int64(0), 0, 0
	var failed error
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			own := newTally(p.Settings)
			for file := range work {
				n, err := journal.ReadFacts([]string{file}, since, func(r *filter.Record) error {
					own.add(r, filter.Replay(p.Policy, r))
					return ctx.Err()
				})
				mu.Lock()
				skipped += n
				var later *journal.LaterError
				switch {
				case errors.As(err, &later):
					newer += later.Lines
				case err != nil && failed == nil:
					failed = err
				}
				done += sizes[file]
				progress(done, all)
				mu.Unlock()
			}
			mu.Lock()
			total.join(own)
			mu.Unlock()
		})
	}
	for _, f := range files {
		work <- f
	}
	close(work)
	workers.Wait()
	if failed != nil {
		return nil, failed
	}
	r := total.report()
	r.Skipped, r.Later, r.Seconds = skipped, newer, time.Since(start).Seconds()
	return r, nil
}

func sizesOf(files []string) (all int64, sizes map[string]int64) {
	sizes = map[string]int64{}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			sizes[f] = st.Size()
			all += st.Size()
		}
	}
	return all, sizes
}

// kind is an old verdict and a new one.
type kind [2]policy.Verdict

// change counts one kind of change.
type change struct {
	count  int
	latest []example
}

// example is a message that would change. The latest are kept, so that the answer
// does not hang on which worker was quicker.
type example struct {
	start time.Time
	ref   string
}

func (c *change) add(more ...example) {
	c.latest = append(c.latest, more...)
	slices.SortFunc(c.latest, func(a, b example) int { return cmp.Or(b.start.Compare(a.start), strings.Compare(a.ref, b.ref)) })
	c.latest = c.latest[:min(len(c.latest), maxExamples)]
}

// tally counts for one worker.
type tally struct {
	messages, decisions, changed, rcpts, apart int
	changes, byRcpt                            map[kind]*change
	rules, senders, lacking, settings          map[string]int

	differ differ
}

func newTally(settings string) *tally {
	return &tally{changes: map[kind]*change{}, byRcpt: map[kind]*change{}, rules: map[string]int{}, senders: map[string]int{},
		lacking: map[string]int{}, settings: map[string]int{}, differ: newDiffer(settings)}
}

func (t *tally) add(r *filter.Record, n filter.Replayed) {
	t.messages++
	t.decisions += n.Asked
	t.apart += n.Apart
	for _, what := range n.Lacking {
		t.lacking[what]++
	}
	for _, what := range t.differ.names(r.Settings) {
		t.settings[what]++
	}
	switch {
	case n.Unsure():
	case n.Verdict != r.Verdict:
		t.changed++
		t.count(of(t.changes, kind{r.Verdict, n.Verdict}), r, n.Rule)
		t.sender(r)
	case len(n.Rcpts) > 0:
		for _, c := range n.Rcpts {
			t.rcpts++
			t.count(of(t.byRcpt, kind{c.Old, c.New}), r, c.Rule)
		}
		t.sender(r)
	}
}

func (t *tally) count(c *change, r *filter.Record, rule string) {
	c.count++
	c.add(example{r.Start, r.Ref})
	if rule == "" {
		rule = "(none)"
	}
	t.rules[rule]++
}

func (t *tally) sender(r *filter.Record) {
	sender := "<>"
	if a := r.Facts.Txn.MailFrom; a.Known() && !a.Value.IsNull() {
		sender = a.Value.Domain
	}
	if _, ok := t.senders[sender]; ok || len(t.senders) < maxNames {
		t.senders[sender]++
	}
}

func of(all map[kind]*change, k kind) *change {
	c := all[k]
	if c == nil {
		c = &change{}
		all[k] = c
	}
	return c
}

func (t *tally) join(o *tally) {
	t.messages, t.decisions, t.changed, t.apart = t.messages+o.messages, t.decisions+o.decisions, t.changed+o.changed, t.apart+o.apart
	t.rcpts += o.rcpts
	for _, pair := range []struct{ to, from map[kind]*change }{{t.changes, o.changes}, {t.byRcpt, o.byRcpt}} {
		for k, c := range pair.from {
			mine := of(pair.to, k)
			mine.count += c.count
			mine.add(c.latest...)
		}
	}
	for _, pair := range []struct{ to, from map[string]int }{{t.rules, o.rules}, {t.senders, o.senders}, {t.lacking, o.lacking}, {t.settings, o.settings}} {
		for k, n := range pair.from {
			pair.to[k] += n
		}
	}
}

func (t *tally) report() *Report {
	return &Report{Messages: t.messages, Decisions: t.decisions, Changed: t.changed, Rcpts: t.rcpts, Apart: t.apart,
		Changes: listed(t.changes), ByRcpt: listed(t.byRcpt),
		Rules: top(t.rules), Senders: top(t.senders), Lacking: top(t.lacking), Settings: top(t.settings)}
}

// listed gives the most frequent changes first.
func listed(changes map[kind]*change) []Change {
	all := make([]Change, 0, len(changes))
	for k, c := range changes {
		out := Change{Old: k[0], New: k[1], Count: c.count}
		for _, e := range c.latest {
			out.Examples = append(out.Examples, e.ref)
		}
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(b.Count-a.Count, int(a.Old)-int(b.Old), int(a.New)-int(b.New))
	})
	return all
}

// top gives the most frequent names.
func top(counts map[string]int) []Count {
	out := make([]Count, 0, len(counts))
	for name, n := range counts {
		out = append(out, Count{name, n})
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Name, b.Name)) })
	return out[:min(len(out), maxTop)]
}
