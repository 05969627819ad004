// Package live keeps copies of lists that are edited while several servers use
// them, in a store that they share.
//
// The copy is immutable and always at hand: nobody waits for the store to look
// something up. It follows the store within a second: the store tells of edits,
// and is asked each second in case it did not. While the store is away the copy
// stays in force; it is saved to a file, so that it survives a restart as well. A
// store that has lost the list, as a Redis without persistence does when it is
// restarted, gets it back from the first copy that notices.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailwicket/filter/list/entry"
)

// Entry is one entry and what was noted when it was added.
type Entry struct {
	Entry   string    `json:"entry"` // as entry.Canonical gives it
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at,omitzero"`
	By      string    `json:"by,omitempty"`
}

// Store is where the lists are kept. Its methods may block until ctx ends and are
// safe for concurrent use.
type Store interface {
	// State tells two states of a list apart, cheaply. "" is a list that is not
	// there; one of which the last entry was removed is there.
	State(ctx context.Context, list string) (string, error)
	// Read gives all entries and a state that is theirs or older.
	Read(ctx context.Context, list string) (string, []Entry, error)
	// Edit puts entries in, or anew where they are there, takes others out, and
	// tells how many were not there and how many were.
	Edit(ctx context.Context, list string, put []Entry, remove []string) (added, removed int, err error)
	// Restore makes a list of these entries unless there is one.
	Restore(ctx context.Context, list string, entries []Entry) error
	// Watch calls edited when a list may have changed, until ctx ends. It is
	// allowed to miss edits.
	Watch(ctx context.Context, list string, edited func())
}

// Config describes one list.
type Config struct {
	Name string
	Kind entry.Kind
	File string // the saved copy; its directory is made where it is missing. "" saves nothing
}

// Times.
const (
	pollEvery = time.Second
	askLimit  = time.Second
	readLimit = 30 * time.Second
)

// List is one list. It is safe for concurrent use.
type List struct {
	c     Config
	store Store
	log   *slog.Logger
	now   func() time.Time

	running chan struct{} // held by the one Run that follows
	kick    chan struct{}
	saved   sync.Once // the saved copy has been looked for

	mu     sync.Mutex
	snap   *Snapshot // nil where there is none
	synced time.Time
	tried  time.Time
	err    error
}

// New makes a List. It does nothing yet. Without a store it is what was saved. A
// nil log discards; a nil now takes the clock.
func New(c Config, s Store, log *slog.Logger, now func() time.Time) *List {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &List{c: c, store: s, log: log, now: now, running: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
}

// Snapshot gives the copy, nil where there has never been one. The first time it
// reads the saved copy.
func (l *List) Snapshot() *Snapshot {
	l.saved.Do(l.load)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snap
}

// Status tells how the list stands.
type Status struct {
	LastSuccess time.Time // the copy was what the store holds; zero: not since the start
	LastTry     time.Time
	Err         error // of the last try
}

// Status tells how the list stands.
func (l *List) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{LastSuccess: l.synced, LastTry: l.tried, Err: l.err}
}

// Edit errors.
var (
	ErrNoStore = errors.New("no store is configured")
	ErrNothing = errors.New("no entries given")
	ErrTooLong = errors.New("comment or author longer than 500 bytes")
)

const maxComment = 500

// Add puts entries in, in any form that a file may hold them in, and tells how
// many are new. Those that are there get the new comment.
func (l *List) Add(ctx context.Context, entries []string, comment, by string) (added int, err error) {
	names, err := l.canonical(entries)
	if err != nil {
		return 0, err
	}
	comment, by = strings.TrimSpace(clean(comment)), strings.TrimSpace(clean(by))
	if len(comment) > maxComment || len(by) > maxComment {
		return 0, ErrTooLong
	}
	at := l.now().UTC().Truncate(time.Second)
	put := make([]Entry, len(names))
	for i, n := range names {
		put[i] = Entry{Entry: n, Comment: comment, At: at, By: by}
	}
	added, _, err = l.edit(ctx, put, nil)
	return added, err
}

// Remove takes entries out, in any form, and tells how many were there.
func (l *List) Remove(ctx context.Context, entries []string) (removed int, err error) {
	var names []string
	for _, text := range entries {
		all, err := entry.Canonical(l.c.Kind, text)
		if err != nil { // a broad entry may be removed by its bare name
			all, err = entry.Canonical(l.c.Kind, "="+strings.TrimSpace(text))
		}
		if at := strings.LastIndexByte(text, '@'); err != nil && at > 0 { // as it is shown: without quotes
			all, err = entry.Canonical(l.c.Kind, strconv.Quote(strings.TrimSpace(text[:at]))+text[at:])
		}
		if err != nil {
			all = nil
		}
		if names = append(names, all...); !slices.Contains(all, text) {
			names = append(names, text) // what somebody wrote into the store by hand
		}
	}
	if len(names) == 0 {
		return 0, ErrNothing
	}
	_, removed, err = l.edit(ctx, nil, names)
	return removed, err
}

// edit changes the store and makes the copy follow at once.
func (l *List) edit(ctx context.Context, put []Entry, remove []string) (added, removed int, err error) {
	if l.store == nil {
		return 0, 0, ErrNoStore
	}
	defer l.wake()
	// An edit of a list that was just lost would make a new one of it alone.
	state, err := l.store.State(ctx, l.c.Name)
	if err == nil {
		err = l.restore(ctx, state, l.Snapshot())
	}
	if err != nil {
		return 0, 0, err
	}
	return l.store.Edit(ctx, l.c.Name, put, remove)
}

func (l *List) canonical(entries []string) (names []string, err error) {
	var errs []error
	for _, text := range entries {
		all, err := entry.Canonical(l.c.Kind, text)
		errs, names = append(errs, err), append(names, all...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, ErrNothing
	}
	return names, nil
}

// wake makes the copy follow at once.
func (l *List) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Run follows the store until ctx ends, or returns at once where there is none. It
// calls told after the first try, after each that brought a new copy, and when
// errors begin or end. Of several Runs one works while the others wait for it to
// end.
func (l *List) Run(ctx context.Context, told func(error)) {
	if l.store == nil {
		return
	}
	select {
	case l.running <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-l.running }()
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() { l.store.Watch(ctx, l.c.Name, l.wake) })
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for first, well := true, false; ; first = false {
		changed, err := l.sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if first || changed || well != (err == nil) {
			told(err)
		}
		if changed { // after it is in force: disks are slow
			l.keep()
		}
		well = err == nil
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
		case <-tick.C:
		}
	}
}

// Sync brings the copy up to date once, and tells whether it is another one now.
// It is not for concurrent use with itself or Run. A try that ends with ctx leaves
// no trace.
func (l *List) Sync(ctx context.Context) (changed bool, err error) {
	if l.store == nil {
		return false, ErrNoStore
	}
	if changed, err = l.sync(ctx); changed {
		l.keep()
	}
	return changed, err
}

func (l *List) sync(ctx context.Context) (changed bool, err error) {
	have := l.Snapshot()
	next, err := l.follow(ctx, have)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	l.note(next, err)
	return err == nil && next != have, err
}

func (l *List) note(next *Snapshot, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried, l.err = l.now(), err
	if err == nil {
		l.synced, l.snap = l.tried, next
	}
}

// follow gives the store's state, or have where it is the same.
func (l *List) follow(ctx context.Context, have *Snapshot) (*Snapshot, error) {
	ask, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	state, err := l.store.State(ask, l.c.Name)
	if err != nil {
		return nil, err
	}
	if have != nil && have.State == state {
		return have, nil
	}
	read, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	if err := l.restore(read, state, have); err != nil {
		return nil, err
	}
	state, entries, err := l.store.Read(read, l.c.Name)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Entry, b.Entry) })
	return &Snapshot{State: state, Entries: entries}, nil
}

// restore gives the list back to a store that has lost it.
func (l *List) restore(ctx context.Context, state string, have *Snapshot) error {
	if state != "" || have == nil || have.State == "" {
		return nil
	}
	if err := l.store.Restore(ctx, l.c.Name, have.Entries); err != nil {
		return fmt.Errorf("restore the lost list: %w", err)
	}
	l.log.Warn("list was lost and is restored", slog.String("list", l.c.Name), slog.Int("entries", len(have.Entries)))
	return nil
}
