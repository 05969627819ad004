package doctor

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	oldestRedis = 5 // scripts that ask the time may write from then on
	redisSkew   = 5 * time.Second
	feedSkew    = time.Minute
)

func (x *examiner) redis() {
	r := x.Redis
	if r == nil {
		if d, down := x.degraded("redis"); down {
			x.add("redis-down", Finding{Summary: "Redis does not answer", Evidence: []string{d.Detail}, Fix: "look at Redis and at the address", Key: "redis.url"})
		}
		return
	}
	if r.Err != "" {
		f := Finding{Summary: "Redis cannot be reached", Evidence: []string{r.Err}, Fix: "look at Redis, and at the address", Key: "redis.url"}
		if r.Auth {
			f.Summary, f.Fix = "Redis refuses our login", "look at the user, the password and its file"
		}
		x.add("redis-down", f)
		return
	}
	for _, n := range r.Nodes {
		x.node(n)
	}
}

// node looks at one server.
func (x *examiner) node(n RedisNode) {
	if n.Hidden != "" {
		x.add("redis-hidden", Finding{Summary: "the settings of Redis are not known", Evidence: []string{n.Addr + ": " + n.Hidden},
			Fix: "allow our user to ask, if you want them looked at", Place: "redis-cli", Lines: []string{"ACL SETUSER NAME +info +time +config|get"}})
		return
	}
	if v := major(n.Version); v > 0 && v < oldestRedis {
		x.add("redis-old", Finding{Summary: "Redis is too old", Evidence: []string{n.Addr + ": version " + n.Version},
			Fix: fmt.Sprintf("update it to %d or later", oldestRedis), Key: "redis.url"})
	}
	if n.Role == "slave" {
		x.add("redis-replica", Finding{Summary: "the Redis that is named is a replica: it takes no writes", Evidence: []string{n.Addr + ": role slave"},
			Fix: "name the master, or Sentinel", Key: "redis.url", Lines: []string{`url: "redis+sentinel://HOST,HOST,HOST/MASTER"`}})
	}
	x.eviction(n)
	x.persistence(n)
}

func (x *examiner) eviction(n RedisNode) {
	limit := "no maxmemory is set as yet"
	if n.MaxMemory > 0 {
		limit = "maxmemory is " + size(n.MaxMemory)
	}
	f := Finding{Evidence: []string{fmt.Sprintf("%s: maxmemory-policy is %s, %s", n.Addr, n.Policy, limit)},
		Fix: "set the policy to noeviction, at once and in redis.conf", Key: "redis.url", Place: "redis-cli and redis.conf",
		Lines: []string{"CONFIG SET maxmemory-policy noeviction", "maxmemory-policy noeviction"}}
	switch {
	case strings.HasPrefix(n.Policy, "allkeys-"):
		f.Summary = "Redis throws any key away when it is full, the greylist's too"
		x.add("redis-eviction", f)
	case strings.HasPrefix(n.Policy, "volatile-") && n.Policy != "volatile-ttl" && n.MaxMemory > 0:
		f.Summary = "Redis throws greylist records away when it is full"
		x.add("redis-eviction-volatile", f)
	}
}

func (x *examiner) persistence(n RedisNode) {
	f := Finding{Key: "redis.url", Place: "redis.conf"}
	switch {
	case n.SaveError != "":
		f.Summary, f.Fix = "Redis could not write to its disk", "look at its log and its disk"
		f.Evidence = []string{n.Addr + ": " + n.SaveError}
		f.Place = ""
	case !n.AOF && n.Save != nil && *n.Save == "":
		f.Summary, f.Fix = "Redis keeps nothing on disk: a restart forgets the greylist", "let it make a snapshot now and then"
		f.Evidence = []string{n.Addr + `: save is "", appendonly is no`}
		f.Lines = []string{"save 300 1"}
	default:
		return
	}
	x.add("redis-persistence", f)
}

// clocks compares our clock with those of others.
func (x *examiner) clocks() {
	if x.Redis != nil {
		for _, n := range x.Redis.Nodes {
			if n.Clock && n.Skew.Abs()-n.Blur > redisSkew {
				x.add("clock-redis", Finding{Summary: "our clock and that of Redis are " + short(n.Skew.Abs().Round(time.Second)) + " apart",
					Evidence: []string{fmt.Sprintf("%s is %s", n.Addr, ahead(n.Skew))}, Fix: "let NTP set both clocks", Place: "both machines",
					Lines: []string{"timedatectl set-ntp true"}})
			}
		}
	}
	var seen []string
	worst := time.Duration(0)
	for _, f := range x.Feeds {
		if f.Date.IsZero() {
			continue
		}
		skew := f.Date.Sub(f.At)
		// Its date has no fractions, and was written at some moment of the answer.
		if skew.Abs()-f.Took-time.Second > feedSkew {
			seen = append(seen, fmt.Sprintf("the server of %s is %s", f.List, ahead(skew)))
			worst = max(worst, skew.Abs())
		}
	}
	if len(seen) > 0 {
		x.add("clock-feed", Finding{Summary: "our clock and those of feeds are up to " + short(worst.Round(time.Second)) + " apart", Evidence: seen,
			Fix: "let NTP set our clock", Place: "this machine", Lines: []string{"timedatectl set-ntp true"}})
	}
}

// ahead puts a difference in words.
func ahead(d time.Duration) string {
	word := "ahead of us"
	if d < 0 {
		word = "behind us"
	}
	return short(d.Abs().Round(time.Second)) + " " + word
}

// major is a version's first number; 0 where there is none.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

// size writes bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return strconv.FormatFloat(float64(n)/float64(u.size), 'f', 1, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
