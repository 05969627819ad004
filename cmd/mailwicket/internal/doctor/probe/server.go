package probe

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
)

// redisLimit bounds the look at a shared store.
const redisLimit = 2 * time.Second

// Running is what a running server knows of itself at a moment.
type Running struct {
	Server  doctor.Server
	Started *config.Config // keys that need a restart count as they were then
	Live    *config.Config
	Listen  []string
	Lists   []list.Status
	Zones   []dnsbl.ZoneStatus
	Redis   redis.UniversalClient // nil without
	Traffic *doctor.Traffic
	Macros  []doctor.Macros
}

// Cheap gives evidence that may be gathered again and again: nobody is asked but
// Redis.
func (r Running) Cheap(ctx context.Context, now func() time.Time) doctor.Evidence {
	e := doctor.Evidence{Now: now(), Server: &r.Server, Traffic: r.Traffic, Macros: r.Macros,
		Lists: Lists(r.Live, r.Lists), Zones: Zones(r.Live, r.Zones), DNS: Servers(r.Started), Disk: Disk(r.Started.DataDir, true)}
	e.Settings = Settings(r.Live, r.Listen)
	then := Settings(r.Started, r.Listen)
	e.Settings.Command, e.Settings.Header, e.Settings.Message = then.Command, then.Header, then.Message
	e.Server.Pending = config.RestartKeys(r.Started, r.Live)
	if r.Redis != nil {
		ctx, cancel := context.WithTimeout(ctx, redisLimit)
		defer cancel()
		found := Redis(ctx, r.Redis, now)
		e.Redis = &found
	}
	return e
}

// Full asks DNS servers and feeds as well.
func (r Running) Full(ctx context.Context, userAgent string, now func() time.Time) doctor.Evidence {
	var e doctor.Evidence
	var servers []doctor.DNSServer
	var feeds []doctor.Feed
	var wg sync.WaitGroup
	wg.Go(func() { e = r.Cheap(ctx, now) })
	wg.Go(func() { servers = DNS(ctx, r.Started) })
	wg.Go(func() { feeds = Feeds(ctx, r.Live, userAgent, now) })
	wg.Wait()
	e.DNS, e.Feeds = servers, feeds
	return e
}
