package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/filter"
	"mailwicket/filter/milter/client"
	"mailwicket/filter/observe"
	"mailwicket/policy"
)

// start runs a server; load gives the configuration of the moment.
func start(t *testing.T, load func() (*config.Config, []policy.Problem)) *App {
	t.Helper()
	c, problems := load()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	a, err := New(Options{Config: c, Load: load, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test",
		Env: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not end")
		}
	})
	return a
}

func parse(t *testing.T, dir, more string) func() (*config.Config, []policy.Problem) {
	return func() (*config.Config, []policy.Problem) {
		return config.Parse("test.yaml", []byte(fmt.Sprintf(
			"milter: {listen: [\"inet:127.0.0.1:0\"]}\nadmin: {listen: \"\"}\ndata_dir: %s\ndns: {servers: [\"127.0.0.1:9\"], timeout: 50ms}\n"+
				"greylist: {scope: \"off\"}\njournal: {keep: 0s}\n%s", dir, more)))
	}
}

// session plays messages in one SMTP session and gives the replies to RCPT.
func session(t *testing.T, a *App, from string, n int) ([]byte, error) {
	milters, _ := a.Addresses()
	nc, err := net.Dial("tcp", milters[0].String())
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	c := client.New(nc)
	if err := c.Negotiate(client.AllActions, client.AllProtocol); err != nil {
		return nil, err
	}
	if _, err := c.Connect("[192.0.2.1]", "192.0.2.1", 1); err != nil {
		return nil, err
	}
	if _, err := c.Helo("h.example"); err != nil {
		return nil, err
	}
	var got []byte
	for range n {
		if _, err := c.Mail("<" + from + ">"); err != nil {
			return got, err
		}
		r, err := c.Rcpt("<b@home.example>")
		if err != nil {
			return got, err
		}
		got = append(got, r.Code)
		if err := c.Abort(); err != nil {
			return got, err
		}
	}
	return got, c.Quit()
}

const toggled = "rules: [{name: no, stage: rcpt, when: {mail_from.domain: %s.example}, do: reject}]\n"

// TestReloadSoak: a thousand reloads under load. Every answer is that of one of
// the two configurations, no session breaks, and nothing is left behind.
func TestReloadSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	dir := t.TempDir()
	listFile := filepath.Join(dir, "list.txt")
	if err := os.WriteFile(listFile, []byte("evil.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lists := fmt.Sprintf("lists: [{name: harmful, type: domain, file: %s, apply: [mail_from]}]\n", listFile)
	var flip atomic.Bool
	one, two := parse(t, dir, lists+fmt.Sprintf(toggled, "one")), parse(t, dir, lists+fmt.Sprintf(toggled, "two"))
	a := start(t, func() (*config.Config, []policy.Problem) {
		if flip.Load() {
			return two()
		}
		return one()
	})
	var broken, sessions atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := session(t, a, "x@evil.example", 5)
				sessions.Add(1)
				if err != nil || string(got) != "yyyyy" {
					broken.Add(1)
				}
			}
		})
	}
	goroutines := func() int { runtime.GC(); return runtime.NumGoroutine() }
	for range 20 {
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	before := goroutines()
	for i := range 1000 {
		flip.Store(i%2 == 0)
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	load.Wait()
	if broken.Load() > 0 || sessions.Load() == 0 {
		t.Errorf("%d of %d sessions had another answer", broken.Load(), sessions.Load())
	}
	if after := goroutines(); after > before+20 {
		t.Errorf("%d goroutines before 1000 reloads, %d after", before, after)
	}
	if got := testutil.ToFloat64(a.metrics.Reloads.WithLabelValues("ok")); got != 1020 {
		t.Errorf("%g reloads are counted", got)
	}
	t.Logf("1000 reloads beside %d sessions of 5 messages", sessions.Load())
}

// TestSessionKeepsItsEngine: who began under the old configuration ends under it.
func TestSessionKeepsItsEngine(t *testing.T) {
	dir := t.TempDir()
	var flip atomic.Bool
	one, two := parse(t, dir, fmt.Sprintf(toggled, "one")), parse(t, dir, fmt.Sprintf(toggled, "two"))
	a := start(t, func() (*config.Config, []policy.Problem) {
		if flip.Load() {
			return two()
		}
		return one()
	})
	milters, _ := a.Addresses()
	nc, err := net.Dial("tcp", milters[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := client.New(nc)
	if err := c.Negotiate(client.AllActions, client.AllProtocol); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Connect("[192.0.2.1]", "192.0.2.1", 1); err != nil {
		t.Fatal(err)
	}
	flip.Store(true)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]byte{"one": 'y', "two": 'c'} {
		if _, err := c.Mail("<x@" + domain + ".example>"); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Rcpt("<b@home.example>"); err != nil || r.Code != want {
			t.Errorf("%s: %c %v, want %c", domain, r.Code, err, want)
		}
		if err := c.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := session(t, a, "x@two.example", 1); err != nil || string(got) != "y" {
		t.Errorf("a new session: %s %v", got, err)
	}
}

// TestListsDegrade: a list that is not there is told, and stops nothing.
func TestListsDegrade(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "late.txt")
	a := start(t, parse(t, dir, fmt.Sprintf("lists: [{name: late, type: domain, file: %s, apply: [mail_from]}]\n", file)))
	if s := a.board.status(); !s.Ready && len(s.Dependencies) == 0 || !hasDegraded(a, "list late") {
		t.Errorf("status %+v", s)
	}
	if got, err := session(t, a, "x@evil.example", 1); err != nil || string(got) != "c" {
		t.Errorf("before: %s %v", got, err)
	}
	if err := os.WriteFile(file, []byte("evil.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(15 * time.Second); hasDegraded(a, "list late") && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if got, err := session(t, a, "x@evil.example", 1); err != nil || string(got) != "y" {
		t.Errorf("after: %s %v", got, err)
	}
}

// TestRemovedIsForgotten: a list, its feed and a DNS list that do not work stop
// being shown when a reload takes them out.
func TestRemovedIsForgotten(t *testing.T) {
	dir := t.TempDir()
	const broken = "lists: [{name: gone, type: domain, url: \"http://127.0.0.1:9/x\", apply: [mail_from]}]\n" +
		"dnsbl: [{zone: zone.example, type: ip, codes: {\"127.0.0.2\": listed}}]\nreputation: {own_ips: [203.0.113.7]}\n"
	load := atomic.Pointer[func() (*config.Config, []policy.Problem)]{}
	first, second := parse(t, dir, broken), parse(t, dir, "")
	load.Store(&first)
	a := start(t, func() (*config.Config, []policy.Problem) { return (*load.Load())() })
	names := []string{"source of list gone", "DNS list zone.example"}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !slices.ContainsFunc(names, func(n string) bool { return !hasDegraded(a, n) }) {
			break
		}
	}
	for _, n := range names {
		if !hasDegraded(a, n) {
			t.Errorf("%s is not shown: %+v", n, a.board.status())
		}
	}
	a.metrics.OwnListed.WithLabelValues("203.0.113.7", "zone.example").Set(1) // as the zone would say
	load.Store(&second)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, d := range a.board.status().Dependencies {
		if strings.Contains(d.Name, "gone") || strings.Contains(d.Name, "zone.example") {
			t.Errorf("%s is still shown", d.Name)
		}
	}
	families, err := a.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if s := m.String(); strings.Contains(s, `"gone"`) || strings.Contains(s, "203.0.113.7") ||
				strings.HasSuffix(f.GetName(), "_degraded") && strings.Contains(s, "zone.example") {
				t.Errorf("%s is still measured: %s", f.GetName(), s)
			}
		}
	}
}

// TestRefusedStaysRefused: an engine made anew for another reason does not hide
// that the file on disk was refused.
func TestRefusedStaysRefused(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	good := parse(t, dir, "")
	a := start(t, func() (*config.Config, []policy.Problem) {
		if broken.Load() {
			return nil, []policy.Problem{{Path: "x", Message: "wrong"}}
		}
		return good()
	})
	for _, bad := range []bool{false, true, false} {
		broken.Store(bad)
		if err := a.Reload(); (err != nil) != bad {
			t.Fatalf("reload: %v", err)
		}
		a.reinstall()
		if ok := testutil.ToFloat64(a.metrics.ReloadOK) == 1; ok == bad {
			t.Errorf("a refused file is %v, the metric says that it was taken: %v", bad, ok)
		}
	}
}

func hasDegraded(a *App, name string) bool {
	for _, d := range a.board.status().Dependencies {
		if d.Name == name && !d.OK {
			return true
		}
	}
	return false
}

func TestReferences(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		r := newRef()
		if len(r) != 11 || r[5] != '-' || strings.Trim(r, refLetters+"-") != "" || seen[r] {
			t.Fatalf("%q", r)
		}
		seen[r] = true
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	first, err := localSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := localSecret(dir)
	if err != nil || string(again) != string(first) || len(first) != secretLen {
		t.Errorf("%x %v", again, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "secret")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := localSecret(dir); err == nil {
		t.Error("a broken secret is taken")
	}
}

// TestRedactTaken: who asks for redaction need not restart to get it.
func TestRedactTaken(t *testing.T) {
	dir, asked := t.TempDir(), ""
	a := start(t, func() (*config.Config, []policy.Problem) {
		c, problems := parse(t, dir, "log: {level: info}\n"+asked)()
		c.Journal.Redact = asked != ""
		return c, problems
	})
	said := func() string {
		r := a.redact(&filter.Record{Decisions: []filter.Decided{{Recipient: "ann@home.example"}}})
		return r.Decisions[0].Recipient
	}
	if got := said(); got != "ann@home.example" {
		t.Errorf("unasked: %q", got)
	}
	asked = "trace_header: false\n"
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := said(); strings.Contains(got, "ann") {
		t.Errorf("after the reload: %q", got)
	}
}

// TestGreylistTimes: however often a reload changes the times, there is one
// memory of what was seen.
func TestGreylistTimes(t *testing.T) {
	c, problems := parse(t, t.TempDir(), "")()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	log := slog.New(slog.DiscardHandler)
	m := observe.New(prometheus.NewRegistry())
	s, err := openStore(c, nil, m, newBoard(m, log), log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	first := s.greylister(c.Greylist)
	if s.greylister(c.Greylist) != first {
		t.Error("without a change there is another one")
	}
	for i := range 100 {
		c.Greylist.Delay = config.Duration(i) * config.Duration(time.Minute)
		s.greylister(c.Greylist)
	}
	if s.current() == first || s.params.Delay != 99*time.Minute || len(s.services) != 1 {
		t.Errorf("after 100 changes there are %d, the last with %+v", len(s.services), s.params)
	}
}
