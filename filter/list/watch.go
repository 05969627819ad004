package list

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mailwicket/filter/list/feed"
	"mailwicket/filter/list/live"
)

// Watch keeps the lists up to date until ctx ends: it fetches feeds at their
// pace, follows what is edited in Redis, and looks every interval for files that
// have changed, in place or by renaming; not for those where the interval is not
// positive.
func (b *Book) Watch(ctx context.Context, interval time.Duration) {
	var sources sync.WaitGroup
	defer sources.Wait()
	for _, l := range b.lists {
		switch {
		case l.feed != nil:
			sources.Go(func() { l.feed.Run(ctx, func(o feed.Outcome) { b.fetched(ctx, l, o) }) })
		case l.shared != nil:
			sources.Go(func() { l.shared.Run(ctx, func(err error) { b.followed(ctx, l, err) }) })
		}
	}
	if interval > 0 {
		b.watchFiles(ctx, interval)
	}
}

func (b *Book) watchFiles(ctx context.Context, interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = b.load(ctx, false) // told to log and observer
		}
	}
}

// fetched notes a try of a feed, and reads what it brought.
func (b *Book) fetched(ctx context.Context, l *list, o feed.Outcome) {
	if b.o.Observer.Fetched != nil {
		b.o.Observer.Fetched(l.Name, o.Result, o.Took)
	}
	b.followed(ctx, l, o.Err)
}

// followed notes how a feed or a list in Redis does, and reads what has changed.
func (b *Book) followed(ctx context.Context, l *list, err error) {
	if l.shared == nil {
		b.mu.Lock()
	}
	_ = b.current(ctx, l, false) // told to log and observer
	if l.shared == nil {
		b.mu.Unlock()
	}
	b.source(l, err)
}

// source tells how a feed or Redis does: the first time, and whenever that changes.
func (b *Book) source(l *list, cause error) {
	was := l.trouble.Swap(&failure{cause})
	if was != nil && (was.err == nil) == (cause == nil) && (cause == nil || was.err.Error() == cause.Error()) {
		return
	}
	switch {
	case cause != nil:
		cause = fmt.Errorf("list %q: %s: %w; %s", l.Name, l.src.name(), cause, l.remains())
		b.o.Log.Error("list source does not work", slog.String("list", l.Name), slog.String("err", cause.Error()))
	case was != nil:
		b.o.Log.Info("list source works again", slog.String("list", l.Name), slog.String("source", l.src.name()))
	}
	if b.o.Observer.Source != nil {
		b.o.Observer.Source(l.Name, cause)
	}
}

// Note is kept with entries that are added to a list.
type Note struct {
	Comment string // shown with each hit
	By      string // who adds them
}

// Kinds of errors of edits.
var (
	ErrNoList  = errors.New("there is no such list")
	ErrNotLive = errors.New("the list is not kept in Redis")
	ErrNotFeed = errors.New("the list is no feed")
)

// Add puts entries into a list that is kept in Redis, in any form that a file may
// hold them in, and tells how many are new. Those that are there get the new note.
// All are refused where one is no entry. Every server sees them within a second,
// b too.
func (b *Book) Add(ctx context.Context, list string, entries []string, n Note) (added int, err error) {
	l, err := b.editable(list)
	if err != nil {
		return 0, err
	}
	return l.Add(ctx, entries, n.Comment, n.By)
}

// Remove takes entries out of a list that is kept in Redis, and tells how many
// were there.
func (b *Book) Remove(ctx context.Context, list string, entries []string) (removed int, err error) {
	l, err := b.editable(list)
	if err != nil {
		return 0, err
	}
	return l.Remove(ctx, entries)
}

// Entries gives the entries in force of a list that is kept in Redis, in order.
// They are not to be changed.
func (b *Book) Entries(list string) ([]live.Entry, error) {
	l, err := b.editable(list)
	if err != nil {
		return nil, err
	}
	if s := l.Snapshot(); s != nil {
		return s.Entries, nil
	}
	return nil, nil
}

// Confirm says that the size for which a feed was refused is right, and fetches it
// at once where b watches.
func (b *Book) Confirm(list string) error {
	l, err := b.named(list)
	if err != nil {
		return err
	}
	if l.feed == nil {
		return fmt.Errorf("list %q: %w", list, ErrNotFeed)
	}
	if err := l.feed.Confirm(); err != nil {
		return fmt.Errorf("list %q: %w", list, err)
	}
	return nil
}

func (b *Book) editable(name string) (*live.List, error) {
	l, err := b.named(name)
	if err != nil {
		return nil, err
	}
	if l.shared == nil {
		return nil, fmt.Errorf("list %q: %w", name, ErrNotLive)
	}
	return l.shared, nil
}

func (b *Book) named(name string) (*list, error) {
	for _, l := range b.lists {
		if l.Name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("list %q: %w", name, ErrNoList)
}
