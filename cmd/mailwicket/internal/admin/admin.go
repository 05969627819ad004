// Package admin is the HTTP side of the server: metrics for Prometheus, health
// and readiness, and the API that the command line asks.
package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Dependency is one thing that the server needs, and how it is.
type Dependency struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Status is what /readyz tells.
type Status struct {
	Ready        bool         `json:"ready"`    // serving mail
	Degraded     bool         `json:"degraded"` // serving without some dependency
	Dependencies []Dependency `json:"dependencies"`
}

// Config is what a Handler needs.
type Config struct {
	Gatherer prometheus.Gatherer
	Status   func() Status
	Token    string                  // "" asks for none
	API      map[string]http.Handler // further paths, such as "/api/explain"; guarded by the token
}

// Handler serves the admin paths. Health and readiness need no token, so that
// probes stay simple; all else does where one is set.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { ready(w, r, c.Status()) })
	metrics := promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
	mux.Handle("GET /metrics", guard(c.Token, metrics))
	for path, h := range c.API {
		mux.Handle(path, guard(c.Token, h))
	}
	return mux
}

// ready answers 200 while mail is served, also without Redis or DNS: taking the
// filter out of service would not bring them back. The body names what is down.
func ready(w http.ResponseWriter, r *http.Request, s Status) {
	code := http.StatusOK
	if !s.Ready {
		code = http.StatusServiceUnavailable
	}
	if s.Dependencies == nil {
		s.Dependencies = []Dependency{} // a list in JSON too
	}
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(s) // the client is gone: nobody to tell
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	word := "ready"
	switch {
	case !s.Ready:
		word = "not ready"
	case s.Degraded:
		word = "ready, degraded"
	}
	fmt.Fprintln(w, word)
	for _, d := range s.Dependencies {
		state := "ok"
		if !d.OK {
			state = "degraded"
		}
		fmt.Fprintln(w, strings.TrimSpace(d.Name+": "+state+" "+oneLine(d.Detail)))
	}
}

// oneLine keeps an error's text from breaking the line or steering a terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}

func guard(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110, 15.5.2
			http.Error(w, "a token is needed: --token-file FILE, or the header Authorization: Bearer TOKEN (admin.token_file)", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Serve answers on ln until ctx ends. The error is nil after a wanted end.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		srv.Close() // who has not been answered by now is not waited for
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
