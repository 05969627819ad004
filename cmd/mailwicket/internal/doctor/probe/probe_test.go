package probe

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/redisstore/redisurl"
)

// ids gives what is found of evidence.
func ids(e doctor.Evidence) string {
	var out []string
	for _, f := range doctor.Examine(e) {
		out = append(out, f.ID)
	}
	return strings.Join(out, " ")
}

// client is set up as the server's is.
func client(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	o.ReadTimeout, o.DialTimeout, o.PoolTimeout = 10*time.Second, 10*time.Second, 10*time.Second // for a busy machine
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// What real servers tell leads to the right findings.
func TestRedis(t *testing.T) {
	for _, c := range []struct {
		name, want string
		settings   []string
		url        string // with %s for the address
	}{
		{"well", "", []string{"save 300 1"}, "redis://%s"},
		{"evicts, nothing on disk", "redis-eviction redis-persistence", []string{"maxmemory 10mb", "maxmemory-policy allkeys-lru"}, "redis://%s"},
		{"evicts some", "redis-eviction-volatile", []string{"save 300 1", "maxmemory 10mb", "maxmemory-policy volatile-random"}, "redis://%s"},
		{"appends", "", []string{"appendonly yes"}, "redis://%s"},
		{"right password", "", []string{"save 300 1"}, "redis://:hunter2@%s"},
		{"no password", "redis-down", nil, "redis://%s"},
		{"wrong password", "redis-down", nil, "redis://:hunter3@%s"},
		{"few rights", "redis-hidden", []string{"user few on >pw ~mw:* +@read +@write +@scripting +ping"}, "redis://few:pw@%s"},
		{"the rights that are advised", "redis-persistence", []string{"user few on >pw ~mw:* +@read +@write +@scripting +ping +info +time +config|get"}, "redis://few:pw@%s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := redistest.New(t)
			s.Run(t, append([]string{`save ""`}, c.settings...))
			if strings.Contains(c.name, "password") {
				if err := s.Direct(t).ConfigSet(t.Context(), "requirepass", "hunter2").Err(); err != nil {
					t.Fatal(err)
				}
			}
			got := Redis(t.Context(), client(t, fmt.Sprintf(c.url, s.Addr)), time.Now)
			if found := ids(doctor.Evidence{Now: time.Now(), Redis: &got}); found != c.want {
				t.Errorf("found %q, want %q: %+v", found, c.want, got)
			}
			if strings.Contains(c.name, "password") && c.want != "" && !got.Auth {
				t.Errorf("a refused login is told as %+v", got)
			}
			if c.want == "" && (!got.Nodes[0].Clock || got.Nodes[0].Version == "" || got.Nodes[0].Addr != s.Addr) {
				t.Errorf("incomplete: %+v", got)
			}
		})
	}
}

func TestRedisClock(t *testing.T) {
	s := redistest.Start(t, "save 300 1")
	late := func() time.Time { return time.Now().Add(-90 * time.Second) }
	got := Redis(t.Context(), client(t, "redis://"+s.Addr), late)
	found := doctor.Examine(doctor.Evidence{Now: late(), Redis: &got})
	if len(found) != 1 || found[0].ID != "clock-redis" || !strings.Contains(found[0].Evidence[0], "1m30s ahead of us") {
		t.Errorf("found %+v of %+v", found, got)
	}
}

func TestRedisReplica(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.Start(t, "replicaof 127.0.0.1 "+redistest.Port(master.Addr), "save 300 1")
	got := Redis(t.Context(), client(t, "redis://"+replica.Addr), time.Now)
	if found := ids(doctor.Evidence{Now: time.Now(), Redis: &got}); found != "redis-replica" {
		t.Errorf("found %q of %+v", found, got)
	}
}

// Of a cluster each master is asked.
func TestRedisCluster(t *testing.T) {
	addrs := redistest.Cluster(t, 2)
	got := Redis(t.Context(), client(t, "redis+cluster://"+strings.Join(addrs, ",")), time.Now)
	if len(got.Nodes) != 2 || got.Err != "" || got.Nodes[0].Addr == got.Nodes[1].Addr {
		t.Errorf("%+v", got)
	}
}

func TestReadInfo(t *testing.T) {
	var n doctor.RedisNode
	readInfo("# Server\r\nredis_version:7.2.4\r\nrole:master\r\nmaxmemory:5\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrdb_last_bgsave_status:err\r\nx\r\n:\r\n", &n)
	want := doctor.RedisNode{Version: "7.2.4", Role: "master", MaxMemory: 5, Policy: "noeviction", AOF: true, SaveError: "the last snapshot: err"}
	if d := cmp.Diff(want, n); d != "" {
		t.Error(d)
	}
}

// world is a configuration beside a DNS server and feeds of its own.
func world(t *testing.T, zone string, more string) *config.Config {
	t.Helper()
	s, err := dnstest.Serve(dnstest.MustParse(zone), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old" {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		}
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, "evil.example")
	}))
	t.Cleanup(web.Close)
	text := strings.NewReplacer("DNS", s.Addr(), "WEB", web.URL).Replace(more)
	c, problems := config.Parse("m.yaml", []byte(text))
	if problems = append(problems, c.Validate()...); len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

const zones = `
$ORIGIN zen.example.
2.0.0.127 A 127.0.0.2
$ORIGIN wild.example.
* A 127.0.0.2
$ORIGIN no.example.
* A 127.255.255.254
`

func TestOnline(t *testing.T) {
	silent := redistest.FreeAddr(t)
	for _, c := range []struct{ name, text, want string }{
		{"well", `
dns: {servers: ["DNS"]}
dnsbl: [{zone: zen.example, type: ip, codes: {127.0.0.2: x}}]
lists: [{name: a, type: domain, url: "WEB/a"}]
`, ""},
		{"all wrong", `
redis: {url: "redis://` + silent + `"}
dns: {servers: ["` + silent + `", "DNS"], timeout: 300ms}
lists:
  - {name: gone, type: domain, url: "WEB/gone"}
  - {name: off, type: domain, url: "WEB/gone", mode: "off"}
  - {name: old, type: domain, url: "WEB/old"}
dnsbl:
  - {zone: wild.example, type: ip, codes: {127.0.0.2: x}}
  - {zone: no.example, type: ip, codes: {127.0.0.2: x}}
  - {zone: empty.example, type: ip, codes: {127.0.0.2: x}}
`, "2:9 redis-down, 9:5 dnsbl-poisoned, 10:5 dnsbl-refused, 3:17 dns-server-silent, 11:5 dnsbl-out-of-service, 5:5 feed-failing, 0:0 clock-feed"},
		{"no DNS", `dns: {servers: ["` + silent + `"], timeout: 300ms}`, "1:7 dns-down"},
		{"a key that cannot be had", `
dns: {servers: ["DNS"]}
dnsbl: [{zone: zen.example, type: ip, codes: {127.0.0.2: x}, key_file: none}]
`, "3:1 dnsbl-out-of-service"},
		{"a password that cannot be had", `
dns: {servers: ["DNS"]}
redis: {url: "redis://` + silent + `", password_file: none}
`, "3:9 redis-down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := world(t, zones, c.text)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			e := Online(ctx, cfg, func(string) string { return "" }, "test", time.Now)
			var got []string
			for _, f := range doctor.Examine(e) {
				got = append(got, fmt.Sprintf("%d:%d %s", f.At.Line, f.At.Col, f.ID))
			}
			if d := cmp.Diff(c.want, strings.Join(got, ", ")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// All is asked at once: what hangs costs the time once.
func TestOnlineIsBounded(t *testing.T) {
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	var lists strings.Builder
	for i := range 20 {
		fmt.Fprintf(&lists, "  - {name: l%d, type: domain, url: %q}\n", i, hang.URL)
	}
	cfg := world(t, "", "dns: {servers: [\"DNS\"]}\nlists:\n"+lists.String())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	e := Online(ctx, cfg, func(string) string { return "" }, "test", time.Now)
	if took := time.Since(start); took > 8*time.Second || len(e.Feeds) != 20 || e.Feeds[19].Err == "" {
		t.Errorf("took %s: %+v", took, e.Feeds)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	d := Disk(dir, true)
	if d.Unwritable != "" || d.Total < d.Free || d.Total == 0 {
		t.Errorf("%+v", d)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
	for err, full := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EROFS: false, syscall.EACCES: false} {
		d := &doctor.Disk{}
		if tried(d, &fs.PathError{Op: "write", Path: "x", Err: err}); d.Full != full || (d.Unwritable != "") == full {
			t.Errorf("%v: %+v", err, d)
		}
	}
	if d := Disk(filepath.Join(dir, "none"), true); d.Unwritable != "no such file or directory" {
		t.Errorf("%+v", d)
	}
	if d := Disk(filepath.Join(dir, "none"), false); d != nil {
		t.Errorf("%+v", d)
	}
}

func TestSettings(t *testing.T) {
	const text = `milter: {listen: ["inet6:[::1]:1", "unix:/s"], message_timeout: 10s}
lists: [{name: a, type: ip, file: f}]
`
	c, problems := config.Parse("m.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s := Settings(c, nil)
	if d := cmp.Diff([]string{"inet:[::1]:1", "unix:/s"}, s.Listen); d != "" {
		t.Error(d)
	}
	if s.Command != 8*time.Second || s.Header != 10*time.Second || s.Message != 10*time.Second {
		t.Errorf("%+v", s)
	}
	if s.At["lists[0]"].Line != 2 || s.At["milter.message_timeout"].Col != 1+strings.Index(text, "message_timeout") || s.At["redis.url"].File != "m.yaml" {
		t.Errorf("%+v", s.At)
	}
}
