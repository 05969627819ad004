// Package list holds the named lists of domains, networks and addresses that
// the administrator gives, and looks names up in them.
//
// Each list is an immutable set behind an atomic pointer. It is read beside the
// old one and swapped whole, so that lookups never wait. What cannot be read or
// is not to be believed leaves the old set in force:
//
//   - a file of which more lines are bad than good;
//   - a file without a word in it where there were entries before: that is what
//     a full disk or a broken script leaves behind. Whoever wants an empty list
//     leaves a comment line in the file;
//   - a file that changed while it was read.
//
// Package entry tells which forms lines may have and what they match, package
// set how large the sets are and how often they err.
//
// Sources are files. A feed that is loaded over HTTP is a file too, once its
// last good copy lies on the disk.
package list

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwicket/filter/list/entry"
)

// Point names a place where lists are applied (lists: apply).
type Point string

// The points.
const (
	PointClient     Point = "client"
	PointHelo       Point = "helo"
	PointPTR        Point = "ptr"
	PointMailFrom   Point = "mail_from"
	PointRcpt       Point = "rcpt"
	PointHeaderFrom Point = "header_from"
	PointDKIM       Point = "dkim"
	PointLinks      Point = "links"
)

// Points gives all points in the order of an SMTP session.
func Points() []Point {
	return []Point{PointClient, PointHelo, PointPTR, PointMailFrom, PointRcpt, PointHeaderFrom, PointDKIM, PointLinks}
}

// Kind says what a list holds.
type Kind = entry.Kind

// The kinds.
const (
	Domain  = entry.Domain
	IP      = entry.IP
	Address = entry.Address
)

// Config describes one list. Names are distinct.
type Config struct {
	Name  string
	Kind  Kind
	File  string
	Apply []Point
}

// Observer looks on. It is called by Load and Watch, never by a lookup. Members
// may be nil.
type Observer struct {
	Loaded func(list string, entries, bad int, at time.Time)
	Failed func(list string, err error) // once for each new cause
}

// Options are what a Book needs beside the lists. The zero value works.
type Options struct {
	Log      *slog.Logger // nil discards
	Observer Observer
	Now      func() time.Time // nil takes the clock
	MaxBytes int64            // of a list, decompressed; 0 takes 2 GiB
}

// Book is all lists. Before the first Load they are empty. It is safe for
// concurrent use.
type Book struct {
	o     Options
	lists []*list
	at    map[Point][]*list

	mu sync.Mutex // held while lists are read, never by lookups
}

// list is one list with the set that is in force.
type list struct {
	Config
	src  source
	live atomic.Pointer[content] // nil before the first success

	tried version // the last one that was read, guarded by the Book's mutex
	err   atomic.Pointer[failure]
}

// failure is why the newest version of a list is not in force.
type failure struct{ err error }

// New makes a Book of empty lists.
func New(cfgs []Config, o Options) *Book {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 2 << 30
	}
	b := &Book{o: o, at: map[Point][]*list{}}
	for _, c := range cfgs {
		l := &list{Config: c, src: file(c.File)}
		b.lists = append(b.lists, l)
		for _, p := range c.Apply {
			if !slices.Contains(b.at[p], l) {
				b.at[p] = append(b.at[p], l)
			}
		}
	}
	return b
}

// Carry takes over from old the sets of lists that have the same name, kind and
// file, so that a reload of the configuration does not read them again. It is
// called before Load; old stays usable.
func (b *Book) Carry(old *Book) {
	if old == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lists {
		for _, o := range old.lists {
			if o.Name == l.Name && o.Kind == l.Kind && o.File == l.File {
				l.live.Store(o.live.Load())
			}
		}
	}
}

// BadLine is a line that could not be used.
type BadLine struct {
	Number int    `json:"number"`
	Text   string `json:"text"` // its beginning
	Why    string `json:"why"`
}

// Status tells how a list stands. All but Err is about the set in force.
type Status struct {
	Name     string    `json:"name"`
	Kind     Kind      `json:"kind"`
	Source   string    `json:"source"`
	Entries  int       `json:"entries"`
	Bad      int       `json:"bad"`                 // lines
	BadLines []BadLine `json:"bad_lines,omitempty"` // the first of them
	Loaded   time.Time `json:"loaded,omitzero"`     // zero: never
	Err      string    `json:"err,omitempty"`       // why the newest version is not in force
}

// Status tells how the lists stand, in the order of the configuration.
func (b *Book) Status() []Status {
	out := make([]Status, 0, len(b.lists))
	for _, l := range b.lists {
		s := Status{Name: l.Name, Kind: l.Kind, Source: l.src.name()}
		if c := l.live.Load(); c != nil {
			s.Entries, s.Bad, s.Loaded = c.entries, c.bad, c.loaded
			s.BadLines = append(s.BadLines, c.badLines...)
		}
		if f := l.err.Load(); f != nil {
			s.Err = f.err.Error()
		}
		out = append(out, s)
	}
	return out
}

// Watch looks every interval for lists that have changed, in place or by
// renaming, and reads them. It returns when ctx ends, or at once where the
// interval is not positive.
func (b *Book) Watch(ctx context.Context, interval time.Duration) {
	if interval <= 0 {
		return
	}
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
