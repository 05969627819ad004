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
// A list is a file, a feed that is fetched over HTTP (package feed), or kept in
// Redis and edited live (packages live and redislist). Of the latter two there is
// a copy on the disk, which is in force from the start on, so that nothing waits
// for a network.
package list

import (
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/feed"
	"mailwicket/filter/list/live"
	"mailwicket/filter/list/scan"
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

// Config describes one list. Names are distinct. Its source is one of File, URL
// and Redis.
type Config struct {
	Name  string
	Kind  Kind
	File  string
	URL   string // of a feed
	Redis bool   // kept in Options.Redis
	Apply []Point

	// Of feeds; zero values take the defaults of package feed.
	Every    time.Duration
	MaxBytes int64      // decompressed
	Guard    feed.Guard // GuardAll by default
	Canaries []string   // domains, addresses and networks that a feed must not list, beside the built-in ones

	Dir string // where the copies of feeds and of lists in Redis lie
}

// Observer looks on. It is called by Load and Watch, never by a lookup, and
// perhaps by several goroutines at once. Members may be nil.
type Observer struct {
	Loaded  func(list string, entries, bad int, at time.Time)
	Failed  func(list string, err error)                              // once for each new cause
	Fetched func(list string, result feed.Result, took time.Duration) // each try of a feed
	Source  func(list string, err error)                              // how a feed or Redis does: at first, and on each change; nil is well
}

// Options are what a Book needs beside the lists. The zero value works where no
// list is in Redis.
type Options struct {
	Log       *slog.Logger // nil discards
	Observer  Observer
	Now       func() time.Time // nil takes the clock
	MaxBytes  int64            // of a list, decompressed; 0 takes 2 GiB
	Redis     live.Store       // such as redislist.New gives
	UserAgent string           // towards feeds; "" takes the product's name
}

// Book is all lists. Before the first Load they are empty. It is safe for
// concurrent use.
type Book struct {
	o     Options
	lists []*list
	at    map[Point][]*list

	// Held while lists are read, never by lookups; edits for those in Redis, after mu.
	mu, edits sync.Mutex
}

// list is one list with the set that is in force.
type list struct {
	Config
	src    source
	feed   *feed.Feed              // of a list with a URL
	shared *live.List              // of one in Redis
	live   atomic.Pointer[content] // nil before the first success

	tried version // the last one that was read, guarded by the Book's mutexes
	err   atomic.Pointer[failure]

	trouble atomic.Pointer[failure] // of a feed or Redis; nil where nothing has been told
}

// failure is why the newest version of a list is not in force, or cannot be had.
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
		l := newList(c, o)
		b.lists = append(b.lists, l)
		for _, p := range c.Apply {
			if !slices.Contains(b.at[p], l) {
				b.at[p] = append(b.at[p], l)
			}
		}
	}
	return b
}

func newList(c Config, o Options) *list {
	l := &list{Config: c, src: file(c.File)}
	switch {
	case c.URL != "":
		l.feed = feed.New(feed.Config{Name: c.Name, Kind: c.Kind, URL: c.URL, Every: c.Every, MaxBytes: c.MaxBytes, Dir: c.Dir,
			Guard: c.Guard, Canaries: c.Canaries, UserAgent: o.UserAgent}, feed.Options{Log: o.Log, Now: o.Now})
		l.src = fetched{l.feed}
	case c.Redis:
		saved := ""
		if c.Dir != "" {
			saved = filepath.Join(c.Dir, feed.FileName(c.Name)+".redis.json")
		}
		l.shared = live.New(live.Config{Name: c.Name, Kind: c.Kind, File: saved}, o.Redis, o.Log, o.Now)
		l.src = shared{l.shared}
	}
	return l
}

// Carry takes over from old the sets of lists that have the same name, kind and
// source, so that a reload of the configuration does not read them again, nor ask
// for feeds anew. It is called before Load; old stays usable. Where both Books
// watch, a source is followed by one of them at a time: by b when old has ended.
func (b *Book) Carry(old *Book) {
	if old == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lists {
		for _, o := range old.lists {
			if l.sameSource(o, b.o.Redis == old.o.Redis) {
				l.live.Store(o.live.Load())
				l.err.Store(o.err.Load()) // so that its end is told
				l.adopt(o)
			}
		}
	}
}

func (l *list) sameSource(o *list, sameRedis bool) bool {
	return o.Name == l.Name && o.Kind == l.Kind && o.File == l.File && o.URL == l.URL && o.Redis == l.Redis && o.Dir == l.Dir &&
		(!l.Redis || sameRedis)
}

// adopt takes over what follows a source, unless it is set up in another way.
func (l *list) adopt(o *list) {
	switch {
	case l.feed != nil && o.feed.Like(l.feed):
		l.feed, l.src = o.feed, o.src
	case l.shared != nil:
		l.shared, l.src = o.shared, o.src
	}
}

// BadLine is a line that could not be used.
type BadLine = scan.BadLine

// Status tells how a list stands. What stands before Err is about the set in
// force.
type Status struct {
	Name     string    `json:"name"`
	Kind     Kind      `json:"kind"`
	Source   string    `json:"source"` // file, URL without login and parameters, or "redis"
	Entries  int       `json:"entries"`
	Bad      int       `json:"bad"`                 // lines
	BadLines []BadLine `json:"bad_lines,omitempty"` // the first of them
	Loaded   time.Time `json:"loaded,omitzero"`     // zero: never
	Err      string    `json:"err,omitempty"`       // why the newest version is not in force

	// Of feeds and lists in Redis.
	LastSuccess time.Time `json:"last_success,omitzero"` // the copy was up to date
	LastTry     time.Time `json:"last_try,omitzero"`
	NextTry     time.Time `json:"next_try,omitzero"` // of feeds
	LastError   string    `json:"last_error,omitempty"`
}

// Status tells how the lists stand, in the order of the configuration.
func (b *Book) Status() []Status {
	out := make([]Status, 0, len(b.lists))
	for _, l := range b.lists {
		out = append(out, l.status())
	}
	return out
}

func (l *list) status() Status {
	s := Status{Name: l.Name, Kind: l.Kind, Source: l.src.name()}
	if c := l.live.Load(); c != nil {
		s.Entries, s.Bad, s.Loaded = c.entries, c.Bad, c.loaded
		s.BadLines = append(s.BadLines, c.BadLines...)
	}
	if f := l.err.Load(); f != nil {
		s.Err = f.err.Error()
	}
	var last error
	switch {
	case l.feed != nil:
		st := l.feed.Status()
		s.LastSuccess, s.LastTry, s.NextTry, last = st.LastSuccess, st.LastTry, st.NextTry, st.Err
	case l.shared != nil:
		st := l.shared.Status()
		s.LastSuccess, s.LastTry, last = st.LastSuccess, st.LastTry, st.Err
	}
	if last != nil {
		s.LastError = last.Error()
	}
	return s
}
