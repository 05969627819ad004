package probe

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/doctor"
)

// Redis asks each server that we write to for its settings and its clock.
func Redis(ctx context.Context, c redis.UniversalClient, now func() time.Time) doctor.Redis {
	var r doctor.Redis
	var err error
	if cluster, ok := c.(*redis.ClusterClient); ok {
		var mu sync.Mutex
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			n, err := node(ctx, c, c.Options().Addr, now)
			mu.Lock()
			defer mu.Unlock()
			r.Nodes = append(r.Nodes, n)
			return err
		})
		if err == nil && len(r.Nodes) == 0 {
			err = errNoNodes
		}
	} else {
		addr := "redis"
		if single, ok := c.(*redis.Client); ok {
			if addr = single.Options().Addr; addr == "FailoverClient" {
				addr = "the master that Sentinel names"
			}
		}
		var n doctor.RedisNode
		n, err = node(ctx, c, addr, now)
		r.Nodes = []doctor.RedisNode{n}
	}
	if err != nil {
		r.Err, r.Auth, r.Nodes = err.Error(), errLogin(err), nil
	}
	return r
}

// node asks one server. The error is that nothing can be asked at all.
func node(ctx context.Context, c redis.Cmdable, addr string, now func() time.Time) (doctor.RedisNode, error) {
	n := doctor.RedisNode{Addr: addr}
	if err := c.Ping(ctx).Err(); err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
		return n, err
	}
	clock(ctx, c, &n, now)
	text, err := c.Info(ctx).Result()
	if err != nil {
		n.Hidden = err.Error()
		return n, nil
	}
	readInfo(text, &n)
	if save, err := c.ConfigGet(ctx, "save").Result(); err == nil { // often not allowed
		if s, ok := save["save"]; ok {
			n.Save = &s
		}
	}
	return n, nil
}

// clock compares clocks: its answer was made between question and answer.
func clock(ctx context.Context, c redis.Cmdable, n *doctor.RedisNode, now func() time.Time) {
	start := now()
	at, err := c.Time(ctx).Result()
	if err != nil {
		return
	}
	took := now().Sub(start)
	n.Clock, n.Skew, n.Blur = true, at.Sub(start.Add(took/2)), took/2
}

// readInfo reads what INFO answers: lines of name:value, and comments.
func readInfo(text string, n *doctor.RedisNode) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		switch name {
		case "redis_version":
			n.Version = value
		case "role":
			n.Role = value
		case "maxmemory":
			n.MaxMemory, _ = strconv.ParseInt(value, 10, 64) // 0 is no limit
		case "maxmemory_policy":
			n.Policy = value
		case "aof_enabled":
			n.AOF = value == "1"
		case "rdb_last_bgsave_status":
			if value != "ok" {
				n.SaveError = "the last snapshot: " + value
			}
		case "aof_last_write_status":
			if value != "ok" {
				n.SaveError = "the last write to the append-only file: " + value
			}
		}
	}
}
