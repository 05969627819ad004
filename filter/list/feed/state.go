package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/google/renameio/v2"
)

// state is what is known of a feed and its copy, as it lies beside the copy.
type state struct {
	Format int `json:"format"`

	URL    string `json:"url_sha256"` // the URL may hold a secret
	Source string `json:"source"`

	// of the copy
	Size         int64     `json:"size"`
	Entries      int       `json:"entries"`
	Hash         string    `json:"sha256"`            // "" where there is no copy
	Checked      string    `json:"checked,omitempty"` // hash of the checks that it has passed
	FetchedAt    time.Time `json:"fetched_at,omitzero"`
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`

	// of the tries
	Succeeded time.Time `json:"succeeded,omitzero"`
	Tried     time.Time `json:"tried,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	Failures  int       `json:"failures,omitempty"` // since the last success
	Error     string    `json:"error,omitempty"`
	Refused   *int      `json:"refused_entries,omitempty"`   // of the version that the size guard refused
	Confirmed *int      `json:"confirmed_entries,omitempty"` // of the version that a person called right
}

const stateFormat = 1

// Waiting times.
const (
	firstRetry  = time.Minute
	longestTry  = 6 * time.Hour
	longestWait = 24 * time.Hour // that a server may ask for
)

// next gives the time of the next try: after Every if all is well, later each
// time if not, never before the server wants it, and with some chance in it
// so that feeds are not asked by all the world at once. sample is from [0,1).
func next(now time.Time, every time.Duration, o Outcome, failures int, retryAfter time.Duration, sample float64) time.Time {
	if o.Err == nil {
		return now.Add(scaled(every, 0.9+0.2*sample))
	}
	wait := firstRetry
	if o.Result == Refused { // seldom better in a minute, and it costs a download
		wait = every
	}
	for ; failures > 1 && wait < longestTry; failures-- {
		wait = min(2*wait, longestTry)
	}
	return now.Add(max(scaled(wait, 0.5+0.5*sample), min(retryAfter, longestWait)))
}

func scaled(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// longest is longer than any wait that next gives.
func longest(every time.Duration) time.Duration { return max(longestWait, 2*every) }

func (f *Feed) statePath() string { return f.Path() + ".json" }

func hashOf(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// remember reads the state that an earlier run left, once. Of a feed that has
// got another URL, the copy is kept until there is a better one, but it is no
// measure for the new one. The caller holds the mutex.
func (f *Feed) remember() {
	if f.read {
		return
	}
	f.read = true
	fresh := state{Format: stateFormat, URL: hashOf(f.c.URL), Source: f.Source()}
	f.s = fresh
	b, err := os.ReadFile(f.statePath())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.o.Log.Warn("state of feed not read", slog.String("list", f.c.Name), slog.String("err", err.Error()))
		}
		return
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil || s.Format != stateFormat || s.URL != fresh.URL {
		return
	}
	s.Source = fresh.Source
	if latest := s.Succeeded.Add(scaled(f.c.Every, 1.1)); s.Error == "" && s.Next.After(latest) {
		s.Next = latest // it was put off by a longer pace
	}
	if s.Checked != f.checks() {
		s.ETag, s.LastModified, s.Next = "", "", time.Time{} // a canary is new, say
	}
	f.s = s
}

// checks tells the checks of two configurations apart.
func (f *Feed) checks() string {
	return hashOf(fmt.Sprintf("%s %s %q", f.c.Kind, f.c.Guard, f.c.Canaries))
}

// save writes the state. The caller holds the mutex.
func (f *Feed) save() error {
	b, err := json.MarshalIndent(f.s, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(f.statePath(), append(b, '\n'), 0o640, renameio.WithTempDir(f.c.Dir))
}

// verify compares the copy with what is known of it. After a crash between the
// two writes, or damage to the disk, the copy is measured anew and fetched
// without a condition: "not modified" would keep it for ever.
func (f *Feed) verify(ctx context.Context) {
	f.mu.Lock()
	f.remember()
	want := f.s.Hash
	f.mu.Unlock()
	if want == "" {
		return // no copy, or that of another URL
	}
	got, err := hashFile(f.Path())
	if err == nil && got == want {
		return
	}
	c, size := check{}, int64(0)
	if h, openErr := os.Open(f.Path()); openErr == nil {
		_ = c.read(ctx, io.TeeReader(h, (*counter)(&size)), f.c.Kind, nil)
		h.Close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fetched := f.s.Entries; fetched > c.entries { // what damage left is no measure alone
		f.s.Confirmed = &fetched
	}
	f.s.ETag, f.s.LastModified, f.s.Hash = "", "", got
	f.s.Entries, f.s.Size, f.s.Next = c.entries, size, time.Time{}
	f.o.Log.Warn("copy of feed is not the one that was fetched", slog.String("list", f.c.Name),
		slog.String("file", f.Path()), slog.Int("entries", c.entries))
}

func hashFile(path string) (string, error) {
	h, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer h.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, h); err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
