package redisstore

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/redisstore/redisurl"
	"mailwicket/greylist/storetest"
)

// answerer is a server that reads RESP commands and answers each the same way.
// An empty answer is silence.
func answerer(t *testing.T, answer func(command string) (string, time.Duration)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() { close(done); _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { talk(conn, done, answer) })
		}
	})
	return l.Addr().String()
}

func talk(conn net.Conn, done chan struct{}, answer func(string) (string, time.Duration)) {
	defer conn.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-done:
			_ = conn.Close()
		case <-stop:
		}
	}()
	r := bufio.NewReader(conn)
	for {
		command, err := readCommand(r)
		if err != nil {
			return
		}
		text, wait := answer(command)
		select {
		case <-time.After(wait):
		case <-done:
			return
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
	}
}

// readCommand reads an array of bulk strings, and gives the first, upper case.
func readCommand(r *bufio.Reader) (string, error) {
	n, err := readNumber(r, '*')
	name := ""
	for i := 0; i < n && err == nil; i++ {
		var size int
		if size, err = readNumber(r, '$'); err != nil {
			break
		}
		b := make([]byte, size+2)
		_, err = io.ReadFull(r, b)
		if i == 0 {
			name = strings.ToUpper(string(b[:size]))
		}
	}
	return name, err
}

func readNumber(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 || line[0] != kind {
		return 0, io.ErrUnexpectedEOF
	}
	n := 0
	for _, c := range line[1 : len(line)-2] {
		n = n*10 + int(c-'0')
	}
	return n, nil
}

// always gives one answer to all commands but those of the handshake.
func always(text string, wait time.Duration) func(string) (string, time.Duration) {
	return func(command string) (string, time.Duration) {
		switch command {
		case "HELLO":
			return "-ERR unknown command 'HELLO'\r\n", 0
		case "CLIENT", "SELECT":
			return "+OK\r\n", 0
		}
		return text, wait
	}
}

// slack is what a test machine may add to the budget.
const slack = 100 * time.Millisecond

// Whatever is wrong with Redis, Check answers within its budget, by the rules,
// and says that it is degraded.
func TestFaults(t *testing.T) {
	faults := map[string]func(t *testing.T) string{
		"refuses": func(t *testing.T) string { return redistest.FreeAddr(t) },
		"hangs":   func(t *testing.T) string { return answerer(t, func(string) (string, time.Duration) { return "", 0 }) },
		"never accepts": func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return l.Addr().String()
		},
		"hangs after the handshake": func(t *testing.T) string { return answerer(t, always("", 0)) },
		"is slow":                   func(t *testing.T) string { return answerer(t, always("*0\r\n", 300*time.Millisecond)) },
		"loads": func(t *testing.T) string {
			return answerer(t, func(string) (string, time.Duration) { return "-LOADING Redis is loading the dataset in memory\r\n", 0 })
		},
		"is a replica": func(t *testing.T) string {
			return answerer(t, always("-READONLY You can't write against a read only replica.\r\n", 0))
		},
		"is full": func(t *testing.T) string {
			return answerer(t, always("-OOM command not allowed when used memory > 'maxmemory'.\r\n", 0))
		},
		"wants a password": func(t *testing.T) string { return answerer(t, always("-NOAUTH Authentication required.\r\n", 0)) },
		"talks nonsense":   func(t *testing.T) string { return answerer(t, always("HTTP/1.1 400 Bad Request\r\n\r\n", 0)) },
		"answers a number": func(t *testing.T) string { return answerer(t, always(":1\r\n", 0)) },
	}
	for name, start := range faults {
		for _, scheme := range []string{"redis", "redis+cluster"} {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				t.Parallel()
				tryFault(t, scheme+"://"+start(t))
			})
		}
		t.Run(name+"/sentinel", func(t *testing.T) {
			t.Parallel()
			tryFault(t, "redis+sentinel://"+start(t)+"/main")
		})
	}
}

// tryFault asks several times. A machine that is busy with something else may
// spoil some tries, but not all.
func tryFault(t *testing.T, url string) {
	const budget, tries = 150 * time.Millisecond, 10
	var longest []time.Duration
	for range tries {
		took := fault(t, url, budget)
		if took <= budget+slack || t.Failed() {
			return
		}
		longest = append(longest, took)
	}
	t.Errorf("checks took up to %v, budget %s", longest, budget)
}

// fault gives the longest time that a check took.
func fault(t *testing.T, url string, budget time.Duration) (longest time.Duration) {
	clock := storetest.NewClock()
	var mu sync.Mutex
	changes := 0
	v := greylist.New(greylist.ServiceConfig{Store: New(client(t, url), ""), Now: clock.Now, Budget: budget,
		Observer: greylist.Observer{Degraded: func(bool, string) { mu.Lock(); changes++; mu.Unlock() }}})
	t.Cleanup(v.Close)
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	for i, want := range []greylist.Status{greylist.Defer, greylist.Defer, greylist.Pass, greylist.Pass, greylist.Pass, greylist.Pass, greylist.Pass} {
		if i == 2 {
			clock.Add(greylist.DefaultParams().Delay)
		}
		start := time.Now()
		o, err := v.Check(t.Context(), r)
		longest = max(longest, time.Since(start))
		if err != nil || o.Status != want || !o.Degraded {
			t.Errorf("check %d = %+v, %v, want a degraded %s", i, o, err, want)
		}
	}
	if on, why := v.Degraded(); !on || why == "" {
		t.Errorf("Degraded = %v, %q, want a reason", on, why)
	}
	mu.Lock()
	defer mu.Unlock()
	if changes != 1 {
		t.Errorf("Degraded was told %d times, want once", changes)
	}
	return longest
}

// An outage of a real server: what the fallback decides meanwhile is there when
// the server is back, and the sender is not delayed again.
func TestOutage(t *testing.T) {
	s := redistest.Start(t)
	clock := storetest.NewClock()
	o, err := redisurl.Parse("redis://" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	told := make(chan bool, 10)
	v := greylist.New(greylist.ServiceConfig{Store: New(c, ""), Secret: []byte("secret"), Now: clock.Now, Budget: 20 * time.Second,
		Observer: greylist.Observer{Degraded: func(on bool, _ string) { told <- on }}})
	t.Cleanup(v.Close)
	check := func(r greylist.Request, want greylist.Status, degraded bool) greylist.Outcome {
		t.Helper()
		o, err := v.Check(t.Context(), r)
		if err != nil || o.Status != want || o.Degraded != degraded {
			t.Fatalf("Check = %+v, %v, want %s, degraded %v", o, err, want, degraded)
		}
		return o
	}
	before, during := storetest.Request(1, "<a@example.org>", "<b@example.net>"), storetest.Request(2, "<a@example.org>", "<b@example.net>")
	check(before, greylist.Defer, false)
	s.Kill()
	clock.Add(100 * time.Second)
	first := check(during, greylist.Defer, true)
	clock.Add(greylist.DefaultParams().Delay - 100*time.Second)
	check(before, greylist.Pass, true) // seen before the outage, hence known here
	if on := <-told; !on {
		t.Fatal("told that all is well")
	}
	s.Run(t, nil)
	select {
	case on := <-told:
		if on {
			t.Fatal("degraded twice")
		}
	case <-time.After(time.Minute):
		t.Fatal("did not recover")
	}
	// Another sidecar knows all from the server alone.
	clock.Add(100 * time.Second)
	v = storetest.Service(t, New(client(t, "redis://"+s.Addr), ""), clock.Now)
	if o := check(during, greylist.Pass, false); !o.FirstSeen.Equal(first.FirstSeen) {
		t.Errorf("first seen %s, want %s", o.FirstSeen, first.FirstSeen)
	}
	if o := check(before, greylist.Pass, false); o.Delayed != 0 {
		t.Errorf("passed before, but is delayed by %s", o.Delayed)
	}
}

// TestRefusedLogin: a Redis that refuses the connection is not one that holds
// nothing, and its own words are told.
func TestRefusedLogin(t *testing.T) {
	srv := redistest.Start(t)
	right := client(t, "redis://"+srv.Addr)
	key, held := storetest.Key(1, 1), greylist.Pair{Triplet: storetest.Record(1, 0), Identity: storetest.Record(0, 2)}
	storetest.Set(t, New(right, ""), key, greylist.Pair{}, held)
	if err := right.ConfigSet(t.Context(), "requirepass", "new").Err(); err != nil {
		t.Fatal(err)
	}
	s := New(client(t, "redis://:old@"+srv.Addr), "")
	if _, err := s.Get(t.Context(), key); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("Get: %v", err)
	}
	if _, added, err := s.GetOrAdd(t.Context(), key, storetest.Record(1, 0)); err == nil {
		t.Errorf("GetOrAdd: added %v", added)
	}
	v := greylist.New(greylist.ServiceConfig{Store: s, Secret: []byte("s"), Budget: 5 * time.Second})
	t.Cleanup(v.Close)
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	if o, err := v.Check(t.Context(), r); err != nil || !o.Degraded {
		t.Errorf("Check: %+v, %v", o, err)
	}
	if _, why := v.Degraded(); !strings.Contains(why, "WRONGPASS") {
		t.Errorf("degraded: %s", why)
	}
	if _, _, err := v.Lookup(t.Context(), r); err == nil {
		t.Error("Lookup: no error")
	}
}

// TestRecordOfLaterRelease: a record that we cannot read touches its own client
// alone.
func TestRecordOfLaterRelease(t *testing.T) {
	srv := redistest.Start(t)
	c := client(t, "redis://"+srv.Addr)
	s := New(c, "")
	v := greylist.New(greylist.ServiceConfig{Store: s, Secret: []byte("secret"), Budget: 5 * time.Second})
	t.Cleanup(v.Close)
	k, _, err := v.LookupIdentity(t.Context(), storetest.Request(1, "", "").Identity)
	if err != nil {
		t.Fatal(err)
	}
	c.Set(t.Context(), s.keys(k)[0], "\x02later", time.Hour)
	for i := range 10 {
		r := storetest.Request(1, "<a@example.org>", fmt.Sprintf("<%c@example.net>", 'a'+i))
		if o, err := v.Check(t.Context(), r); err != nil || o.Status != greylist.Defer || !o.Degraded {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	if o, err := v.Check(t.Context(), storetest.Request(2, "<a@example.org>", "<b@example.net>")); err != nil || o.Degraded {
		t.Errorf("another client: %+v, %v", o, err)
	}
	if on, why := v.Degraded(); on {
		t.Errorf("degraded: %s", why)
	}
}
