// Package probe asks what a configuration depends on: Redis, DNS servers, feeds,
// DNS lists, and the disk. It gathers evidence for doctor and decides nothing.
// Whatever it asks, it asks all at once, and within the context's time.
package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/cmd/mailwicket/internal/parts"
	"mailwicket/filter/dns"
	dnsclient "mailwicket/filter/dns/client"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
	"mailwicket/filter/list/feed"
	"mailwicket/policy"
)

// Settings gives what findings need of a configuration. listen is where the server
// listens in truth; nil takes what the configuration says.
func Settings(c *config.Config, listen []string) *doctor.Settings {
	limits := parts.Limits(c.Milter)
	if listen == nil {
		for _, s := range c.Milter.Listen {
			listen = append(listen, strings.Replace(s, "inet6:", "inet:", 1))
		}
	}
	s := &doctor.Settings{File: c.File, At: map[string]policy.Position{}, Listen: listen, Command: limits.Command, Header: limits.Header,
		Message: limits.Message, AuthservID: c.AuthservID}
	for _, f := range keys.All(c) {
		if !strings.Contains(f.Path, "[]") {
			s.At[f.Path] = c.Position(f.Path)
		}
	}
	for _, section := range []struct {
		path  string
		items int
	}{{"dnsbl", len(c.DNSBL)}, {"lists", len(c.Lists)}, {"dns.servers", len(c.DNS.Servers)}} {
		for i := range section.items {
			s.At[item(section.path, i)] = c.Position(item(section.path, i))
		}
	}
	return s
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// Online asks everything that a configuration names, with clients of its own.
// Secrets that cannot be had are told as what cannot be reached for want of them.
func Online(ctx context.Context, c *config.Config, env func(string) string, userAgent string, now func() time.Time) doctor.Evidence {
	e := doctor.Evidence{Now: now(), Settings: Settings(c, nil)}
	var wg sync.WaitGroup
	wg.Go(func() { e.Redis = ownRedis(ctx, c, env, now) })
	wg.Go(func() { e.DNS = DNS(ctx, c) })
	wg.Go(func() { e.Feeds = Feeds(ctx, c, userAgent, now) })
	wg.Go(func() { e.Zones = ownZones(ctx, c, env) })
	wg.Wait()
	return e
}

// ownRedis asks Redis through a client of its own; nil where none is named.
func ownRedis(ctx context.Context, c *config.Config, env func(string) string, now func() time.Time) *doctor.Redis {
	if c.Redis.URL == "" {
		return nil
	}
	client, err := parts.Redis(c, env, slog.New(slog.DiscardHandler))
	if err != nil {
		return &doctor.Redis{Err: err.Error()}
	}
	defer client.Close()
	r := Redis(ctx, client, now)
	return &r
}

// DNS asks each server for the root's SOA, past all caches.
func DNS(ctx context.Context, c *config.Config) []doctor.DNSServer {
	out := Servers(c)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { askServer(ctx, &out[i], c.DNS.Timeout.Std()) })
	}
	wg.Wait()
	return out
}

// Servers names the DNS servers without asking them.
func Servers(c *config.Config) []doctor.DNSServer {
	var out []doctor.DNSServer
	for i, addr := range parts.DNSServers(c.DNS, slog.New(slog.DiscardHandler)) {
		s := doctor.DNSServer{Addr: addr, Key: "dns.servers", Public: dnsbl.PublicResolver(addr), Configured: len(c.DNS.Servers) > 0}
		if s.Configured {
			s.Key = item("dns.servers", i)
		}
		out = append(out, s)
	}
	return out
}

func askServer(ctx context.Context, s *doctor.DNSServer, timeout time.Duration) {
	s.Asked = true
	client, err := dnsclient.New(dnsclient.Config{Servers: []string{s.Addr}, Timeout: timeout, CacheSize: 1})
	if err != nil {
		s.Err = err.Error()
		return
	}
	defer client.Close()
	start := time.Now() // for the length alone
	if err := client.Check(ctx); err != nil && !dns.IsNotFound(err) {
		s.Err = err.Error()
	}
	s.Took = time.Since(start)
}

// Feeds asks the server of each feed, without loading it.
func Feeds(ctx context.Context, c *config.Config, userAgent string, now func() time.Time) []doctor.Feed {
	var out []*doctor.Feed
	var wg sync.WaitGroup
	for i, l := range c.Lists {
		if l.URL == "" || l.Mode == "off" {
			continue
		}
		f := &doctor.Feed{List: l.Name, Key: item("lists", i)}
		out = append(out, f)
		wg.Go(func() {
			contact, err := feed.New(feed.Config{Name: l.Name, Kind: l.Type, URL: l.URL, MaxBytes: int64(l.MaxBytes), Guard: l.Guard,
				UserAgent: userAgent}, feed.Options{Now: now}).Probe(ctx)
			f.At, f.Date, f.Took = now(), contact.Date, contact.Took
			if err != nil {
				f.Err = err.Error()
			}
		})
	}
	wg.Wait()
	var all []doctor.Feed
	for _, f := range out {
		all = append(all, *f)
	}
	return all
}

// ownZones probes the DNS lists through a resolver of its own. What cannot be
// asked for want of a key stands as silent.
func ownZones(ctx context.Context, c *config.Config, env func(string) string) []doctor.Zone {
	cfgs, err := c.Zones(env)
	if err != nil {
		return []doctor.Zone{{Name: "(any)", Key: "dnsbl", Fault: dnsbl.FaultSilent, Why: err.Error()}}
	}
	if len(cfgs) == 0 {
		return nil
	}
	r, err := dnsclient.New(dnsclient.Config{Servers: parts.DNSServers(c.DNS, slog.New(slog.DiscardHandler)), Timeout: c.DNS.Timeout.Std()})
	if err != nil {
		return []doctor.Zone{{Name: "(any)", Key: "dnsbl", Fault: dnsbl.FaultSilent, Why: err.Error()}}
	}
	defer r.Close()
	return Zones(c, dnsbl.New(cfgs, dnsbl.Options{Resolver: r}).Probe(ctx))
}

// Zones tells how zones stand.
func Zones(c *config.Config, all []dnsbl.ZoneStatus) []doctor.Zone {
	var out []doctor.Zone
	for _, s := range all {
		z := doctor.Zone{Name: s.Name, Key: "dnsbl", OK: s.OK, Fault: s.Fault, Why: s.Why, Since: s.Since}
		for i := range c.DNSBL {
			if c.DNSBL[i].Name == s.Name {
				z.Key = item("dnsbl", i)
			}
		}
		out = append(out, z)
	}
	return out
}

// Lists tells how lists stand.
func Lists(c *config.Config, all []list.Status) []doctor.List {
	var out []doctor.List
	for _, s := range all {
		l := doctor.List{Name: s.Name, Key: "lists", Source: s.Source, Entries: s.Entries, Loaded: s.Loaded, Err: s.Err,
			LastSuccess: s.LastSuccess, LastTry: s.LastTry, LastError: s.LastError}
		for i, x := range c.Lists {
			if x.Name == s.Name {
				l.Key, l.Feed, l.Every = item("lists", i), x.URL != "", x.Every.Std()
			}
		}
		out = append(out, l)
	}
	return out
}

// errLogin tells answers of Redis that mean that it does not take our login.
func errLogin(err error) bool {
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "ERR invalid password", "ERR AUTH"} {
		if redis.HasErrorPrefix(err, prefix) || strings.Contains(err.Error(), prefix) {
			return true
		}
	}
	return false
}

var errNoNodes = errors.New("no master answers")
