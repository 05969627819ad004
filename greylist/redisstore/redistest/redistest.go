// Package redistest starts real Redis servers for the tests of all packages that
// keep state there: single, as a cluster, or as Sentinel. They listen on loopback
// and end with their test.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is one redis-server process.
type Server struct {
	Addr string        // HOST:PORT
	Log  *bytes.Buffer // complete once the server has ended

	dir string
	cmd *exec.Cmd
}

// Start starts a server on a free port that keeps nothing on disk, with more
// settings in the form of redis.conf. Without redis-server installed the test is
// skipped, or fails where MAILWICKET_REQUIRE_ALL=1.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := New(t)
	s.Run(t, append([]string{`save ""`, "appendonly no"}, settings...))
	return s
}

// New names a server's port and directory; Run starts it.
func New(t testing.TB) *Server {
	t.Helper()
	return &Server{Addr: FreeAddr(t), dir: t.TempDir()}
}

// Run starts the process, for the first time or after Kill, and waits until it
// answers. flags are those of the command line, such as --sentinel.
func (s *Server) Run(t testing.TB, settings []string, flags ...string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatal("redis-server is not installed, and MAILWICKET_REQUIRE_ALL=1")
		}
		t.Skip("redis-server is not installed")
	}
	conf := filepath.Join(s.dir, "redis.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\n%s\n", Port(s.Addr), s.dir, strings.Join(settings, "\n"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Log = &bytes.Buffer{}
	s.cmd = exec.Command(path, append([]string{conf}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.Log, s.Log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	c := s.Direct(t)
	Await(t, "redis-server to answer", func() bool { return c.Ping(t.Context()).Err() == nil })
}

// Kill ends the server at once. It may be called twice.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Direct is a patient client for the test's own questions.
func (s *Server) Direct(t testing.TB) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// FreeAddr gives a loopback address that nobody listens at.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Port gives the port of HOST:PORT.
func Port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// Await polls until ok, and fails the test where that takes very long: a Sentinel
// on a busy machine does nothing for half a minute when it finds its timers late.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(4 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Cluster starts masters that share the slots, and gives their addresses.
func Cluster(t testing.TB, n int) []string {
	t.Helper()
	ctx := t.Context()
	var addrs, buses []string
	var nodes []*redis.Client
	for range n {
		bus := Port(FreeAddr(t))
		s := Start(t, "cluster-enabled yes", "cluster-node-timeout 2000", "cluster-port "+bus)
		addrs, buses, nodes = append(addrs, s.Addr), append(buses, bus), append(nodes, s.Direct(t))
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
	for i := 1; i < n; i++ {
		if err := nodes[0].Do(ctx, "cluster", "meet", "127.0.0.1", Port(addrs[i]), buses[i]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range nodes {
		Await(t, "the cluster to agree", func() bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))
		})
	}
	return addrs
}

// Sentinel starts a master with a replica and a Sentinel over them that calls
// them "main".
func Sentinel(t testing.TB) (master, sentinel *Server) {
	t.Helper()
	master = Start(t)
	c := Start(t, "replicaof 127.0.0.1 "+Port(master.Addr)).Direct(t)
	Await(t, "the replica to follow", func() bool {
		return strings.Contains(c.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	sentinel = New(t)
	sentinel.Run(t, []string{"sentinel monitor main 127.0.0.1 " + Port(master.Addr) + " 1",
		"sentinel down-after-milliseconds main 1000", "sentinel failover-timeout main 10000"}, "--sentinel")
	ask := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
	defer ask.Close()
	Await(t, "Sentinel to know the replica", func() bool {
		m, err := ask.Replicas(t.Context(), "main").Result()
		return err == nil && len(m) == 1
	})
	return master, sentinel
}

// Flush empties the servers behind a client.
func Flush(t testing.TB, c redis.UniversalClient) {
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
