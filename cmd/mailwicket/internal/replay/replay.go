// Package replay judges journalled messages under another policy and sums up
// what would change.
package replay

import (
	"cmp"
	"context"
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

// Report is what would change.
type Report struct {
	Messages  int      `json:"messages"`
	Decisions int      `json:"decisions"`
	Changed   int      `json:"changed"`
	Apart     int      `json:"apart"` // recipients who would be asked for in another message
	Skipped   int      `json:"skipped_lines"`
	Seconds   float64  `json:"seconds"`
	Changes   []Change `json:"changes"` // the most frequent first; "changed" is their sum
	Rules     []Count  `json:"rules"`   // of changed messages, under the new policy
	Senders   []Count  `json:"senders"` // of changed messages: envelope domains
	Lacking   []Count  `json:"lacking"` // what the new policy needs and records do not hold
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
func Run(ctx context.Context, p *policy.Policy, files []string, since time.Time, progress func(done, all int64)) (*Report, error) {
	start := time.Now()
	all, sizes := sizesOf(files)
	work := make(chan string)
	var workers sync.WaitGroup
	var mu sync.Mutex
	total, done, skipped := newTally(), int64(0), 0
	var failed error
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			own := newTally()
			for file := range work {
				n, err := journal.ReadFacts([]string{file}, since, func(r *filter.Record) error {
					own.add(r, filter.Replay(p, r))
					return ctx.Err()
				})
				mu.Lock()
				skipped += n
				if err != nil && failed == nil {
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
	r.Skipped, r.Seconds = skipped, time.Since(start).Seconds()
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
	messages, decisions, changed, apart int
	changes                             map[kind]*change
	rules, senders, lacking             map[string]int
}

func newTally() *tally {
	return &tally{changes: map[kind]*change{}, rules: map[string]int{}, senders: map[string]int{}, lacking: map[string]int{}}
}

func (t *tally) add(r *filter.Record, n filter.Replayed) {
	t.messages++
	t.decisions += n.Asked
	t.apart += n.Apart
	for _, what := range n.Lacking {
		t.lacking[what]++
	}
	if n.Verdict == r.Verdict {
		return
	}
	t.changed++
	c := t.of(kind{r.Verdict, n.Verdict})
	c.count++
	c.add(example{r.Start, r.Ref})
	rule := n.Rule
	if rule == "" {
		rule = "(none)"
	}
	t.rules[rule]++
	sender := "<>"
	if a := r.Facts.Txn.MailFrom; a.Known() && !a.Value.IsNull() {
		sender = a.Value.Domain
	}
	if _, ok := t.senders[sender]; ok || len(t.senders) < maxNames {
		t.senders[sender]++
	}
}

func (t *tally) of(k kind) *change {
	c := t.changes[k]
	if c == nil {
		c = &change{}
		t.changes[k] = c
	}
	return c
}

func (t *tally) join(o *tally) {
	t.messages, t.decisions, t.changed, t.apart = t.messages+o.messages, t.decisions+o.decisions, t.changed+o.changed, t.apart+o.apart
	for k, c := range o.changes {
		mine := t.of(k)
		mine.count += c.count
		mine.add(c.latest...)
	}
	for _, pair := range []struct{ to, from map[string]int }{{t.rules, o.rules}, {t.senders, o.senders}, {t.lacking, o.lacking}} {
		for k, n := range pair.from {
			pair.to[k] += n
		}
	}
}

func (t *tally) report() *Report {
	r := &Report{Messages: t.messages, Decisions: t.decisions, Changed: t.changed, Apart: t.apart,
		Rules: top(t.rules), Senders: top(t.senders), Lacking: top(t.lacking), Changes: []Change{}}
	for k, c := range t.changes {
		out := Change{Old: k[0], New: k[1], Count: c.count}
		for _, e := range c.latest {
			out.Examples = append(out.Examples, e.ref)
		}
		r.Changes = append(r.Changes, out)
	}
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return cmp.Or(b.Count-a.Count, int(a.Old)-int(b.Old), int(a.New)-int(b.New))
	})
	return r
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
