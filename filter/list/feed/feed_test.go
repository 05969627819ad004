package feed

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/scan"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("FEED_TEST_FETCH"); url != "" { // the child of TestKilledWhileFetching
		f := New(Config{Name: "l", Kind: entry.Domain, URL: url, Dir: os.Getenv("FEED_TEST_DIR")}, Options{})
		f.Run(context.Background(), func(Outcome) {})
		return
	}
	goleak.VerifyTestMain(m)
}

// site is a server, at example.com in plain and with TLS, and what it was asked.
type site struct {
	mu      sync.Mutex
	handler http.HandlerFunc
	asked   []*http.Request
	at      []time.Time

	plain, secure *pipes
	tls           *tls.Config
}

func (s *site) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *site) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked, s.at = append(s.asked, r), append(s.at, time.Now())
	h := s.handler
	s.mu.Unlock()
	h(w, r)
}

// certificate is a server's for example.com, with a client that trusts it.
var certificate = sync.OnceValues(func() (server, client *tls.Config) {
	ts := httptest.NewTLSServer(http.NotFoundHandler())
	defer ts.Close()
	return ts.TLS, ts.Client().Transport.(*http.Transport).TLSClientConfig
})

func newSite(t *testing.T, h http.HandlerFunc) *site { return startSite(t, h, false) }

func startSite(t *testing.T, h http.HandlerFunc, http2 bool) *site {
	server, client := certificate()
	s := &site{handler: h, plain: newPipes(), secure: newPipes(), tls: client.Clone()}
	var serving sync.WaitGroup
	var servers []*http.Server
	serve := func(how func(*http.Server) error) {
		srv := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: server.Clone(), Protocols: new(http.Protocols)}
		srv.TLSConfig.NextProtos = nil
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(http2)
		servers = append(servers, srv)
		serving.Go(func() { _ = how(srv) })
	}
	serve(func(srv *http.Server) error { return srv.Serve(s.plain) })
	serve(func(srv *http.Server) error { return srv.ServeTLS(s.secure, "", "") })
	t.Cleanup(func() {
		for _, srv := range servers {
			srv.Close()
		}
		serving.Wait()
		time.Sleep(time.Hour) // in the bubble: both ends of a connection may wait with their last words
	})
	return s
}

// feed makes a feed of the site.
func (s *site) feed(dir string, change func(*Config)) *Feed {
	c := Config{Name: "l", Kind: entry.Domain, URL: "https://user:secret@example.com/list?key=secret", Dir: dir, MaxBytes: 1 << 20}
	if change != nil {
		change(&c)
	}
	f := New(c, Options{Sample: func() float64 { return 0.5 }})
	f.transport.Proxy = nil
	f.transport.TLSClientConfig = s.tls.Clone()
	f.transport.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		if strings.HasSuffix(addr, ":80") {
			return s.plain.dial(ctx)
		}
		return s.secure.dial(ctx)
	}
	return f
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, "an.example\n")
	}
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "n%d.example\n", i)
	}
	return b.String()
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

func encoded(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		text(s)(w, r)
	}
}

// cut promises more bytes than it sends.
func cut(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(s)+1))
		io.WriteString(w, s)
	}
}

// chunked ends a chunked body without its end.
func chunked(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, s)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// hops redirects n times before it answers.
func hops(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if n--; n < 0 {
			text(names(90))(w, r)
			return
		}
		http.Redirect(w, r, fmt.Sprintf("/%d", n), http.StatusMovedPermanently)
	}
}

// slow sends a line at a pace, and stops for good after n of them.
func slow(n int, pace time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := range n {
			fmt.Fprintf(w, "n%d.example\n", i)
			w.(http.Flusher).Flush()
			if i+1 < n {
				time.Sleep(pace)
			}
		}
		if n < 90 {
			<-r.Context().Done()
		}
	}
}

const html = "<!DOCTYPE html>\n<html><head><title>Not found</title></head>\n<body>\n<p>Sorry</p>\n</body></html>\n"

func TestFetch(t *testing.T) {
	good := names(100)
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		change func(*Config)
		result Result
		kind   error
		text   string
		copy   string // "": the old one
	}{
		{name: "new", h: text(names(90)), result: Fetched, copy: names(90)},
		{name: "the same", h: text(good), result: Unchanged},
		{name: "half", h: text(names(50)), result: Fetched, copy: names(50)},
		{name: "double", h: text(names(200)), result: Fetched, copy: names(200)},
		{name: "encoded", h: encoded(zipped(names(90))), result: Fetched, copy: names(90)},
		{name: "a compressed file", h: text(zipped(names(90))), result: Fetched, copy: names(90)},
		{name: "an encoded compressed file", h: encoded(zipped(zipped(names(90)))), result: Fetched, copy: names(90)},
		{name: "some bad lines", h: text(names(60) + strings.Repeat("<p>\n", 60)), result: Fetched, copy: names(60) + strings.Repeat("<p>\n", 60)},
		{name: "five redirects", h: hops(5), result: Fetched, copy: names(90)},
		{name: "slow but steady", h: slow(95, 10*time.Second), result: Fetched, copy: names(95)},

		{name: "404", h: status(404), result: Failed, kind: ErrStatus, text: "404 Not Found"},
		{name: "500", h: status(500), result: Failed, kind: ErrStatus, text: "500 Internal"},
		{name: "204", h: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, result: Failed, kind: ErrStatus, text: "204"},
		{name: "304 unasked", h: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, result: Failed, kind: ErrStatus, text: "304"},
		{name: "six redirects", h: hops(6), result: Failed, kind: ErrRedirects},
		{name: "a loop", h: redirect("/again"), result: Failed, kind: ErrRedirects},
		{name: "downgrade", h: redirect("http://example.com/list"), result: Failed, kind: ErrDowngrade},
		{name: "other scheme", h: redirect("file:///etc/passwd"), result: Failed, text: "unsupported protocol"},
		{name: "cut", h: cut(names(90)), result: Failed, kind: io.ErrUnexpectedEOF},
		{name: "cut in chunks", h: chunked(names(90)), result: Failed, kind: io.ErrUnexpectedEOF},
		{name: "cut gzip", h: text(zipped(names(90))[:100]), result: Failed, kind: io.ErrUnexpectedEOF},
		{name: "cut encoding", h: encoded(zipped(names(90))[:100]), result: Failed, kind: io.ErrUnexpectedEOF},
		{name: "gzip without its sum", h: encoded(zipped(names(90))[:len(zipped(names(90)))-8]), result: Failed, kind: io.ErrUnexpectedEOF},
		{name: "not gzip", h: encoded(names(90)), result: Failed, kind: gzip.ErrHeader},
		{name: "other encoding", h: status(200, "Content-Encoding", "br"), result: Failed, kind: ErrEncoding},
		{name: "stall before the header", h: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, result: Failed, text: "timeout awaiting response headers"},
		{name: "stall in the body", h: slow(20, time.Second), result: Failed, kind: ErrIdle},
		{name: "too slow", h: slow(100, 25*time.Second), result: Failed, kind: ErrSlow},

		{name: "empty", h: text(""), result: Refused, kind: ErrEmpty},
		{name: "blank", h: text("\r\n\n \n"), result: Refused, kind: ErrEmpty},
		{name: "empty gzip", h: encoded(zipped("")), result: Refused, kind: ErrEmpty},
		{name: "HTML", h: text(html), result: Refused, kind: ErrHTML},
		{name: "HTML that is full of names", h: text("<html>\n" + names(90)), result: Refused, kind: ErrHTML},
		{name: "mostly bad", h: text(names(60) + strings.Repeat("[x]\n", 61)), result: Refused, kind: scan.ErrMostlyBad, text: `line 61: "[x]"`},
		{name: "another kind of list", h: text(strings.Repeat("192.0.2.1\n", 90)), result: Refused, kind: scan.ErrMostlyBad},
		{name: "bomb", h: encoded(zipped(strings.Repeat("#\n", 1<<20))), result: Refused, kind: scan.ErrTooLarge},
		{name: "bomb in a file", h: text(zipped(strings.Repeat("#\n", 1<<20))), result: Refused, kind: scan.ErrTooLarge},
		{name: "bomb in a bomb", h: encoded(zipped(zipped(strings.Repeat("#\n", 1<<20)))), result: Refused, kind: scan.ErrTooLarge},
		{name: "endless", h: func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, "n%d.example\n", i); err != nil {
					return
				}
			}
		}, result: Refused, kind: scan.ErrTooLarge},
		{name: "less than half", h: text(names(49)), result: Refused, kind: ErrShrunk, text: "49, the copy in force has 100"},
		{name: "no entry left", h: text("# none\n"), result: Refused, kind: ErrShrunk},
		{name: "ten-fold", h: text(names(1000)), result: Refused, kind: ErrGrown, text: "1000, the copy in force has 100"},
		{name: "ten-fold unguarded", h: text(names(1000)), change: func(c *Config) { c.Guard = GuardOff }, result: Fetched, copy: names(1000)},
		{name: "canary", h: text(names(99) + "Gmail.com # oops\n"), result: Refused, kind: ErrCanary, text: "gmail.com, in line 100 as gmail.com"},
		{name: "own canary", h: text(names(99) + "*.example.org\n"), change: func(c *Config) { c.Canaries = []string{"mail.example.org"} },
			result: Refused, kind: ErrCanary, text: "mail.example.org, in line 100 as example.org"},
		{name: "canary unguarded", h: text(names(98) + "gmail.com\n"), change: func(c *Config) { c.Guard = GuardSize }, result: Fetched, copy: names(98) + "gmail.com\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "feeds")
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, text(good))
				f := s.feed(dir, c.change)
				if o := f.Fetch(t.Context()); o.Result != Fetched || o.Err != nil {
					t.Fatal("first: ", o)
				}
				time.Sleep(time.Hour)
				s.set(c.h)
				o := f.Fetch(t.Context())
				if o.Result != c.result || c.kind != nil && !errors.Is(o.Err, c.kind) || (o.Err == nil) != (c.kind == nil && c.text == "") {
					t.Fatal(o)
				}
				if o.Err != nil && (!strings.Contains(o.Err.Error(), c.text) || strings.Contains(o.Err.Error(), "secret")) {
					t.Error(o.Err)
				}
				if c.copy == "" {
					c.copy = good
				}
				expectCopy(t, f, c.copy)
				if st := f.Status(); st.LastTry != time.Now() || (st.LastSuccess == st.LastTry) != (o.Err == nil) || (st.Err == nil) != (o.Err == nil) {
					t.Errorf("%+v", st)
				}
				expectFiles(t, dir, "l.feed", "l.feed.json")
			})
		})
	}
}

// With HTTP/2 a stall is noticed as well.
func TestHTTP2(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		result Result
		text   string
	}{
		{"new", text(names(90)), Fetched, ""},
		{"encoded", encoded(zipped(names(90))), Fetched, ""},
		{"stall before the header", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Failed, "timeout awaiting response headers"},
		{"stall in the body", slow(20, time.Second), Failed, ErrIdle.Error()},
		{"cut", chunked(names(90)), Failed, "stream error"},
		{"a loop", redirect("/again"), Failed, ErrRedirects.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := startSite(t, c.h, true)
				o := s.feed(dir, nil).Fetch(t.Context())
				if o.Result != c.result || o.Err != nil && !strings.Contains(o.Err.Error(), c.text) {
					t.Error(o)
				}
				if r := s.requests(); len(r) == 0 || r[0].ProtoMajor != 2 {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

func expectCopy(t *testing.T, f *Feed, want string) {
	t.Helper()
	got, err := os.ReadFile(f.Path())
	if err != nil || string(got) != want {
		t.Errorf("the copy has %d bytes, want %d: %v", len(got), len(want), err)
	}
}

func expectFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		got = append(got, f.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestFirstCopy(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		change func(*Config)
		result Result
		text   string
	}{
		{"of any size", text(names(1000)), nil, Fetched, ""},
		{"without an entry", text("# nothing today\n"), nil, Fetched, ""},
		{"HTML", text(html), nil, Refused, "an HTML page"},
		{"canary", text("outlook.com\n"), nil, Refused, "outlook.com"},
		{"not a URL", nil, func(c *Config) { c.URL = "example.com/secret" }, Failed, ErrURL.Error()},
		{"no directory", nil, func(c *Config) { c.Dir = "/dev/null/x" }, Failed, "not a directory"},
		{"no TLS", nil, func(c *Config) { c.URL = "https://example.com:80/" }, Failed, "HTTP response to HTTPS client"},
		{"a name that is not the certificate's", nil, func(c *Config) { c.URL = "https://other.test/" }, Failed, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				f := newSite(t, c.h).feed(dir, c.change)
				o := f.Fetch(t.Context())
				if o.Result != c.result || o.Err != nil && !strings.Contains(o.Err.Error(), c.text) || o.Err == nil && c.text != "" {
					t.Error(o)
				}
				if _, err := os.Stat(f.Path()); (err == nil) != (o.Err == nil) {
					t.Error(err)
				}
			})
		})
	}
	t.Run("untrusted", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			f := newSite(t, text(names(3))).feed(dir, nil)
			f.transport.TLSClientConfig = nil
			if o := f.Fetch(t.Context()); o.Result != Failed || !strings.Contains(o.Err.Error(), "certificate") {
				t.Error(o)
			}
		})
	})
	t.Run("unreachable", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, text(names(3)))
			s.secure.Close()
			if o := s.feed(dir, nil).Fetch(t.Context()); o.Result != Failed || !errors.Is(o.Err, net.ErrClosed) {
				t.Error(o)
			}
		})
	})
}

func TestRequest(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
			if r.Header.Get("If-None-Match") == `"v1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			text(names(3))(w, r)
		}
		s := newSite(t, h)
		f := s.feed(dir, func(c *Config) { c.UserAgent = "Mailwicket/1" })
		for i, want := range []struct {
			before    func()
			result    Result
			condition string
		}{
			{nil, Fetched, ""},
			{nil, Unchanged, `"v1"`},
			{nil, Unchanged, `"v1"`},
			{func() { f = s.feed(dir, nil) }, Unchanged, `"v1"`}, // after a restart
			{func() { os.Remove(f.Path()) }, Fetched, ""},
			{func() { os.WriteFile(f.Path(), []byte("cut"), 0o600) }, Fetched, ""},
			{func() { f = s.feed(dir, func(c *Config) { c.URL = "https://example.com/other" }) }, Fetched, ""},
		} {
			if want.before != nil {
				want.before()
			}
			o := f.Fetch(t.Context())
			r := s.requests()[i]
			if o.Result != want.result || r.Header.Get("If-None-Match") != want.condition ||
				(r.Header.Get("If-Modified-Since") == "Sat, 01 Jan 2000 00:00:00 GMT") != (want.condition != "") {
				t.Errorf("%d: %v, %v", i, o, r.Header)
			}
			expectCopy(t, f, names(3))
		}
		r := s.requests()[0]
		user, password, _ := r.BasicAuth()
		if r.UserAgent() != "Mailwicket/1" || r.Header.Get("Accept-Encoding") != "gzip" || user != "user" || password != "secret" || r.URL.RawQuery != "key=secret" {
			t.Errorf("%+v", r)
		}
		b, _ := os.ReadFile(f.statePath())
		if strings.Contains(string(b), "secret") {
			t.Errorf("%s", b)
		}
	})
}

// Secrets of the first URL are not for those it redirects to.
func TestRedirectsTellNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		s.set(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "example.com" {
				http.Redirect(w, r, "https://other.example.com/list", http.StatusFound)
				return
			}
			text(names(3))(w, r)
		})
		if o := s.feed(dir, nil).Fetch(t.Context()); o.Result != Fetched {
			t.Fatal(o)
		}
		r := s.requests()[1]
		if r.Header.Get("Referer") != "" || r.Header.Get("Authorization") != "" || r.Host != "other.example.com" {
			t.Errorf("%+v", r)
		}
	})
}

// running runs a feed until stop is called.
func running(f *Feed) (stop func() []Outcome) {
	ctx, cancel := context.WithCancel(context.Background())
	var all []Outcome
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.Run(ctx, func(o Outcome) { all = append(all, o) })
	}()
	return func() []Outcome { cancel(); <-over; return all }
}

func TestPace(t *testing.T) {
	for _, c := range []struct {
		name  string
		h     func(start time.Time) http.HandlerFunc
		every time.Duration
		want  []time.Duration // between tries; chance is 0.5
	}{
		{"well", func(time.Time) http.HandlerFunc { return text(names(3)) }, 0, []time.Duration{time.Hour, time.Hour, time.Hour}},
		{"often", func(time.Time) http.HandlerFunc { return text(names(3)) }, time.Second, []time.Duration{5 * time.Minute, 5 * time.Minute}},
		{"failing", func(time.Time) http.HandlerFunc { return status(500) }, 0, []time.Duration{45 * time.Second, 90 * time.Second, 3 * time.Minute,
			6 * time.Minute, 12 * time.Minute, 24 * time.Minute, 48 * time.Minute, 96 * time.Minute, 192 * time.Minute, 270 * time.Minute, 270 * time.Minute}},
		{"refused", func(time.Time) http.HandlerFunc { return text(html) }, 0, []time.Duration{45 * time.Minute, 90 * time.Minute, 3 * time.Hour, 270 * time.Minute, 270 * time.Minute}},
		{"refused, seldom fetched", func(time.Time) http.HandlerFunc { return text(html) }, 48 * time.Hour, []time.Duration{36 * time.Hour, 36 * time.Hour}},
		{"retry after", func(time.Time) http.HandlerFunc { return status(503, "Retry-After", "7200") }, 0, []time.Duration{2 * time.Hour, 2 * time.Hour}},
		{"retry after a short time", func(time.Time) http.HandlerFunc { return status(429, "Retry-After", "1") }, 0, []time.Duration{45 * time.Second}},
		{"retry in a year", func(time.Time) http.HandlerFunc { return status(503, "Retry-After", "31536000") }, 0, []time.Duration{24 * time.Hour}},
		{"retry at", func(start time.Time) http.HandlerFunc {
			return status(503, "Retry-After", start.Add(3*time.Hour).UTC().Format(http.TimeFormat))
		}, 0, []time.Duration{3 * time.Hour, 90 * time.Second}},
		{"retry nonsense", func(time.Time) http.HandlerFunc { return status(503, "Retry-After", "soon") }, 0, []time.Duration{45 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				s := newSite(t, c.h(start))
				stop := running(s.feed(dir, func(f *Config) { f.Every = c.every }))
				var all time.Duration
				for _, d := range c.want {
					all += d
				}
				time.Sleep(all + time.Second)
				stop()
				if len(s.at) != len(c.want)+1 || !s.at[0].Equal(start) {
					t.Fatal(len(s.at), " tries ", s.at)
				}
				for i, want := range c.want {
					if got := s.at[i+1].Sub(s.at[i]); got != want {
						t.Errorf("try %d after %v, want %v", i+1, got, want)
					}
				}
			})
		})
	}
}

func TestNext(t *testing.T) {
	now := time.Unix(1e9, 0)
	for failures := range 100 {
		for _, every := range []time.Duration{MinEvery, time.Hour, 400 * 24 * time.Hour} {
			for _, o := range []Outcome{{Result: Fetched}, {Result: Failed, Err: io.EOF}, {Result: Refused, Err: io.EOF}} {
				early, late := next(now, every, o, failures, 0, 0), next(now, every, o, failures, 0, 0.999)
				if wait := early.Sub(now); wait < firstRetry/2 || late.Sub(now) > longest(every) || !early.Before(late) {
					t.Fatalf("%v after %d failures: %v to %v", every, failures, wait, late.Sub(now))
				}
			}
		}
	}
}

// A restart neither forgets when the next try is due nor waits where it is.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, text(names(3)))
		stop := running(s.feed(dir, nil))
		time.Sleep(time.Minute)
		stop()
		stop = running(s.feed(dir, nil))
		time.Sleep(58 * time.Minute)
		if n := len(s.requests()); n != 1 {
			t.Error(n, " requests")
		}
		time.Sleep(2 * time.Minute)
		if n := len(s.requests()); n != 2 {
			t.Error(n, " requests")
		}
		stop()
		time.Sleep(24 * time.Hour)
		f := s.feed(dir, nil)
		if st := f.Status(); time.Since(st.LastSuccess) < 24*time.Hour || st.Err != nil {
			t.Errorf("%+v", st)
		}
		stop = running(f)
		synctest.Wait()
		if out := stop(); len(s.requests()) != 3 {
			t.Error(out)
		}
	})
}

// A clock that was set back by years does not stop the fetching.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, text(names(3)))
		f := s.feed(dir, nil)
		f.o.Now = func() time.Time { return time.Now().AddDate(10, 0, 0) }
		f.Fetch(t.Context())
		stop := running(s.feed(dir, nil))
		time.Sleep(25 * time.Hour)
		stop()
		if n := len(s.requests()); n < 2 {
			t.Error(n, " requests")
		}
	})
}

func TestConfirm(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, text(names(100)))
		f := s.feed(dir, nil)
		stop := running(f)
		synctest.Wait()
		if err := f.Confirm(); !errors.Is(err, ErrNothingToConfirm) {
			t.Error(err)
		}
		s.set(text(names(1000)))
		time.Sleep(time.Hour + time.Minute)
		s.set(status(500)) // does not undo the refusal
		time.Sleep(time.Hour + time.Minute)
		stop()
		f = s.feed(dir, nil) // nor does a restart
		stop = running(f)
		s.set(text(names(5000)))
		if err := f.Confirm(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		expectCopy(t, f, names(100)) // 5000 is not what was confirmed
		s.set(text(names(1100)))
		if err := f.Confirm(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour + time.Minute)
		stop()
		// The refusal of 5000 is the last one, and 1100 are less than half of it.
		expectCopy(t, f, names(100))

		s.set(text(names(1000)))
		f.Fetch(t.Context())
		if err := f.Confirm(); err != nil {
			t.Error(err)
		}
		s.set(text(names(1100)))
		stop = running(f)
		synctest.Wait()
		expectCopy(t, f, names(1100))
		s.set(text(names(100)))
		time.Sleep(time.Hour + time.Minute)
		expectCopy(t, f, names(1100)) // a confirmation counts once
		stop()
	})
}

// Two Runs, as while the configuration is reloaded, never fetch at the same time.
func TestHandover(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, slow(95, time.Second))
		f := s.feed(dir, nil)
		first := running(f)
		time.Sleep(time.Second)
		second := running(f)
		time.Sleep(time.Second)
		if n := len(s.requests()); n != 1 {
			t.Error(n, " requests")
		}
		if out := first(); out != nil {
			t.Error(out)
		}
		if st := f.Status(); st.Err != nil || !st.LastTry.IsZero() {
			t.Errorf("an interrupted try left %+v", st)
		}
		synctest.Wait()
		// The other goes on at once: what is there is its own.
		if left, err := os.ReadDir(dir); err != nil || len(left) > 1 {
			t.Errorf("an interrupted try left %v, %v", left, err)
		}
		time.Sleep(2 * time.Minute)
		third := running(f)
		if out := third(); out != nil { // ends while it waits
			t.Error(out)
		}
		if out := second(); len(out) != 1 || out[0].Result != Fetched || len(s.requests()) != 2 {
			t.Error(out)
		}
	})
}

// A program that was killed in the middle of a download leaves the old copy, and
// the next run removes what it had begun.
func TestKilledWhileFetching(t *testing.T) {
	halfway, release := make(chan struct{}, 10), make(chan struct{})
	s := &site{handler: text(names(100))}
	ts := httptest.NewServer(s)
	defer ts.Close()
	defer close(release)
	dir := t.TempDir()
	f := New(Config{Name: "l", Kind: entry.Domain, URL: ts.URL, Dir: dir}, Options{})
	if o := f.Fetch(t.Context()); o.Result != Fetched {
		t.Fatal(o)
	}
	editState(t, f, func(s *state) { s.Next = time.Time{} })
	s.set(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("# padding\n", 100_000))
		w.(http.Flusher).Flush()
		halfway <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "FEED_TEST_FETCH="+ts.URL, "FEED_TEST_DIR="+dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-halfway
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if files, _ := os.ReadDir(dir); len(files) == 3 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no download in the directory")
		}
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	expectCopy(t, f, names(100))
	s.set(text(names(120)))
	f = New(Config{Name: "l", Kind: entry.Domain, URL: ts.URL, Dir: dir}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	f.Run(ctx, func(o Outcome) {
		if o.Result != Fetched {
			t.Error(o)
		}
		cancel()
	})
	expectCopy(t, f, names(120))
	expectFiles(t, dir, "l.feed", "l.feed.json")
}

// editState changes the file beside the copy.
func editState(t *testing.T, f *Feed, change func(*state)) {
	t.Helper()
	var s state
	b, err := os.ReadFile(f.statePath())
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(&s)
	b, _ = json.Marshal(s)
	if err := os.WriteFile(f.statePath(), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// After a crash between the copy and what is known of it, or damage to either, the
// feed is fetched at once, without a condition, and measured by the copy.
func TestCopyAndStateDiffer(t *testing.T) {
	for _, c := range []struct {
		name  string
		wreck func(t *testing.T, f *Feed)
		next  int // entries that come
		want  Result
	}{
		{"newer copy", func(t *testing.T, f *Feed) { os.WriteFile(f.Path(), []byte(names(300)), 0o600) }, 500, Fetched},
		{"newer copy, size", func(t *testing.T, f *Feed) { os.WriteFile(f.Path(), []byte(names(300)), 0o600) }, 100, Refused},
		{"damaged", func(t *testing.T, f *Feed) {
			os.WriteFile(f.Path(), bytes.Replace([]byte(names(100)), []byte("n7"), []byte("\x00\x00"), 1), 0o600)
		}, 100, Fetched},
		{"no copy", func(t *testing.T, f *Feed) { os.Remove(f.Path()) }, 1000, Fetched},
		{"no state", func(t *testing.T, f *Feed) { os.Remove(f.statePath()) }, 1000, Fetched},
		{"bad state", func(t *testing.T, f *Feed) { os.WriteFile(f.statePath(), []byte("{"), 0o600) }, 1000, Fetched},
		{"state of another time", func(t *testing.T, f *Feed) { editState(t, f, func(s *state) { s.Format = 2 }) }, 1000, Fetched},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				n := 100
				s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("ETag", `"v1"`)
					if r.Header.Get("If-None-Match") != "" {
						w.WriteHeader(http.StatusNotModified)
						return
					}
					text(names(n))(w, r)
				})
				f := s.feed(dir, nil)
				f.Fetch(t.Context())
				c.wreck(t, f)
				n = c.next
				stop := running(s.feed(dir, nil))
				synctest.Wait()
				if out := stop(); len(out) != 1 || out[0].Result != c.want {
					t.Error(out)
				}
			})
		})
	}
}

func TestSizeFault(t *testing.T) {
	n := func(i int) *int { return &i }
	for _, c := range []struct {
		entries           int
		copied, confirmed *int
		want              error
	}{
		{1000, nil, nil, nil}, {0, nil, nil, nil}, {1000, n(0), nil, nil},
		{50, n(100), nil, nil}, {49, n(100), nil, ErrShrunk}, {51, n(101), nil, nil},
		{200, n(100), nil, nil}, {201, n(100), nil, ErrGrown},
		{13, n(3), nil, nil}, {14, n(3), nil, ErrGrown}, {1, n(11), nil, nil}, {0, n(1), nil, ErrShrunk},
		{1000, n(100), n(1000), nil}, {600, n(100), n(1000), nil}, {2001, n(100), n(1000), ErrGrown},
		{0, n(100), n(0), nil}, {10, n(100), n(0), nil}, {1000, n(100), n(0), ErrGrown},
	} {
		if err := sizeFault(c.entries, c.copied, c.confirmed); !errors.Is(err, c.want) || err == nil && c.want != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestCanaries(t *testing.T) {
	for _, c := range []struct {
		kind entry.Kind
		own  []string
		text string
		want string // "": none
	}{
		{entry.Domain, nil, "a.example\n=com\n", "gmail.com, in line 2 as com"},
		{entry.Domain, nil, "mail.gmail.com\nxgmail.com\n", ""},
		{entry.Domain, nil, "gmail.com\n@@||gmail.com^\n", ""},
		{entry.Domain, nil, "=com\n@@||gmail.com^\n", "googlemail.com, in line 1 as com"},
		{entry.Domain, []string{"Bücher.example"}, "a.example\nxn--bcher-kva.example\n", "Bücher.example, in line 2 as xn--bcher-kva.example"},
		{entry.Domain, []string{"boss@example.org"}, "example.org\n", "boss@example.org, in line 1 as example.org"},
		{entry.Domain, []string{"192.0.2.1", ""}, "example.org\n", ""},
		{entry.Address, nil, "someone@gmail.com\n", ""},
		{entry.Address, nil, "@gmail.com\n", "gmail.com, in line 1 as @gmail.com"},
		{entry.Address, nil, "x@example.com\ngmail.com\n", "gmail.com, in line 2 as gmail.com"},
		{entry.Address, []string{"Boss@Example.org"}, "other@example.org\n\"boss\"@example.org\n", "Boss@Example.org, in line 2 as boss@example.org"},
		{entry.Address, []string{"mail.example.org"}, "@example.org\n", ""},
		{entry.IP, nil, "8.8.8.8\n127.0.0.0/8\n", ""},
		{entry.IP, []string{"192.0.2.25", "example.org"}, "198.51.100.1\n192.0.2.0/24\n", "192.0.2.25/32, in line 2 as 192.0.2.0/24"},
		{entry.IP, []string{"192.0.2.25"}, "192.0.2.1-192.0.2.30\n", "192.0.2.25/32, in line 1 as 192.0.2.24/30"},
		{entry.IP, []string{"192.0.2.0/24"}, "192.0.2.7\n", "192.0.2.0/24, in line 1 as 192.0.2.7/32"},
		{entry.IP, []string{"2001:db8::1"}, "2001:db8::/32\n", "2001:db8::1/128, in line 1 as 2001:db8::/32"},
	} {
		k := newCanaries(Config{Kind: c.kind, Canaries: c.own})
		for range 2 { // nothing is left of the first reading
			k.begin()
			var all check
			if err := all.read(t.Context(), strings.NewReader(c.text), c.kind, k); err != nil || all.Bad > 0 {
				t.Fatalf("%q: %+v, %v", c.text, all, err)
			}
			err := k.fault()
			if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrCanary) || !strings.HasSuffix(err.Error(), ": "+c.want)) {
				t.Errorf("%q: %v, want %q", c.text, err, c.want)
			}
		}
	}
}

func TestURLs(t *testing.T) {
	for _, c := range []struct {
		url, source string
		ok          bool
	}{
		{"https://example.com/list.txt", "https://example.com/list.txt", true},
		{"http://[::1]:8080/", "http://[::1]:8080/", true},
		{"https://user:secret@example.com/l?key=secret&list=b&secret#secret", "https://example.com/l?key=...&list=...&...", true},
		{"ftp://example.com/", "ftp://example.com/", false},
		{"https:///x", "(not a URL)", false},
		{"https://:80/x", "https://:80/x", false},
		{"list.txt", "(not a URL)", false},
		{"https://user:sec%zzret@example.com", "(not a URL)", false},
		{"", "(not a URL)", false},
	} {
		f := New(Config{URL: c.url}, Options{})
		if got := f.Source(); got != c.source || (CheckURL(c.url) == nil) != c.ok {
			t.Errorf("%q: %q, %v", c.url, got, CheckURL(c.url))
		}
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{"harmful": "harmful", "../x": "%2E.%2Fx", "a/b c": "a%2Fb%20c", ".": "%2E"} {
		if got := FileName(name); got != want || filepath.Base(got) != got {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// A login and the values of parameters are never shown.
func FuzzSource(f *testing.F) {
	for _, s := range []string{"host/path", "[::1]:80/%41", "h?", "h/@", "h/#x"} {
		f.Add(s, "user:pw", "value")
	}
	f.Fuzz(func(t *testing.T, place, login, value string) {
		const secret = "hunter2zz"
		login, value = url.PathEscape(login)+secret, secret+url.QueryEscape(value)
		place, _, _ = strings.Cut(place, "?")
		for _, s := range []string{"https://" + login + "@" + place, "https://" + place + "?key=" + value, "https://" + place + "?a=b&" + value,
			"https://" + login + ":" + value + "@" + place + "?" + value + "#" + value} {
			if strings.Contains(redacted(s), secret) {
				t.Errorf("%q shows %q", s, redacted(s))
			}
		}
	})
}

// TestDamagedCopy: what is left of a damaged copy is no measure for the good feed.
func TestDamagedCopy(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, text(names(100)))
		f := s.feed(dir, nil)
		f.Fetch(t.Context())
		if err := os.WriteFile(f.Path(), []byte(names(5)), 0o600); err != nil {
			t.Fatal(err)
		}
		stop := running(s.feed(dir, nil))
		time.Sleep(time.Minute)
		if out := stop(); len(out) != 1 || out[0].Result != Fetched {
			t.Errorf("%v", out)
		}
	})
}

// TestShorterPace: the next try does not wait for the end of a longer pace.
func TestShorterPace(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, text(names(100)))
		s.feed(dir, func(c *Config) { c.Every = 30 * 24 * time.Hour }).Fetch(t.Context())
		stop := running(s.feed(dir, func(c *Config) { c.Every = time.Hour }))
		time.Sleep(70 * time.Minute)
		if out := stop(); len(out) == 0 {
			t.Error("not fetched")
		}
	})
}

// TestConfirmMeanwhile: what is confirmed while a try is under way makes the next one
// come at once.
func TestConfirmMeanwhile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, text(names(100)))
		f := s.feed(dir, nil)
		f.Fetch(t.Context())
		s.set(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Second)
			_, _ = io.WriteString(w, names(1000))
		})
		stop := running(f)
		time.Sleep(time.Hour + 10*time.Minute)
		time.Sleep(time.Until(f.Status().NextTry) + 5*time.Second) // the second try is under way
		if err := f.Confirm(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if st := f.Status(); st.Err != nil {
			t.Errorf("%+v", st)
		}
		stop()
	})
}

// TestNewCanary: the copy in force is judged by a canary that is new, although the
// feed has not changed.
func TestNewCanary(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = io.WriteString(w, names(100)+"own.example\n")
		})
		s.feed(dir, nil).Fetch(t.Context())
		with := func(c *Config) { c.Canaries = []string{"own.example"} }
		for range 2 {
			if o := s.feed(dir, with).Fetch(t.Context()); !errors.Is(o.Err, ErrCanary) {
				t.Errorf("%+v", o)
			}
		}
		for _, want := range []Result{Fetched, Unchanged} { // once more by the old checks' word, then as ever
			if o := s.feed(dir, func(c *Config) { c.Guard = GuardSize }).Fetch(t.Context()); o.Result != want {
				t.Errorf("%+v, want %s", o, want)
			}
		}
	})
}
