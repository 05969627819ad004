package redisurl_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/greylist/redisstore/redisurl"
)

// told is the part of the options that the URL decides.
type told struct {
	Addrs                    []string
	User, Password, Master   string
	SentinelUser, SentinelPW string
	DB                       int
	TLS, Cluster             bool
}

func TestParse(t *testing.T) {
	tests := []struct {
		url  string
		want told
	}{
		{"redis://localhost", told{Addrs: []string{"localhost:6379"}}},
		{"redis://localhost/", told{Addrs: []string{"localhost:6379"}}},
		{" REDIS://10.0.0.1:7000/2\n", told{Addrs: []string{"10.0.0.1:7000"}, DB: 2}},
		{"redis://[::1]", told{Addrs: []string{"[::1]:6379"}}},
		{"redis://[2001:db8::1]:7000?db=3", told{Addrs: []string{"[2001:db8::1]:7000"}, DB: 3}},
		{"redis://:pw@h", told{Addrs: []string{"h:6379"}, Password: "pw"}},
		{"redis://me:p%40s%2Fs%3a%25@h:1/1", told{Addrs: []string{"h:1"}, User: "me", Password: "p@s/s:%", DB: 1}},
		{"redis://me:a/b@c@h", told{Addrs: []string{"h:6379"}, User: "me", Password: "a/b@c"}},
		{"rediss://h", told{Addrs: []string{"h:6379"}, TLS: true}},
		{"redis+sentinel://h1,h2:7,[::1]/main", told{Addrs: []string{"h1:26379", "h2:7", "[::1]:26379"}, Master: "main"}},
		{"redis+sentinel://u:p@h1/main/4?sentinel_user=su&sentinel_password=s%40p", told{Addrs: []string{"h1:26379"}, Master: "main", DB: 4,
			User: "u", Password: "p", SentinelUser: "su", SentinelPW: "s@p"}},
		{"rediss+sentinel://h1/m%20n", told{Addrs: []string{"h1:26379"}, Master: "m n", TLS: true}},
		{"redis+cluster://h1,h2", told{Addrs: []string{"h1:6379", "h2:6379"}, Cluster: true}},
		{"rediss+cluster://h1/0", told{Addrs: []string{"h1:6379"}, Cluster: true, TLS: true}},
	}
	for _, tt := range tests {
		o, err := redisurl.Parse(tt.url)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.url, err)
			continue
		}
		got := told{o.Addrs, o.Username, o.Password, o.MasterName, o.SentinelUsername, o.SentinelPassword, o.DB, o.TLSConfig != nil, o.IsClusterMode}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.url, diff)
		}
		if !o.ContextTimeoutEnabled || o.ReadTimeout > time.Second || o.DialTimeout > time.Second || o.PoolTimeout > time.Second || o.MaxRetries != 1 {
			t.Errorf("Parse(%q) leaves the client slow: %+v", tt.url, o)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ url, want string }{
		{"", "no scheme"},
		{"localhost:6379", "no scheme"},
		{"http://h", "unknown scheme"},
		{"redis+sentinels://h/m", "unknown scheme"},
		{"redis+://h", "unknown scheme"},
		{"redis://", "host 1: is empty"},
		{"redis://h:x", "host 1: has no name, or a bad port"},
		{"redis://h:0", "host 1: has no name, or a bad port"},
		{"redis://h:70000", "host 1: has no name, or a bad port"},
		{"redis://:7", "host 1: has no name, or a bad port"},
		{"redis://2001:db8::1", "host 1: want host:port, IPv6 addresses in brackets"},
		{"redis://h1,h2", "use redis+sentinel:// or redis+cluster://"},
		{"redis+cluster://h1,,h2", "host 2: is empty"},
		{"redis://h/x", "the database is no number"},
		{"redis://h/-1", "the database is no number"},
		{"redis+cluster://h/1", "a cluster has no database but 0"},
		{"redis+sentinel://h", "no master name"},
		{"redis://h?database=1", "unknown parameter"},
		{"redis://h?sentinel_user=x", "unknown parameter"},
		{"redis://h?%zz", "cannot be read"},
		{"redis://token@h", "no password before"},
		{"redis://:%zz@h", "percent-encoding in the password"},
		{"redis://%zz:x@h", "percent-encoding in the user name"},
		{"redis://:a?b@h", "write %3F"},
		{"redis://:a#b@h", "write %23"},
	}
	for _, tt := range tests {
		if o, err := redisurl.Parse(tt.url); err == nil || !strings.Contains(err.Error(), tt.want) || o != nil {
			t.Errorf("Parse(%q) = %v, %v, want %q", tt.url, o, err, tt.want)
		}
	}
}

// An error must not show the password, wherever a slip has put it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"redis://:PW@h", "redis://u:PW", "redis://PW@h:x", "redis://h/PW", "redis://h?PW=1", "redis://:PW?x@h",
		"PW://h", "redis://h,PW:x", "redis+sentinel://h/m/PW", "redis://h?sentinel_password=PW", "redis:PW@h", "redis://[PW", "redis://:%PW@h"} {
		f.Add(s)
	}
	const secret = "hunter2zz"
	f.Fuzz(func(t *testing.T, s string) {
		o, err := redisurl.Parse(strings.ReplaceAll(s, "PW", secret))
		if err != nil {
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if len(o.Addrs) == 0 || o.DB < 0 {
			t.Errorf("%q: %+v", s, o)
		}
	})
}
