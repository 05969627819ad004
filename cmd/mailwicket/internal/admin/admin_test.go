package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func handler(token string, s Status) http.Handler {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
	reg.MustRegister(c)
	c.Inc()
	return Handler(Config{Gatherer: reg, Token: token, Status: func() Status { return s }, API: map[string]http.Handler{
		"GET /api/thing": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "thing") }),
	}})
}

func ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestToken: with a token set nothing but health and readiness is told without it.
func TestToken(t *testing.T) {
	for _, c := range []struct {
		token, authorization string
		guarded              int
	}{
		{"", "", 200},
		{"", "Bearer anything", 200},
		{"secret", "", 401},
		{"secret", "Bearer secret", 200},
		{"secret", "Bearer secret ", 401},
		{"secret", "Bearer secre", 401},
		{"secret", "Bearer Secret", 401},
		{"secret", "Bearer ", 401},
		{"secret", "secret", 401},
		{"secret", "Basic secret", 401},
	} {
		h := handler(c.token, Status{Ready: true})
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": c.guarded, "/api/thing": c.guarded, "/api/none": 404, "/": 404} {
			w := ask(h, "GET", path, "Authorization", c.authorization)
			if w.Code != want {
				t.Errorf("token %q, %q: %s is %d, want %d", c.token, c.authorization, path, w.Code, want)
			}
			if w.Code == 401 && (w.Header().Get("WWW-Authenticate") != "Bearer" || !strings.Contains(w.Body.String(), "--token-file FILE") || !strings.Contains(w.Body.String(), "admin.token_file")) {
				t.Errorf("%s: %v %s", path, w.Header(), w.Body)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	h := handler("", Status{Ready: true})
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/thing"} {
		if w := ask(h, "POST", path); w.Code != 405 {
			t.Errorf("POST %s is %d", path, w.Code)
		}
		if w := ask(h, "HEAD", path); w.Code != 200 {
			t.Errorf("HEAD %s is %d", path, w.Code)
		}
	}
}

func TestMetrics(t *testing.T) {
	for accept, want := range map[string]string{"": "\nthings_total 1\n", "application/openmetrics-text;version=1.0.0": "\n# EOF\n"} {
		w := ask(handler("", Status{}), "GET", "/metrics", "Accept", accept)
		if !strings.Contains("\n"+w.Body.String(), want) {
			t.Errorf("Accept %q: %s", accept, w.Body)
		}
	}
}

func TestReady(t *testing.T) {
	parts := []Dependency{{Name: "dns", OK: true}, {Name: "redis", Detail: "dial tcp: refused\nready\x1b[2J"}}
	for _, c := range []struct {
		status Status
		code   int
		text   string
	}{
		{Status{Ready: true}, 200, "ready\n"},
		{Status{Ready: true, Dependencies: parts[:1]}, 200, "ready\ndns: ok\n"},
		{Status{Ready: true, Degraded: true, Dependencies: parts}, 200, "ready, degraded\ndns: ok\nredis: degraded dial tcp: refused ready [2J\n"},
		{Status{}, 503, "not ready\n"},
		{Status{Degraded: true, Dependencies: parts[:1]}, 503, "not ready\ndns: ok\n"},
	} {
		w := ask(handler("token", c.status), "GET", "/readyz")
		if w.Code != c.code || w.Body.String() != c.text || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%+v: %d %q %v", c.status, w.Code, w.Body, w.Header())
		}
		w = ask(handler("token", c.status), "GET", "/readyz", "Accept", "text/html, application/json;q=0.9")
		var got Status
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != c.code || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%+v as data: %d %v %s", c.status, w.Code, err, w.Body)
		}
		if c.status.Dependencies == nil {
			c.status.Dependencies = []Dependency{}
		}
		if !reflect.DeepEqual(got, c.status) {
			t.Errorf("told %+v, got %+v", c.status, got)
		}
	}
}

// TestServe: it ends when it is to, whoever still waits for an answer.
func TestServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	asked, release := make(chan struct{}), make(chan struct{})
	go func() {
		done <- Serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(asked)
				<-r.Context().Done()
				close(release)
			}
			io.WriteString(w, "hello")
		}))
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + ln.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || string(body) != "hello" {
		t.Errorf("%q %v", body, err)
	}
	slow := make(chan error, 1)
	go func() {
		r, err := client.Get("http://" + ln.Addr().String() + "/slow")
		if err == nil {
			r.Body.Close()
		}
		slow <- err
	}()
	<-asked
	stop()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
	<-release
	if err := <-slow; err == nil {
		t.Error("who was not answered got an answer")
	}
	client.CloseIdleConnections()
}

func TestServeFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := Serve(ctx, ln, http.NotFoundHandler()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed socket: %v", err)
	}
}
