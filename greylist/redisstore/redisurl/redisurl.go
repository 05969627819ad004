// Package redisurl reads the URL under which a Redis is configured, and sets the
// client up for use beside an MTA: a server that does not answer costs a fifth of
// a second, not five.
//
//	redis://[user:password@]host[:port][/db]
//	redis+sentinel://[user:password@]host[:port],host[:port].../master[/db]
//	redis+cluster://[user:password@]host[:port],host[:port]...
//
// With rediss for redis the connection is TLS, server names checked. Names and
// passwords may be percent-encoded; ":password@" leaves the user out. The query
// may hold db=N and, for Sentinels that ask for a login of their own,
// sentinel_user= and sentinel_password=.
package redisurl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The kinds of set-up.
const (
	single   = ""
	sentinel = "sentinel"
	cluster  = "cluster"
)

// Parse reads a URL. Errors say which part is wrong, but quote nothing of it: in a
// wrong URL, a password may stand anywhere.
func Parse(text string) (*redis.UniversalOptions, error) {
	o, err := parse(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}
	return o, nil
}

func parse(text string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("no scheme: want redis://, rediss://, redis+sentinel:// or redis+cluster://")
	}
	base, kind, _ := strings.Cut(strings.ToLower(scheme), "+")
	if base != "redis" && base != "rediss" || kind != single && kind != sentinel && kind != cluster ||
		strings.HasSuffix(scheme, "+") {
		return nil, errors.New("unknown scheme: want redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster or rediss+cluster")
	}
	o := tuned(kind)
	if base == "rediss" {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if strings.Contains(rest, "#") {
		return nil, errors.New(`has a "#": write %23 where it belongs to a password`)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") {
		return nil, errors.New(`has an "@" behind a "?": write %3F and %40 where they belong to a password`)
	}
	login, rest, err := cutLogin(rest)
	if err != nil {
		return nil, err
	}
	o.Username, o.Password = login.user, login.password
	hosts, path, _ := strings.Cut(rest, "/")
	if o.Addrs, err = addresses(hosts, kind); err != nil {
		return nil, err
	}
	if err := readPath(o, kind, strings.TrimSuffix(path, "/")); err != nil {
		return nil, err
	}
	return o, readQuery(o, kind, query)
}

// tuned gives the options that do not depend on the URL. go-redis' own wait for
// seconds, try again several times, and overlook the context's deadline.
func tuned(kind string) *redis.UniversalOptions {
	o := &redis.UniversalOptions{
		ContextTimeoutEnabled: true,
		DialTimeout:           250 * time.Millisecond,
		DialerRetries:         1,
		ReadTimeout:           200 * time.Millisecond,
		WriteTimeout:          200 * time.Millisecond,
		PoolTimeout:           200 * time.Millisecond,
		MaxRetries:            1,
		MinRetryBackoff:       5 * time.Millisecond,
		MaxRetryBackoff:       20 * time.Millisecond,
		DisableIdentity:       true,
		IsClusterMode:         kind == cluster,
	}
	if kind != sentinel {
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
	return o
}

type login struct{ user, password string }

// cutLogin splits "user:password@" off. The last "@" counts: hosts have none.
func cutLogin(rest string) (login, string, error) {
	i := strings.LastIndexByte(rest, '@')
	if i < 0 {
		return login{}, rest, nil
	}
	user, password, both := strings.Cut(rest[:i], ":")
	u, err := url.PathUnescape(user)
	if err != nil {
		return login{}, "", errors.New("bad percent-encoding in the user name")
	}
	p, err := url.PathUnescape(password)
	if err != nil {
		return login{}, "", errors.New("bad percent-encoding in the password")
	}
	if !both {
		return login{}, "", errors.New(`no password before the "@": write user:password@, or :password@`)
	}
	return login{u, p}, rest[i+1:], nil
}

func addresses(hosts, kind string) ([]string, error) {
	port := "6379"
	if kind == sentinel {
		port = "26379"
	}
	var out []string
	for h := range strings.SplitSeq(hosts, ",") {
		a, err := address(strings.TrimSpace(h), port)
		if err != nil {
			return nil, fmt.Errorf("host %d: %w", len(out)+1, err)
		}
		out = append(out, a)
	}
	if kind == single && len(out) > 1 {
		return nil, errors.New("several hosts: use redis+sentinel:// or redis+cluster://")
	}
	return out, nil
}

// address completes "host", "host:port", "[v6]" and "[v6]:port".
func address(h, port string) (string, error) {
	if h == "" {
		return "", errors.New("is empty")
	}
	bare := strings.HasSuffix(h, "]") || !strings.Contains(h, ":")
	if bare {
		h = net.JoinHostPort(strings.Trim(h, "[]"), port)
	}
	host, p, err := net.SplitHostPort(h)
	if err != nil {
		return "", errors.New("want host:port, IPv6 addresses in brackets")
	}
	if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || host == "" {
		return "", errors.New("has no name, or a bad port")
	}
	return h, nil
}

// readPath reads the database, and before it the master of Sentinel.
func readPath(o *redis.UniversalOptions, kind, path string) error {
	if kind == sentinel {
		master, db, _ := strings.Cut(path, "/")
		name, err := url.PathUnescape(master)
		if err != nil || name == "" {
			return errors.New("no master name: want redis+sentinel://host,host/master")
		}
		o.MasterName, path = name, db
	}
	if path == "" {
		return nil
	}
	return setDB(o, kind, path)
}

func setDB(o *redis.UniversalOptions, kind, text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("the database is no number")
	}
	if kind == cluster && n != 0 {
		return errors.New("a cluster has no database but 0")
	}
	o.DB = int(n)
	return nil
}

func readQuery(o *redis.UniversalOptions, kind, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the part behind the \"?\" cannot be read")
	}
	for key, v := range values {
		value := v[len(v)-1]
		switch {
		case key == "db":
			if err := setDB(o, kind, value); err != nil {
				return err
			}
		case key == "sentinel_user" && kind == sentinel:
			o.SentinelUsername = value
		case key == "sentinel_password" && kind == sentinel:
			o.SentinelPassword = value
		default:
			return errors.New("unknown parameter: want db, or for Sentinel sentinel_user, sentinel_password")
		}
	}
	return nil
}
