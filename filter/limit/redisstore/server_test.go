package redisstore

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

	"mailwicket/greylist/redisstore/redisurl"
)

// go-redis reports each failure to a logger of its own, by default to stderr.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	m.Run()
}

// client makes a client as the server makes it.
func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	// The suites try what is right, not what is fast: a busy machine may stall.
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = 20*time.Second, 20*time.Second, 20*time.Second
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// redisServer starts a real server on a free loopback port, with more settings
// in the form of redis.conf, and gives its address and a function that kills it.
// Without one installed the test is skipped, or fails where
// MAILWICKET_REQUIRE_ALL=1.
func redisServer(t testing.TB, settings ...string) (addr string, kill func()) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatal("redis-server is not installed, and MAILWICKET_REQUIRE_ALL=1")
		}
		t.Skip("redis-server is not installed")
	}
	addr = freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	conf := filepath.Join(dir, "redis.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsave \"\"\nappendonly no\n%s\n", port, dir, strings.Join(settings, "\n"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, log := exec.Command(path, conf), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	await(t, "redis-server to answer", func() bool { return c.Ping(t.Context()).Err() == nil })
	return addr, kill
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

// await polls until ok, and fails the test where that takes too long.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// redisCluster starts masters that share the slots, and gives their addresses.
func redisCluster(t *testing.T, n int) []string {
	t.Helper()
	ctx := t.Context()
	var addrs, buses []string
	var nodes []*redis.Client
	for range n {
		_, bus, _ := net.SplitHostPort(freeAddr(t))
		addr, _ := redisServer(t, "cluster-enabled yes", "cluster-node-timeout 2000", "cluster-port "+bus)
		c := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = c.Close() })
		addrs, buses, nodes = append(addrs, addr), append(buses, bus), append(nodes, c)
	}
	const slots = 16384
	for i, c := range nodes {
		if err := c.ClusterAddSlotsRange(ctx, i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(addrs[i])
		if err := nodes[0].Do(ctx, "cluster", "meet", host, port, buses[i]).Err(); i > 0 && err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range nodes {
		await(t, "the cluster to agree", func() bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))
		})
	}
	return addrs
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
