// Package parts makes single parts of the server out of a configuration, for all
// who need them alone: the server, the checks of what it depends on, and doctor.
package parts

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/config"
	dnsclient "mailwicket/filter/dns/client"
	"mailwicket/filter/milter"
	"mailwicket/greylist/redisstore/redisurl"
)

// Redis makes the client of the shared store. It opens no connection yet.
func Redis(c *config.Config, env func(string) string, log *slog.Logger) (redis.UniversalClient, error) {
	o, err := redisurl.Parse(c.Redis.URL)
	if err != nil {
		return nil, err
	}
	password, err := c.RedisPassword(env)
	if err != nil {
		return nil, err
	}
	o.Password = string(password)
	if c.Redis.Username != "" {
		o.Username = c.Redis.Username
	}
	if o.TLSConfig != nil {
		if o.TLSConfig.RootCAs, err = authorities(c); err != nil {
			return nil, err
		}
	}
	redis.SetLogger(redisLog{log})
	return redis.NewUniversalClient(o), nil
}

// redisLog keeps the client library's remarks for who debugs: what matters is on
// the board.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug("redis client", slog.String("message", fmt.Sprintf(format, args...)))
}

// DNSServers gives the configured servers, or the system's. Where the system
// names none it is 127.0.0.1, as for every other program.
func DNSServers(c config.DNS, log *slog.Logger) []string {
	if servers := c.ServerAddrs(); len(servers) > 0 {
		return servers
	}
	servers, err := dnsclient.SystemServers()
	if err != nil {
		log.Warn("no DNS servers are configured, asking 127.0.0.1:53", slog.String("cause", err.Error()))
		return []string{"127.0.0.1:53"}
	}
	return servers
}

// Limits gives how long an MTA may have to wait for us, and what it may cost.
func Limits(c config.Milter) milter.Limits {
	limits := milter.DefaultLimits()
	limits.Connections, limits.Idle = c.MaxConnections, c.IdleTimeout.Std()
	limits.Command, limits.Header = c.CommandTimeout.Std(), min(limits.Header, c.MessageTimeout.Std())
	limits.Message, limits.Grace = c.MessageTimeout.Std(), c.DrainTimeout.Std()
	return limits
}
