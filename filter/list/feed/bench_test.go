package feed

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mailwicket/filter/list/entry"
)

// BenchmarkFetch downloads, checks and places a list of a million names.
func BenchmarkFetch(b *testing.B) {
	var body strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&body, "n%07d.example\n", i)
	}
	z := zipped(body.String())
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, z)
	}))
	defer ts.Close()
	b.ReportAllocs()
	for b.Loop() {
		f := New(Config{Name: "l", Kind: entry.Domain, URL: ts.URL, Dir: b.TempDir()}, Options{})
		if o := f.Fetch(b.Context()); o.Result != Fetched {
			b.Fatal(o)
		}
	}
}
