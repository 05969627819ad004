package redislist

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist/redisstore/redisurl"
)

// server is a redis-server of one test.
type server struct {
	addr string
	dir  string
	cmd  *exec.Cmd
}

// startServer starts a real server on a free loopback port, with more settings in
// the form of redis.conf. Without one installed the test is skipped, or fails where
// MAILWICKET_REQUIRE_ALL=1.
func startServer(t testing.TB, settings ...string) *server {
	t.Helper()
	s := &server{addr: freeAddr(t), dir: t.TempDir()}
	s.start(t, append([]string{`save ""`, "appendonly no"}, settings...))
	return s
}

func (s *server) start(t testing.TB, settings []string, flags ...string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatal("redis-server is not installed, and MAILWICKET_REQUIRE_ALL=1")
		}
		t.Skip("redis-server is not installed")
	}
	conf := filepath.Join(s.dir, "redis.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\n%s\n", portOf(s.addr), s.dir, strings.Join(settings, "\n"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(path, append([]string{conf}, flags...)...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := s.direct(t)
	await(t, "the server to answer", func() bool { return c.Ping(t.Context()).Err() == nil })
}

// kill ends the server at once. It may be called twice.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// direct is a patient client for the test's own questions.
func (s *server) direct(t testing.TB) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// client is a client as the program sets it up.
func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	// The machine of the test may be busy with others.
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Second, time.Second, time.Second, time.Second
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// await polls until ok, and fails the test where that takes a minute.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// startCluster starts masters that share the slots, and gives a client's URL.
func startCluster(t *testing.T, n int) string {
	t.Helper()
	ctx := t.Context()
	var nodes []*redis.Client
	var buses []string
	for range n {
		buses = append(buses, portOf(freeAddr(t)))
		s := startServer(t, "cluster-enabled yes", "cluster-node-timeout 2000", "cluster-port "+buses[len(buses)-1])
		nodes = append(nodes, s.direct(t))
	}
	const slots = 16384
	for i, c := range nodes {
		if err := c.ClusterAddSlotsRange(ctx, i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range nodes[1:] {
		if err := nodes[0].Do(ctx, "cluster", "meet", "127.0.0.1", portOf(c.Options().Addr), buses[i+1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range nodes {
		await(t, "the cluster to agree", func() bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(n))
		})
	}
	return "redis+cluster://" + nodes[0].Options().Addr
}

// startSentinel starts a master with a replica and a Sentinel over them.
func startSentinel(t *testing.T) (master *server, url string) {
	t.Helper()
	master = startServer(t)
	replica := startServer(t, "replicaof 127.0.0.1 "+portOf(master.addr))
	c := replica.direct(t)
	await(t, "the replica to follow", func() bool {
		return strings.Contains(c.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	sentinel := &server{addr: freeAddr(t), dir: t.TempDir()}
	sentinel.start(t, []string{"sentinel monitor main 127.0.0.1 " + portOf(master.addr) + " 1",
		"sentinel down-after-milliseconds main 1000", "sentinel failover-timeout main 10000"}, "--sentinel")
	ask := redis.NewSentinelClient(&redis.Options{Addr: sentinel.addr})
	defer ask.Close()
	await(t, "Sentinel to know the replica", func() bool {
		m, err := ask.Replicas(t.Context(), "main").Result()
		return err == nil && len(m) == 1
	})
	return master, "redis+sentinel://" + sentinel.addr + "/main"
}
