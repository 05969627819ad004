package redisstore

import (
	"bytes"
	"context"
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
)

// server is a redis-server of one test.
type server struct {
	addr string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

// redisServer starts a real server on a free loopback port, with more settings
// in the form of redis.conf. Without one installed the test is skipped, or fails
// where MAILWICKET_REQUIRE_ALL=1.
func redisServer(t testing.TB, settings ...string) *server {
	t.Helper()
	s := &server{addr: freeAddr(t)}
	s.start(t, t.TempDir(), "redis-server", append([]string{"save \"\"", "appendonly no"}, settings...))
	return s
}

func (s *server) start(t testing.TB, dir, kind string, settings []string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatal("redis-server is not installed, and MAILWICKET_REQUIRE_ALL=1")
		}
		t.Skip("redis-server is not installed")
	}
	_, port, _ := net.SplitHostPort(s.addr)
	conf := filepath.Join(dir, kind+port+".conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\n%s\n", port, dir, strings.Join(settings, "\n"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{conf}
	if kind == "sentinel" {
		args = append(args, "--sentinel")
	}
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command(path, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	await(t, kind+" to answer", func() bool { return c.Ping(t.Context()).Err() == nil })
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

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await polls until ok, and fails the test where that takes very long: a Sentinel
// on a busy machine does nothing for half a minute when it finds its timers late.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(4 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// redisCluster starts masters that share the slots, and gives their addresses.
// The bus port is the client port plus 10000, so ports are chosen low enough.
func redisCluster(t *testing.T, n int) []string {
	t.Helper()
	ctx := t.Context()
	var addrs []string
	var nodes []*redis.Client
	for range n {
		s := redisServer(t, "cluster-enabled yes", "cluster-node-timeout 2000", "cluster-port "+portOf(freeAddr(t)))
		addrs, nodes = append(addrs, s.addr), append(nodes, s.direct(t))
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
	for _, c := range nodes[1:] {
		bus, err := c.ConfigGet(ctx, "cluster-port").Result()
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(c.Options().Addr)
		if err := nodes[0].Do(ctx, "cluster", "meet", host, port, bus["cluster-port"]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range nodes {
		await(t, "the cluster to agree", func() bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(n))
		})
	}
	return addrs
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// flush empties the servers.
func flush(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	var err error
	if cluster, ok := c.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	} else {
		err = c.FlushAll(t.Context()).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}
