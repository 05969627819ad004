package app

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/parts"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/limit"
	limitredis "mailwicket/filter/limit/redisstore"
	"mailwicket/filter/list"
	"mailwicket/filter/list/feed"
	"mailwicket/filter/list/live"
	"mailwicket/filter/list/redislist"
)

// Names on the board.
const dnsName = "dns"

func listName(list string) string   { return "list " + list }
func sourceName(list string) string { return "source of list " + list }
func zoneName(zone string) string   { return "DNS list " + zone }

// tellFeeds shows since when feeds have not been good, also where that was before
// this start, and how often they are fetched: an alert hangs on both.
func (a *App) tellFeeds(c *config.Config, b *list.Book) {
	feeds := map[string]bool{}
	for _, l := range c.ListConfigs() {
		if l.URL != "" {
			feeds[l.Name] = true
			a.metrics.ListEvery.WithLabelValues(l.Name).Set(max(cmp.Or(l.Every, feed.DefaultEvery), feed.MinEvery).Seconds())
		}
	}
	for _, s := range b.Status() {
		if feeds[s.Name] && !s.LastSuccess.IsZero() {
			a.metrics.ListSuccess.WithLabelValues(s.Name).Set(float64(s.LastSuccess.Unix()))
		}
	}
}

// newLists makes the lists of a configuration, empty as yet.
func (a *App) newLists(c *config.Config) *list.Book {
	return list.New(c.ListConfigs(), list.Options{Log: a.log, Now: time.Now, Redis: a.store.lists(),
		UserAgent: a.userAgent(), Observer: list.Observer{
			Loaded: func(name string, entries, bad int, at time.Time) {
				a.metrics.ListEntries.WithLabelValues(name).Set(float64(entries))
				a.metrics.ListLoaded.WithLabelValues(name).Set(float64(at.Unix()))
				a.board.set(listName(name), true, "")
			},
			Failed: func(name string, err error) {
				a.metrics.ListErrors.WithLabelValues(name).Inc()
				a.board.set(listName(name), false, err.Error())
			},
			Fetched: func(name string, result feed.Result, _ time.Duration) {
				a.metrics.ListFetches.WithLabelValues(name, string(result)).Inc()
				if result == feed.Fetched || result == feed.Unchanged {
					a.metrics.ListSuccess.WithLabelValues(name).SetToCurrentTime()
				}
			},
			Source: func(name string, err error) {
				if err != nil {
					a.board.set(sourceName(name), false, err.Error())
					return
				}
				a.board.set(sourceName(name), true, "")
			},
		}})
}

func (a *App) userAgent() string { return "Mailwicket/" + a.o.Version }

// newZones makes the DNS lists of a configuration; nil where it has none.
func (a *App) newZones(c *config.Config) (*dnsbl.Book, error) {
	zones, err := c.Zones(a.o.Env)
	if err != nil || len(zones) == 0 {
		return nil, err
	}
	for _, s := range parts.DNSServers(c.DNS, a.log) {
		if dnsbl.PublicResolver(s) {
			// Their operators answer questions of public resolvers with an error.
			a.log.Warn("DNS lists do not answer public resolvers, set dns.servers to one of your own", slog.String("server", s))
		}
	}
	return dnsbl.New(zones, dnsbl.Options{Resolver: a.resolver, Log: a.log, Observer: dnsbl.Observer{
		Lookup: func(zone, outcome string, _ time.Duration) {
			a.metrics.DNSBLLookups.WithLabelValues(zone, outcome).Inc()
		},
		Health: func(zone string, ok bool, why string) { a.board.set(zoneName(zone), ok, why) },
		Own: func(addr netip.Addr, zone string, listed bool) {
			v := 0.0
			if listed {
				v = 1
			}
			a.metrics.OwnListed.WithLabelValues(addr.String(), zone).Set(v)
		},
	}}), nil
}

// watch runs what belongs to one configuration, until ctx ends.
func (a *App) watch(ctx context.Context, l *inForce) {
	a.watchers.Go(func() { l.lists.Watch(ctx, watchEvery) })
	if l.zones == nil {
		return
	}
	a.watchers.Go(func() { l.zones.Run(ctx) })
	if l.own != nil {
		a.watchers.Go(func() { l.own.Run(ctx) })
	}
}

// lists is where live lists are kept; nil without Redis.
func (s *store) lists() live.Store {
	if s.redis == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listed == nil {
		s.listed = redislist.New(s.redis, "")
	}
	return s.listed
}

func (s *store) limitOptions(name string, secret []byte) limit.Options {
	return limit.Options{Secret: secret, Log: s.log, Observer: limit.Observer{
		Op:       s.count,
		Degraded: func(degraded bool, why string) { s.board.set(s.name+" ("+name+")", !degraded, why) },
		Decided:  func(limit, result string) { s.metrics.RateDecisions.WithLabelValues(limit, result).Inc() },
	}}
}

// rates counts by the limits of a configuration. What was counted stays over a
// reload where Redis keeps it, and else where the limits did not change.
func (s *store) rates(limits []limit.Limit, secret []byte) *limit.Rates {
	if s.redis == nil {
		return limit.NewRates(limits, nil, s.limitOptions("rates", secret))
	}
	return limit.NewRates(limits, limitredis.New(s.redis, ""), s.limitOptions("rates", secret))
}

func (s *store) replays(window time.Duration, secret []byte) *limit.Replays {
	if s.redis == nil {
		return limit.NewReplays(nil, window, s.limitOptions("replays", secret))
	}
	return limit.NewReplays(limitredis.New(s.redis, ""), window, s.limitOptions("replays", secret))
}
