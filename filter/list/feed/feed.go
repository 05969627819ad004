// Package feed keeps copies of lists that others publish over HTTP.
//
// A feed is downloaded to a file beside its last good copy, checked, and put in
// place in one step. Whatever is wrong with it leaves the old copy where it is:
// no answer, an error, an HTML page, a body that is empty or cut off or too large,
// lines that are mostly bad, a size that is less than half or more than twice
// that of the copy, or a name in it that must never be listed (a canary).
//
// Beside the copy lies a JSON file with what is known of it: the validators for
// conditional requests (RFC 9110, 13.1), size, entries and hash, and when to try
// again. So a restart neither waits for a feed nor asks for it sooner.
//
// Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY).
package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"mailwicket/filter/list/entry"
)

// Guard says which checks protect the copy beside those that are always made.
type Guard string

// The guards.
const (
	GuardAll  Guard = "all"  // size and canaries; the default
	GuardSize Guard = "size" // no canaries, as for a list of free mail providers
	GuardOff  Guard = "off"
)

// Limits and defaults of a Config.
const (
	DefaultEvery    = time.Hour
	MinEvery        = 5 * time.Minute
	DefaultMaxBytes = 256 << 20
)

// Config describes one feed. Zero values take the defaults.
type Config struct {
	Name      string
	Kind      entry.Kind
	URL       string
	Every     time.Duration
	MaxBytes  int64  // decompressed
	Dir       string // of the copy; it is made where it is missing
	Guard     Guard
	Canaries  []string // domains, addresses and networks, beside the built-in ones
	UserAgent string
}

// Options are what a Feed needs beside its Config. The zero value works.
type Options struct {
	Log    *slog.Logger     // nil discards
	Now    func() time.Time // nil takes the clock
	Sample func() float64   // chance from [0,1), nil draws it
}

// Result says how a try went.
type Result string

// The results.
const (
	Fetched   Result = "fetched"   // a new copy is in place
	Unchanged Result = "unchanged" // the copy is what the feed holds
	Refused   Result = "refused"   // what came is not to be believed
	Failed    Result = "failed"    // nothing came, or not all of it
)

// Outcome is one try.
type Outcome struct {
	Result Result
	Err    error // nil when fetched or unchanged
	Took   time.Duration
}

// Feed is one feed. It is safe for concurrent use.
type Feed struct {
	c         Config
	o         Options
	source    string
	canaries  *canaries
	client    *http.Client
	transport *http.Transport

	running chan struct{} // held by the one Run that fetches
	begun   bool          // what an earlier run of the program left has been looked at; Run's
	wake    chan struct{}

	mu   sync.Mutex
	s    state
	read bool // s has been read from the disk
}

// New makes a Feed. It does nothing yet.
func New(c Config, o Options) *Feed {
	if c.Every <= 0 {
		c.Every = DefaultEvery
	}
	c.Every = max(c.Every, MinEvery)
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.UserAgent == "" {
		c.UserAgent = "Mailwicket"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sample == nil {
		o.Sample = rand.Float64
	}
	f := &Feed{c: c, o: o, source: redacted(c.URL), canaries: newCanaries(c), transport: newTransport(),
		running: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	f.client = &http.Client{Transport: f.transport, CheckRedirect: checkRedirect}
	return f
}

// Path is where the copy lies.
func (f *Feed) Path() string { return filepath.Join(f.c.Dir, FileName(f.c.Name)+".feed") }

// Like tells whether two feeds are set up in the same way.
func (f *Feed) Like(g *Feed) bool { return reflect.DeepEqual(f.c, g.c) }

// FileName makes a file's name of a list's.
func FileName(list string) string {
	name := url.PathEscape(list)
	if strings.HasPrefix(name, ".") {
		return "%2E" + name[1:]
	}
	return name
}

// Source is the feed's URL without what may be secret in it: login and the
// values of parameters. The path is shown.
func (f *Feed) Source() string { return f.source }

func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "(not a URL)"
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.RawQuery != "" {
		var keys []string
		for part := range strings.SplitSeq(u.RawQuery, "&") {
			if key, _, ok := strings.Cut(part, "="); ok {
				keys = append(keys, key+"=...")
			} else { // a bare key may be the secret itself
				keys = append(keys, "...")
			}
		}
		u.RawQuery = strings.Join(keys, "&")
	}
	return u.String()
}

// ErrURL is a URL that is no feed's.
var ErrURL = errors.New("not the URL of a feed: want http:// or https:// and a host")

// CheckURL tells whether a feed can have this URL. The error does not quote it.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return ErrURL
	}
	return nil
}

// Status tells how a feed stands.
type Status struct {
	LastSuccess time.Time // the copy was what the feed holds; zero: never
	LastTry     time.Time
	NextTry     time.Time
	Err         error // of the last try
}

// Status tells how the feed stands. It reads what the last run of the program
// left behind.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remember()
	s := Status{LastSuccess: f.s.Succeeded, LastTry: f.s.Tried, NextTry: f.s.Next}
	if f.s.Error != "" {
		s.Err = errors.New(f.s.Error)
	}
	return s
}

// ErrNothingToConfirm is told where the size of a feed has not been refused.
var ErrNothingToConfirm = errors.New("nothing to confirm: the feed was not refused for its size")

// Confirm says that the size of the version that was refused is right, so that
// the next try, which is made at once, takes it: or a later version of about that
// size.
func (f *Feed) Confirm() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remember()
	if f.s.Refused == nil {
		return ErrNothingToConfirm
	}
	f.s.Confirmed, f.s.Next = f.s.Refused, f.o.Now()
	err := f.save()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return err
}

// Run fetches the feed at its pace, tells each outcome, and returns when ctx
// ends. Of several Runs one works while the others wait for it to end.
func (f *Feed) Run(ctx context.Context, told func(Outcome)) {
	select {
	case f.running <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-f.running }()
	if !f.begun {
		f.begun = true
		f.sweep()
		f.verify(ctx)
	}
	for f.wait(ctx) {
		o := f.Fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		told(o)
	}
}

// wait waits for the next try's time, and tells whether ctx goes on.
func (f *Feed) wait(ctx context.Context) bool {
	for {
		f.mu.Lock()
		left := f.s.Next.Sub(f.o.Now())
		f.mu.Unlock()
		// A clock that was set back must not put the try off for ever.
		t := time.NewTimer(min(left, longest(f.c.Every)))
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-f.wake:
			t.Stop()
		case <-t.C:
			return true
		}
	}
}

// sweep removes what a crash in the middle of a download left behind.
func (f *Feed) sweep() {
	f.mu.Lock() // Confirm's file is not left behind, but about to be renamed
	defer f.mu.Unlock()
	begin := "." + filepath.Base(f.Path())
	files, err := os.ReadDir(f.c.Dir)
	if err != nil {
		return // there is nothing yet
	}
	for _, e := range files {
		for _, b := range []string{begin + ".json", begin} {
			rest, ok := strings.CutPrefix(e.Name(), b)
			if ok && rest != "" && strings.Trim(rest, "0123456789") == "" {
				_ = os.Remove(filepath.Join(f.c.Dir, e.Name()))
			}
		}
	}
}
