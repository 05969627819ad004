package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/limit"
	"mailwicket/filter/list/live"
	"mailwicket/filter/mail"
	"mailwicket/filter/observe"
	"mailwicket/filter/observe/journal/stream"
	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// openRedis opens the store of a configuration as the server does, and gives the
// detail of its dependency, "" where all is well.
func openRedis(t *testing.T, format string, args ...any) (*store, string) {
	t.Helper()
	c, problems := config.Parse("test.yaml", fmt.Appendf(nil, "data_dir: "+t.TempDir()+"\n"+format, args...))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	m := observe.New(prometheus.NewRegistry())
	b := newBoard(m, log)
	s, err := openStore(c, func(string) string { return "" }, m, b, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if part := b.parts[s.name]; !part.OK {
		return s, part.Detail
	}
	return s, ""
}

func passwordFile(t *testing.T, password string) string {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Over TLS all works that works without, and a server whose certificate is not by
// a known authority, or not for the name, is not talked to.
func TestRedisTLS(t *testing.T) {
	authority := redistest.NewAuthority(t)
	addr, settings := authority.Server(t)
	direct := redistest.Start(t, settings...).Direct(t)
	storetest.Run(t, func(t *testing.T) greylist.Store {
		redistest.Flush(t, direct)
		s, trouble := openRedis(t, "redis: {url: \"rediss://%s\", ca_file: %s}", addr, authority.File)
		if trouble != "" {
			t.Fatal(trouble)
		}
		return s.back
	})
	for name, tt := range map[string]struct{ conf, want string }{
		"another authority": {"{url: \"rediss://" + addr + "\", ca_file: " + redistest.NewAuthority(t).File + "}", "redis.ca_file"},
		"none named":        {"{url: \"rediss://" + addr + "\"}", "redis.ca_file"},
		"another name":      {"{url: \"rediss://localhost:" + redistest.Port(addr) + "\", ca_file: " + authority.File + "}", "host in redis.url"},
		"no TLS":            {"{url: \"redis://" + addr + "\"}", "rediss://"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, trouble := openRedis(t, "redis: %s", tt.conf); !strings.Contains(trouble, tt.want) {
				t.Errorf("told %q, want %q in it", trouble, tt.want)
			}
		})
	}
}

// With the rights that the manual gives, and no others, all works.
func TestRedisACL(t *testing.T) {
	rights, _, _ := redistest.ACL(t)
	server := redistest.Start(t)
	direct := server.Direct(t)
	redistest.Grant(t, direct, rights)
	conf := fmt.Sprintf("redis: {url: \"redis://%s/2\", username: %s, password_file: %s}", server.Addr, redistest.User, passwordFile(t, redistest.Password))
	open := func(t *testing.T) *store {
		redistest.Flush(t, direct)
		s, trouble := openRedis(t, "%s", conf)
		if trouble != "" {
			t.Fatal(trouble)
		}
		return s
	}
	storetest.Run(t, func(t *testing.T) greylist.Store { return open(t).back })
	t.Run("rates", func(t *testing.T) { useLimits(t, open(t)) })
	t.Run("lists", func(t *testing.T) { useLists(t, open(t).lists()) })
	t.Run("alive", func(t *testing.T) {
		if err := open(t).redis.Ping(t.Context()).Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("decisions", func(t *testing.T) { shareDecisions(t, open(t)) })
	if n, err := direct.Do(t.Context(), "acl", "log").Slice(); err != nil || len(n) > 0 {
		t.Errorf("denied: %v, %v", n, err)
	}
	unused(t, direct, rights, "hexists") // of lists with almost 100,000 entries
}

// What is wrong with the login or the rights is said as such.
func TestRedisRefused(t *testing.T) {
	rights, _, _ := redistest.ACL(t)
	server := redistest.Start(t)
	direct := server.Direct(t)
	redistest.Grant(t, direct, rights)
	redistest.Grant(t, direct, []any{"ACL", "SETUSER", "poor", "on", ">" + redistest.Password, "~*", "+ping"})
	redistest.Grant(t, direct, []any{"CONFIG", "SET", "requirepass", "another"})
	right, wrong := passwordFile(t, redistest.Password), passwordFile(t, "wrong")
	for name, tt := range map[string]struct{ conf, want string }{
		"wrong password": {"username: mailwicket, password_file: " + wrong, "redis.password_file"},
		"no password":    {"username: \"\"", "redis.password_file"},
		"no rights":      {"username: poor, password_file: " + right, "redis.md"},
	} {
		t.Run(name, func(t *testing.T) {
			_, trouble := openRedis(t, "redis: {url: \"redis://%s\", %s}", server.Addr, tt.conf)
			if !strings.Contains(trouble, tt.want) || strings.Contains(trouble, redistest.Password) {
				t.Errorf("told %q, want %q in it", trouble, tt.want)
			}
		})
	}
}

// A filter that starts while Redis is away counts under a secret of its own; when
// it finds the others', all that it counts goes on under theirs.
func TestSecretFoundLater(t *testing.T) {
	server := redistest.New(t)
	load := parse(t, t.TempDir(), fmt.Sprintf("redis: {url: \"redis://%s\"}\nrates: [{name: few, key: [client], limit: 5/1h}]\n", server.Addr))
	a := start(t, load)
	first := a.live.Load()
	if first.rates == nil || first.replays == nil {
		t.Fatal("nothing is counted")
	}
	server.Run(t, []string{`save ""`, "appendonly no"})
	others := bytes.Repeat([]byte{7}, secretLen)
	if err := server.Direct(t).Set(t.Context(), secretKey, others, 0).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Await(t, "the others' secret", func() bool { changed, err := a.store.shareSecret(t.Context()); return changed && err == nil })
	a.reinstall()
	found := a.live.Load()
	if !bytes.Equal(found.hashes, others) || found.rates == first.rates || found.replays == first.replays {
		t.Error("what is counted goes on under the secret of the start")
	}
	a.reinstall()
	if again := a.live.Load(); again.rates != found.rates || again.replays != found.replays {
		t.Error("counts are not carried over where nothing changed")
	}
}

// A Redis that lost its data gets the secret back from a filter that runs, before
// one that starts anew puts another one there; and who runs takes what is there.
func TestSecretLost(t *testing.T) {
	server := redistest.Start(t)
	conf := "redis: {url: \"redis://%s\"}"
	running, _ := openRedis(t, conf, server.Addr)
	redistest.Flush(t, server.Direct(t))
	if changed, err := running.shareSecret(t.Context()); changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	fresh, _ := openRedis(t, conf, server.Addr)
	if !bytes.Equal(fresh.key(), running.key()) {
		t.Error("two filters of one Redis hash with two secrets")
	}
	redistest.Flush(t, server.Direct(t))
	first, _ := openRedis(t, conf, server.Addr) // faster than those that run
	if changed, err := running.shareSecret(t.Context()); !changed || err != nil || !bytes.Equal(first.key(), running.key()) {
		t.Errorf("changed %v, %v, alike %v", changed, err, bytes.Equal(first.key(), running.key()))
	}
}

// useLimits counts mail, and more recipients of one signature than are counted
// exactly.
func useLimits(t *testing.T, s *store) {
	rates := s.rates([]limit.Limit{{Name: "one", Key: []limit.Key{limit.Rcpt}, Unit: limit.Recipients, Count: 1, Per: time.Hour}}, s.key())
	set := &fact.Set{Now: time.Now()}
	set.Rcpt.To = fact.Is(mail.ParsePath("<a@example.net>"))
	for i, want := range []int{0, 1} {
		if names, err := rates.Exceeded(t.Context(), set); err != nil || len(names) != want {
			t.Errorf("recipient %d: %v, %v, want %d limits exceeded", i, names, err, want)
		}
	}
	if degraded, why := rates.Degraded(); degraded {
		t.Error(why)
	}
	replays := s.replays(time.Hour, s.key())
	rcpts := make([]string, limit.Exact+1)
	for i := range rcpts {
		rcpts[i] = fmt.Sprintf("user%d@example.net", i)
	}
	for range 2 {
		if _, n, err := replays.Seen(t.Context(), "signature", "192.0.2.1", rcpts); err != nil || n < limit.Exact*9/10 {
			t.Errorf("%d recipients, %v, want about %d", n, err, len(rcpts))
		}
	}
	if degraded, why := replays.Degraded(); degraded {
		t.Error(why)
	}
}

// shareDecisions writes one and finds it.
func shareDecisions(t *testing.T, s *store) {
	failed := func(err error) { t.Error(err) }
	shared := make(chan string, 1)
	st := stream.New(stream.Config{Client: s.redis, Max: 100, Queue: 10, Log: slog.New(slog.DiscardHandler), Failed: failed,
		Shared: func(result string) { shared <- result }})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { st.Run(ctx) })
	defer running.Wait()
	defer stop()
	st.Message(&filter.Record{Ref: "4JZRZ-63WQR"})
	<-shared
	if r, err := st.Find(ctx, "4JZRZ-63WQR"); err != nil || r == nil {
		t.Errorf("found %v, %v", r, err)
	}
}

// useLists edits a list while it is watched, and restores it.
func useLists(t *testing.T, lists live.Store) {
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() { defer close(done); lists.Watch(ctx, "a", func() { told <- struct{}{} }) }()
	defer func() { stop(); <-done }()
	<-told // connected
	entries := []live.Entry{{Entry: "one.example"}, {Entry: "two.example"}}
	if err := lists.Restore(ctx, "a", entries); err != nil {
		t.Fatal(err)
	}
	<-told
	if err := lists.Restore(ctx, "a", entries); err != nil { // there already
		t.Fatal(err)
	}
	if n, m, err := lists.Edit(ctx, "a", []live.Entry{{Entry: "three.example"}}, []string{"two.example"}); n != 1 || m != 1 || err != nil {
		t.Errorf("Edit = %d, %d, %v, want one and one", n, m, err)
	}
	if state, got, err := lists.Read(ctx, "a"); err != nil || state == "" || len(got) != 2 {
		t.Errorf("Read = %q, %v, %v, want two entries", state, got, err)
	}
}

// unused complains of rights that nothing asked for, except some.
func unused(t *testing.T, c *redis.Client, rights []any, except ...string) {
	t.Helper()
	stats := c.Info(t.Context(), "commandstats").Val()
	for _, r := range rights {
		command, ok := strings.CutPrefix(r.(string), "+")
		if ok && !slices.Contains(except, command) && !strings.Contains(stats, "cmdstat_"+command+":calls") {
			t.Errorf("the manual allows %s, which was not used", command)
		}
	}
}
