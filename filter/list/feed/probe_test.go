package feed

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwicket/filter/list/scan"
)

// A probe has the rules of a fetch, tells the server's clock, and leaves nothing.
func TestProbe(t *testing.T) {
	say := func(text string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			fmt.Fprint(w, text)
		}
	}
	const date = "Mon, 23 Nov 2026 10:00:00 GMT"
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		err  error
		date time.Time
	}{
		{"good", say("a.example\n", "Date", date), nil, at},
		{"from a cache", say("a.example\n", "Date", date, "Age", "600"), nil, at.Add(10 * time.Minute)},
		{"no date", say("a.example\n", "Date", "soon"), nil, time.Time{}},
		{"gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, ErrStatus, time.Time{}},
		{"empty", say("", "Date", date), ErrEmpty, at},
		{"a page", say("<!DOCTYPE html><html>", "Date", date), ErrHTML, at},
		{"too large", say(strings.Repeat("a.example\n", 200_000), "Content-Length", "2000000", "Date", date), scan.ErrTooLarge, at},
		{"unknown coding", say("x", "Content-Encoding", "br", "Date", date), ErrEncoding, at},
		{"downgrade", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		}, ErrDowngrade, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				s := newSite(t, c.h)
				got, err := s.feed(dir, nil).Probe(t.Context())
				if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if c.name != "gone" && !got.Date.Equal(c.date) {
					t.Errorf("date %v, want %v", got.Date, c.date)
				}
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("a secret is told: %v", err)
				}
				if left, _ := os.ReadDir(dir); len(left) > 0 {
					t.Errorf("it leaves %v", left)
				}
				for _, r := range s.requests() {
					if r.Method != http.MethodGet || r.Header.Get("User-Agent") != "Mailwicket" || r.Header.Get("If-None-Match") != "" {
						t.Errorf("asked %s %v", r.Method, r.Header)
					}
				}
			})
		})
	}
}
