package feed

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"mailwicket/filter/list/scan"
)

// Why a feed does not come.
var (
	ErrStatus    = errors.New("the server answers")
	ErrRedirects = errors.New("more than five redirects")
	ErrDowngrade = errors.New("redirected from https to http")
	ErrIdle      = errors.New("the server stopped sending")
	ErrSlow      = errors.New("the download took too long")
	ErrEncoding  = errors.New("unknown content encoding")
)

// Limits of one try.
const (
	connectLimit = 10 * time.Second
	headerLimit  = 30 * time.Second
	idleLimit    = 30 * time.Second
	fetchLimit   = 30 * time.Minute
	maxRedirects = 5
)

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: connectLimit}).DialContext,
		TLSHandshakeTimeout:    connectLimit,
		ResponseHeaderTimeout:  headerLimit,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // ours to undo: its size is limited
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
	}
}

func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return ErrRedirects
	}
	for _, v := range via {
		if v.URL.Scheme == "https" && r.URL.Scheme == "http" {
			return ErrDowngrade
		}
	}
	r.Header.Del("Referer") // the first URL may hold a secret
	return nil
}

// answer is what came of a try that did not fail.
type answer struct {
	changed            bool
	check              check
	size               int64
	hash               string
	etag, lastModified string
}

// trouble is an error with what the server said beside it.
type trouble struct {
	error
	retryAfter time.Duration
	refused    *int // entries of a version whose size is not believed
}

func (t *trouble) Unwrap() error { return t.error }

// Fetch makes one try now. It is not for concurrent use with itself or Run. A try
// that ends with ctx leaves no trace.
func (f *Feed) Fetch(ctx context.Context) Outcome {
	f.mu.Lock()
	f.remember()
	was := f.s
	f.mu.Unlock()
	start := f.o.Now()
	limited, cancel := context.WithTimeoutCause(ctx, fetchLimit, ErrSlow)
	defer cancel()
	a, err := f.fetch(limited, was)
	f.transport.CloseIdleConnections() // the next request is an hour away
	now := f.o.Now()
	if ctx.Err() != nil && !a.changed {
		return Outcome{Result: Failed, Err: ctx.Err(), Took: now.Sub(start)}
	}
	o := Outcome{Result: resultOf(a, err), Err: err, Took: now.Sub(start)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(a, &o, now)
	if o.Err != nil && f.s.Confirmed != was.Confirmed {
		f.s.Next = now // it was confirmed while it came
	}
	if err := f.save(); err != nil && o.Err == nil {
		o.Result, o.Err = Failed, fmt.Errorf("state of the feed: %w", err)
	}
	return o
}

func resultOf(a answer, err error) Result {
	switch {
	case err == nil && a.changed:
		return Fetched
	case err == nil:
		return Unchanged
	}
	for _, kind := range []error{ErrHTML, ErrEmpty, ErrShrunk, ErrGrown, ErrCanary, scan.ErrTooLarge, scan.ErrMostlyBad} {
		if errors.Is(err, kind) {
			return Refused
		}
	}
	return Failed
}

// note takes a try into the state. The caller holds the mutex.
func (f *Feed) note(a answer, o *Outcome, now time.Time) {
	f.s.Tried = now
	var retryAfter time.Duration
	if o.Err == nil {
		if a.changed {
			f.s.Size, f.s.Entries, f.s.Hash, f.s.FetchedAt = a.size, a.check.entries, a.hash, now
		}
		f.s.Checked = f.checks()
		f.s.ETag, f.s.LastModified = a.etag, a.lastModified
		f.s.Succeeded, f.s.Failures, f.s.Error = now, 0, ""
		f.s.Refused, f.s.Confirmed = nil, nil
	} else {
		f.s.Failures++
		f.s.Error = o.Err.Error()
		if t, ok := errors.AsType[*trouble](o.Err); ok {
			retryAfter = t.retryAfter
			f.s.Refused = cmp.Or(t.refused, f.s.Refused) // an answer of 500 does not undo a refusal
		}
	}
	f.s.Next = next(now, f.c.Every, *o, f.s.Failures, retryAfter, f.o.Sample())
}

// fetch asks for the feed and puts what came in place if it is good.
func (f *Feed) fetch(ctx context.Context, was state) (answer, error) {
	if err := CheckURL(f.c.URL); err != nil {
		return answer{}, err
	}
	if err := os.MkdirAll(f.c.Dir, 0o750); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := f.request(ctx, &was)
	if err != nil {
		return answer{}, err
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return answer{}, bare(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && r.Header.Get("If-None-Match")+r.Header.Get("If-Modified-Since") != "":
		return answer{etag: was.ETag, lastModified: was.LastModified}, nil
	case resp.StatusCode != http.StatusOK:
		return answer{}, &trouble{error: fmt.Errorf("%w %d %s", ErrStatus, resp.StatusCode, http.StatusText(resp.StatusCode)),
			retryAfter: retryAfter(resp.Header.Get("Retry-After"), f.o.Now())}
	}
	a, err := f.take(ctx, cancel, resp, was)
	if err != nil {
		return answer{}, bare(ctx, err)
	}
	a.etag, a.lastModified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	return a, nil
}

// request asks for what is newer than the copy (RFC 9110, 13.1), if it is there.
func (f *Feed) request(ctx context.Context, was *state) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.c.URL, nil)
	if err != nil {
		return nil, ErrURL
	}
	r.Header.Set("User-Agent", f.c.UserAgent)
	r.Header.Set("Accept", "text/plain, */*;q=0.5")
	r.Header.Set("Accept-Encoding", "gzip")
	if fi, err := os.Stat(f.Path()); err != nil || fi.Size() != was.Size {
		was.Hash = "" // somebody took the copy away
		return r, nil
	}
	if was.ETag != "" {
		r.Header.Set("If-None-Match", was.ETag)
	}
	if was.LastModified != "" {
		r.Header.Set("If-Modified-Since", was.LastModified)
	}
	return r, nil
}

// take reads a body to a file, checks it, and puts it in place.
func (f *Feed) take(ctx context.Context, cancel context.CancelCauseFunc, resp *http.Response, was state) (a answer, err error) {
	file, err := renameio.NewPendingFile(f.Path(), renameio.WithTempDir(f.c.Dir), renameio.WithPermissions(0o640))
	if err != nil {
		return a, err
	}
	defer file.Cleanup() // does nothing to a file that is in place
	body := &watched{in: resp.Body, t: time.AfterFunc(idleLimit, func() { cancel(ErrIdle) })}
	defer body.t.Stop()
	plain, err := decoded(scan.Capped(body, f.c.MaxBytes), resp.Header.Get("Content-Encoding"), f.c.MaxBytes)
	if err != nil {
		return a, err
	}
	hash, size := sha256.New(), counter(0)
	f.canaries.begin()
	tee := io.TeeReader(plain, io.MultiWriter(file, hash, &size))
	if err := a.check.read(ctx, tee, f.c.Kind, f.canaries); err != nil {
		return a, err
	}
	a.size, a.hash = int64(size), hex.EncodeToString(hash.Sum(nil))
	if a.hash == was.Hash && was.Checked == f.checks() {
		return a, nil
	}
	if err := f.judge(&a.check, was); err != nil {
		return a, err
	}
	if ctx.Err() != nil {
		return a, ctx.Err()
	}
	a.changed = true
	return a, file.CloseAtomicallyReplace()
}

// judge tells whether a version is to take the copy's place.
func (f *Feed) judge(c *check, was state) error {
	if err := c.fault(); err != nil {
		return err
	}
	if err := f.canaries.fault(); err != nil {
		return err
	}
	if f.c.Guard == GuardOff {
		return nil
	}
	var copied *int
	if was.Hash != "" {
		copied = &was.Entries
	}
	if err := sizeFault(c.entries, copied, was.Confirmed); err != nil {
		return &trouble{error: err, refused: &c.entries}
	}
	return nil
}

// decoded undoes the content coding and, after that, a compressed file. More than
// limit bytes of either end in an error.
func decoded(in io.Reader, encoding string, limit int64) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
	case "gzip", "x-gzip": // RFC 9110, 8.4.1.3
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = scan.Capped(z, limit)
	default:
		return nil, fmt.Errorf("%w %q", ErrEncoding, scan.Text([]byte(encoding)))
	}
	return scan.Plain(in, limit)
}

// watched is a body whose time limit begins anew with each byte.
type watched struct {
	in io.Reader
	t  *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.in.Read(p)
	if n > 0 {
		w.t.Reset(idleLimit)
	}
	return n, err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// bare gives the cause of a client's error without the URL.
func bare(ctx context.Context, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// retryAfter reads how long the server wants to be left alone (RFC 9110, 10.2.3),
// 0 where it says nothing that can be read.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
