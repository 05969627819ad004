package doctor

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/dnsbl"
	"mailwicket/policy"
)

var now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// healthy is the evidence of an installation that nothing is wrong with.
func healthy() Evidence {
	save := "300 1"
	patience := func(d time.Duration) Patience { return Patience{For: d, Given: "given"} }
	at := func(line int) policy.Position { return policy.Position{File: "m.yaml", Line: line, Col: 1} }
	return Evidence{
		Now: now,
		Settings: &Settings{File: "m.yaml", At: map[string]policy.Position{"redis.url": at(3), "dnsbl[0]": at(7), "dns.servers[0]": at(9), "lists[0]": at(12)},
			Listen: []string{"inet:127.0.0.1:8891"}, Command: 8 * time.Second, Header: 20 * time.Second, Message: 45 * time.Second},
		Server: &Server{Version: "v1", Journal: Journal{Written: 1000}},
		Traffic: &Traffic{Messages: 1000, Since: now.Add(-time.Hour), Clients: 400, Top: netip.MustParseAddr("10.0.0.5"), TopCount: 20,
			MTAName: "mx.example.org", Version: "Postfix 3.7.11"},
		Macros: []Macros{{Stage: "connect", Seen: 100, Missing: map[string]int{"{client_ptr}": 1}}, {Stage: "header", Seen: 90}},
		MTA: &MTA{Kind: Postfix, Source: "postconf", Protocol: 6, Filters: []Filter{
			{Address: "inet:localhost:8891", Where: "smtpd_milters", Connect: patience(30 * time.Second), Command: patience(30 * time.Second),
				Content: patience(300 * time.Second), Action: Action{Word: "tempfail", Given: "given"}},
			{Address: "inet:127.0.0.1:11332", Where: "smtpd_milters", Command: patience(time.Second), Action: Action{Word: "accept"}}}},
		Redis: &Redis{Nodes: []RedisNode{{Addr: "r:6379", Version: "7.0.15", Role: "master", MaxMemory: 1 << 30, Policy: "noeviction", Save: &save,
			Clock: true, Skew: 900 * time.Millisecond}}},
		DNS:   []DNSServer{{Addr: "127.0.0.1:53", Key: "dns.servers[0]", Asked: true}, {Addr: "10.0.0.1:53", Key: "dns.servers[1]", Asked: true}},
		Zones: []Zone{{Name: "zen", Key: "dnsbl[0]", OK: true}, {Name: "new", Key: "dnsbl[1]", Why: "not probed yet"}},
		Lists: []List{{Name: "harmful", Key: "lists[0]", Source: "harmful.txt", Entries: 5, Loaded: now},
			{Name: "feed", Key: "lists[1]", Source: "https://h/l", Feed: true, Every: time.Hour, Loaded: now, LastTry: now, LastSuccess: now.Add(-2 * time.Hour)},
			{Name: "first", Key: "lists[2]", Source: "https://h/f", Feed: true, Every: time.Hour, Err: "there is no copy of it yet"}},
		Feeds: []Feed{{List: "feed", Key: "lists[1]", Date: now.Add(-30 * time.Second), At: now}},
		Disk:  &Disk{Dir: "/var/lib/mailwicket", Free: 50 << 30, Total: 100 << 30},
	}
}

func TestHealthyHasNoFindings(t *testing.T) {
	if got := Examine(healthy()); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	if got := Examine(Evidence{Now: now}); len(got) > 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

// change makes one thing of healthy otherwise; want is what is found then, "" if
// that is still well.
type change struct {
	name, want string
	do         func(*Evidence)
	says       string // part of summary, evidence, fix or lines
}

func changes() []change {
	return slices.Concat(clientChanges(), mtaChanges(), sendmailChanges(), redisChanges(), listChanges(), serverChanges())
}

func clientChanges() []change {
	top := func(a string, n int) func(*Evidence) {
		return func(e *Evidence) { e.Traffic.Top, e.Traffic.TopCount = netip.MustParseAddr(a), n }
	}
	return []change{
		{"docker's gateway", "client-nat", top("172.17.0.1", 990), "990 of 1000 messages"},
		{"half of it", "client-nat", top("172.17.0.1", 500), "userland-proxy"},
		{"less than half", "", top("172.17.0.1", 499), ""},
		{"too few messages", "", func(e *Evidence) { top("172.17.0.1", 19)(e); e.Traffic.Messages = 19 }, ""},
		{"loopback, trusted", "client-nat", func(e *Evidence) { top("127.0.0.1", 1000)(e); e.Traffic.Trusted = "trusted network" }, "inbound checks are not made"},
		{"much from loopback, trusted", "", func(e *Evidence) { top("127.0.0.1", 899)(e); e.Traffic.Trusted = "trusted network" }, ""},
		{"nearly all from loopback, trusted", "client-nat", func(e *Evidence) { top("127.0.0.1", 900)(e); e.Traffic.Trusted = "trusted network" }, "900 of 1000"},
		{"by the journal", "client-nat", func(e *Evidence) { top("10.1.1.1", 900)(e); e.Traffic.FromDisk = true }, "by the journal"},
		{"no macros at all", "macros-missing", func(e *Evidence) {
			e.Macros = []Macros{{Stage: "connect", Seen: 10, Missing: map[string]int{"j": 10, "{client_ptr}": 10}}, {Stage: "header", Seen: 10, Missing: map[string]int{"i": 6}}}
		}, "milter_end_of_data_macros = i"},
		{"a login without its name", "macros-missing", func(e *Evidence) {
			e.Macros = []Macros{{Stage: "mail", Seen: 12, Missing: map[string]int{"{auth_authen}": 12}}}
		}, "milter_mail_macros = i {auth_type} {auth_authen}"},
		{"macros of an unknown MTA", "macros-missing", func(e *Evidence) {
			e.MTA, e.Traffic.Version = nil, ""
			e.Macros = []Macros{{Stage: "connect", Seen: 12, Missing: map[string]int{"v": 12, "{cipher}": 12}}}
		}, "confMILTER_MACROS_CONNECT"},
		{"macros of Sendmail", "macros-missing", func(e *Evidence) {
			e.MTA, e.Traffic.Version = nil, "8.17.1"
			e.Macros = []Macros{{Stage: "header", Seen: 12, Missing: map[string]int{"i": 12}}}
		}, "define(`confMILTER_MACROS_EOH', `i, {auth_authen}')dnl"},
		{"macros of a few sessions", "", func(e *Evidence) { e.Macros = []Macros{{Stage: "connect", Seen: 9, Missing: map[string]int{"j": 9}}} }, ""},
		{"macros of every other session", "", func(e *Evidence) { e.Macros = []Macros{{Stage: "connect", Seen: 10, Missing: map[string]int{"j": 5}}} }, ""},
		{"no name", "authserv-id", func(e *Evidence) { e.Traffic.MTAName = "" }, "no macro j"},
		{"a short name", "authserv-id", func(e *Evidence) { e.Traffic.MTAName = "mx" }, `macro j is "mx"`},
		{"a short name, and one of our own", "", func(e *Evidence) { e.Traffic.MTAName, e.Settings.AuthservID = "mx", "mx.example.org" }, ""},
		{"no mail yet", "", func(e *Evidence) { *e.Traffic = Traffic{} }, ""},
	}
}

func mtaChanges() []change {
	ours := func(f func(*Filter)) func(*Evidence) { return func(e *Evidence) { f(&e.MTA.Filters[0]) } }
	return []change{
		{"not to be found", "mta-unknown", func(e *Evidence) { e.MTA, e.NoMTA = nil, "no postconf" }, "no postconf"},
		{"not looked for", "", func(e *Evidence) { e.MTA = nil }, ""},
		{"another Postfix beside", "mta-unknown", func(e *Evidence) { e.MTA.Filters = nil }, "not the postfix of this machine"},
		{"no mail, not attached", "mta-not-attached", func(e *Evidence) { e.MTA.Filters, e.Traffic.Messages = nil, 0 }, "smtpd_milters = inet:127.0.0.1:8891"},
		{"named, not attached", "mta-not-attached", func(e *Evidence) { e.MTA.Filters, e.MTA.Named = e.MTA.Filters[1:], true }, "inet:127.0.0.1:11332"},
		{"named Sendmail, not attached", "mta-not-attached", func(e *Evidence) { e.MTA = &MTA{Kind: Sendmail, Named: true} }, "S=inet:8891@127.0.0.1"},
		{"the port of another address", "mta-not-attached", func(e *Evidence) { e.MTA.Filters[0].Address, e.MTA.Named = "inet:10.0.0.9:8891", true }, "10.0.0.9"},
		{"a unix socket below the queue directory", "", func(e *Evidence) {
			e.Settings.Listen, e.MTA.Filters[0].Address = []string{"unix:/var/spool/postfix/mw/m.sock"}, "unix:mw/m.sock"
		}, ""},
		{"all interfaces", "", func(e *Evidence) {
			e.Settings.Listen, e.MTA.Filters[0].Address = []string{"inet:[::]:8891"}, "inet:10.0.0.9:8891"
		}, ""},
		{"commands, too short", "mta-command-timeout", ours(func(f *Filter) { f.Command = Patience{For: 8 * time.Second, Given: "milter_command_timeout = 8s"} }), "milter_command_timeout = 30s"},
		{"commands, just long enough", "", ours(func(f *Filter) { f.Command.For = 9 * time.Second }), ""},
		{"commands, of this milter", "mta-command-timeout", ours(func(f *Filter) { f.Command = Patience{For: 5 * time.Second, Own: true} }), "command_timeout=30s"},
		{"long commands of ours", "mta-command-timeout", func(e *Evidence) { e.Settings.Command = 30 * time.Second }, "milter_command_timeout = 45s"},
		{"content, too short", "mta-content-timeout", ours(func(f *Filter) { f.Content.For = 20 * time.Second }), "milter_content_timeout = 5m"},
		{"content, long enough thanks to progress", "mta-content-short", ours(func(f *Filter) { f.Content.For = 45 * time.Second }), "milter_content_timeout = 5m"},
		{"content, just long enough", "", ours(func(f *Filter) { f.Content.For = 46 * time.Second }), ""},
		{"connections, too short", "mta-connect-timeout", ours(func(f *Filter) { f.Connect.For = time.Second }), "milter_connect_timeout = 30s"},
		{"connections, just long enough", "", ours(func(f *Filter) { f.Connect.For = 2 * time.Second }), ""},
		{"accept while away", "mta-default-action", ours(func(f *Filter) { f.Action = Action{Word: "accept", Given: "milter_default_action = accept"} }), "milter_default_action = tempfail"},
		{"refuse while away", "mta-default-action", ours(func(f *Filter) { f.Action = Action{Word: "reject", Own: true} }), "default_action=tempfail"},
		{"shutdown while away", "", ours(func(f *Filter) { f.Action.Word = "shutdown" }), ""},
		{"old protocol", "mta-protocol", func(e *Evidence) { e.MTA.Protocol = 4 }, "milter_protocol = 6"},
		{"protocol not told", "", func(e *Evidence) { e.MTA.Protocol = 0 }, ""},
		{"mail of programs", "mta-local-mail", func(e *Evidence) { e.MTA.Local = e.MTA.Filters[:1] }, "non_smtpd_milters ="},
		{"mail of programs, for another", "", func(e *Evidence) { e.MTA.Local = e.MTA.Filters[1:] }, ""},
	}
}

func sendmailChanges() []change {
	with := func(f Filter) func(*Evidence) {
		return func(e *Evidence) {
			f.Address = "inet:127.0.0.1:8891"
			e.MTA = &MTA{Kind: Sendmail, Source: "sendmail.mc", Filters: []Filter{f}}
		}
	}
	good := Filter{Connect: Patience{For: time.Minute}, Command: Patience{For: 30 * time.Second}, Content: Patience{For: 5 * time.Minute}, Action: Action{Word: "tempfail"}}
	short, late, away := good, good, good
	short.Command, late.Content, away.Action = Patience{For: 10 * time.Second, Given: "default R: of 10s"}, Patience{For: 30 * time.Second, Given: "T=E:30s"}, Action{Word: "accept", Given: "no F="}
	return []change{
		{"Sendmail, well", "", with(good), ""},
		{"Sendmail's default R:", "mta-command-timeout", with(short), "R:30s"},
		{"Sendmail's E:", "mta-content-timeout", with(late), "E:5m"},
		{"Sendmail without F=", "mta-default-action", with(away), "F=T"},
	}
}

func redisChanges() []change {
	node := func(f func(*RedisNode)) func(*Evidence) { return func(e *Evidence) { f(&e.Redis.Nodes[0]) } }
	empty := ""
	return []change{
		{"unreachable", "redis-down", func(e *Evidence) { e.Redis = &Redis{Err: "dial tcp: refused"} }, "m.yaml:3:1"},
		{"wrong password", "redis-down", func(e *Evidence) { e.Redis = &Redis{Err: "WRONGPASS", Auth: true} }, "refuses our login"},
		{"down by the server's word", "redis-down", func(e *Evidence) {
			e.Redis, e.Server.Degraded = nil, []Dependency{{"redis", "i/o timeout"}}
		}, "i/o timeout"},
		{"no Redis", "", func(e *Evidence) { e.Redis = nil }, ""},
		{"any key goes", "redis-eviction", node(func(n *RedisNode) { n.Policy = "allkeys-lru" }), "CONFIG SET maxmemory-policy noeviction"},
		{"any key would go", "redis-eviction", node(func(n *RedisNode) { n.Policy, n.MaxMemory = "allkeys-lfu", 0 }), "no maxmemory is set as yet"},
		{"keys with a lifetime go", "redis-eviction-volatile", node(func(n *RedisNode) { n.Policy = "volatile-lru" }), "maxmemory is 1.0 GiB"},
		{"the oldest go", "", node(func(n *RedisNode) { n.Policy = "volatile-ttl" }), ""},
		{"nothing goes without a limit", "", node(func(n *RedisNode) { n.Policy, n.MaxMemory = "volatile-lru", 0 }), ""},
		{"nothing on disk", "redis-persistence", node(func(n *RedisNode) { n.Save = &empty }), "save 300 1"},
		{"appended", "", node(func(n *RedisNode) { n.Save, n.AOF = &empty, true }), ""},
		{"snapshots not known", "", node(func(n *RedisNode) { n.Save = nil }), ""},
		{"disk full", "redis-persistence", node(func(n *RedisNode) { n.SaveError = "the last snapshot: err" }), "the last snapshot: err"},
		{"old", "redis-old", node(func(n *RedisNode) { n.Version = "4.0.14" }), "4.0.14"},
		{"old enough", "", node(func(n *RedisNode) { n.Version = "5.0.0" }), ""},
		{"version not known", "", node(func(n *RedisNode) { n.Version = "unstable" }), ""},
		{"a replica", "redis-replica", node(func(n *RedisNode) { n.Role = "slave" }), "redis+sentinel://"},
		{"may not ask", "redis-hidden", node(func(n *RedisNode) { *n = RedisNode{Addr: "r", Hidden: "NOPERM"} }), "+info +time +config|get"},
		{"its clock is ahead", "clock-redis", node(func(n *RedisNode) { n.Skew = 6 * time.Second }), "6s ahead of us"},
		{"its clock is behind", "clock-redis", node(func(n *RedisNode) { n.Skew = -2 * time.Hour }), "2h behind us"},
		{"a slow answer", "", node(func(n *RedisNode) { n.Skew, n.Blur = 6*time.Second, 2*time.Second }), ""},
	}
}

func listChanges() []change {
	zone := func(f dnsbl.Fault) func(*Evidence) {
		return func(e *Evidence) {
			e.Zones[0] = Zone{Name: "zen", Key: "dnsbl[0]", Fault: f, Why: "because", Since: now}
		}
	}
	return []change{
		{"no server answers", "dns-down", func(e *Evidence) { e.DNS[0].Err, e.DNS[1].Err = "timeout", "refused" }, "10.0.0.1:53: refused"},
		{"none by the server's word", "dns-down", func(e *Evidence) {
			e.DNS[0].Asked, e.DNS[1].Asked, e.Server.Degraded = false, false, []Dependency{{"dns", "timed out"}}
		}, "timed out"},
		{"one is silent", "dns-server-silent", func(e *Evidence) { e.DNS[0].Err = "timeout" }, "m.yaml:9:1"},
		{"a public one", "dns-public", func(e *Evidence) { e.DNS[0].Public = true }, "unbound"},
		{"a public one, no DNS lists", "", func(e *Evidence) { e.DNS[0].Public, e.Zones = true, nil }, ""},
		{"refused", "dnsbl-refused", zone(dnsbl.FaultRefusing), "key_file"},
		{"lists everything", "dnsbl-poisoned", zone(dnsbl.FaultWildcard), "lists everything"},
		{"somebody else", "dnsbl-poisoned", zone(dnsbl.FaultForeign), "somebody else answers"},
		{"silent", "dnsbl-out-of-service", zone(dnsbl.FaultSilent), "m.yaml:7:1"},
		{"without its test entry", "dnsbl-out-of-service", zone(dnsbl.FaultEmpty), "test entry"},
		{"never read", "list-not-loaded", func(e *Evidence) { e.Lists[0].Loaded, e.Lists[0].Err = time.Time{}, "no such file" }, "no such file"},
		{"no newer version", "list-stale", func(e *Evidence) { e.Lists[0].Err = "more bad lines than good ones" }, "m.yaml:12:1"},
		{"an old copy", "list-stale", func(e *Evidence) { e.Lists[1].LastSuccess = now.Add(-25 * time.Hour) }, "2026-11-22 09:00 UTC"},
		{"not so old", "", func(e *Evidence) { e.Lists[1].LastSuccess = now.Add(-24 * time.Hour) }, ""},
		{"old, but seldom asked", "", func(e *Evidence) { e.Lists[1].LastSuccess, e.Lists[1].Every = now.Add(-25*time.Hour), 12*time.Hour }, ""},
		{"Redis is away", "list-stale", func(e *Evidence) { e.Lists[0].LastError = "i/o timeout" }, "may miss changes"},
		{"the feed fails", "feed-failing", func(e *Evidence) { e.Lists[1].LastError = "the server answers 404 Not Found" }, "list confirm feed"},
		{"the feed fails when it is asked", "feed-failing", func(e *Evidence) { e.Feeds[0].Err = "no such host" }, "no such host"},
		{"the feed fails both times", "feed-failing", func(e *Evidence) { e.Feeds[0].Err, e.Lists[1].LastError = "no such host", "no such host" }, ""},
		{"a feed's clock", "clock-feed", func(e *Evidence) { e.Feeds[0].Date = now.Add(-10 * time.Minute) }, "10m behind us"},
		{"a feed's clock, slow answer", "", func(e *Evidence) { e.Feeds[0].Date, e.Feeds[0].Took = now.Add(-80*time.Second), 20*time.Second }, ""},
		{"a feed without a clock", "", func(e *Evidence) { e.Feeds[0].Date = time.Time{} }, ""},
	}
}

func serverChanges() []change {
	const mib, gib = 1 << 20, 1 << 30
	disk := func(free, total int64) func(*Evidence) {
		return func(e *Evidence) { e.Disk.Free, e.Disk.Total = free, total }
	}
	return []change{
		{"none", "server-down", func(e *Evidence) { e.Server, e.NoServer = nil, "connection refused" }, "connection refused"},
		{"bad file", "config-bad", func(e *Evidence) { e.Problems = []string{"m.yaml:1:1: unknown key"} }, "m.yaml:1:1: unknown key"},
		{"bad reload", "reload-failed", func(e *Evidence) { e.Server.Reload = "2 problem(s)" }, "config check"},
		{"a changed key", "restart-needed", func(e *Evidence) { e.Server.Pending = []string{"redis.url"} }, "m.yaml:3:1"},
		{"greylist from memory", "greylist-fallback", func(e *Evidence) { e.Server.Fallback = "5 failures" }, "5 failures"},
		{"a part of it", "degraded", func(e *Evidence) { e.Server.Degraded = []Dependency{{"redis (rates)", "timeout"}} }, "timeout"},
		{"parts with findings of their own", "", func(e *Evidence) {
			e.Server.Degraded = []Dependency{{"list x", "a"}, {"source of list x", "b"}, {"DNS list z", "c"}, {"redis", "d"}}
		}, ""},
		{"journal", "journal-lost", func(e *Evidence) { e.Server.Journal = Journal{Written: 90, Lost: 10, LastAt: now.Add(-time.Minute)} }, "10 of 100"},
		{"journal, long ago", "", func(e *Evidence) { e.Server.Journal = Journal{Written: 90, Lost: 10, LastAt: now.Add(-time.Hour)} }, ""},
		{"admin for all", "admin-open", func(e *Evidence) { e.Server.AdminOpen = "[::]:9891" }, "[::]:9891"},
		{"not writable", "data-dir-unwritable", func(e *Evidence) { e.Disk.Unwritable = "read-only file system" }, "read-only file system"},
		{"no quota left", "data-dir-full", func(e *Evidence) { e.Disk.Full = true }, "no quota"},
		{"nearly full", "data-dir-full", disk(4*gib, 100*gib), "4.0 GiB of 100.0 GiB"},
		{"a gigabyte", "data-dir-full", disk(gib-1, 5*gib), "max_size"},
		{"a small part of much", "", disk(40*gib, 1000*gib), ""},
		{"a small disk, not full", "", disk(600*mib, gib), ""},
		{"a small disk, full", "data-dir-full", disk(20*mib, 512*mib), "20.0 MiB"},
		{"size not known", "", disk(0, 0), ""},
	}
}

// Each change is found, by itself, and told with what was seen and what to do; what
// is near and still well is not.
func TestExamine(t *testing.T) {
	found, near := map[string]bool{}, 0
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			e := healthy()
			c.do(&e)
			got := Examine(e)
			if c.want == "" {
				near++
				if len(got) > 0 {
					t.Errorf("found %+v", got)
				}
				return
			}
			found[c.want] = true
			if len(got) != 1 || got[0].ID != c.want {
				t.Fatalf("want %s, found %+v", c.want, got)
			}
			f := got[0]
			if f.Summary == "" || len(f.Evidence) == 0 || f.Fix == "" || f.Severity == "" || slices.Contains(f.Evidence, "") {
				t.Errorf("incomplete: %+v", f)
			}
			if text := strings.Join(append(append(f.Evidence, f.Lines...), f.Summary, f.Fix, f.At.String()), "\n"); !strings.Contains(text, c.says) {
				t.Errorf("%q is not told:\n%s", c.says, text)
			}
			if !reflect.DeepEqual(got, Examine(e)) {
				t.Error("found otherwise the second time")
			}
		})
	}
	for _, k := range Kinds() {
		if !found[k.ID] {
			t.Errorf("no case finds %s", k.ID)
		}
	}
	if near < 20 {
		t.Errorf("%d cases that are still well", near)
	}
}

// The worst comes first, and the rest in the order of examination.
func TestOrder(t *testing.T) {
	e := healthy()
	for _, c := range changes() {
		if slices.Contains([]string{"mta-unknown", "dns-server-silent", "redis-eviction", "client-nat"}, c.want) && c.name != "another Postfix beside" {
			c.do(&e)
		}
	}
	var got []string
	for _, f := range Examine(e) {
		got = append(got, f.ID)
	}
	if d := cmp.Diff([]string{"client-nat", "redis-eviction", "dns-server-silent", "mta-unknown"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// Evidence goes over the admin API without loss.
func TestEvidenceTravels(t *testing.T) {
	e := healthy()
	e.Problems, e.NoServer, e.NoMTA = []string{"a"}, "b", "c"
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Evidence
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-sent +got)\n%s", d)
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		if seen[k.ID] || k.Severity.rank() == 0 && k.Severity != Problem || !strings.HasSuffix(k.Meaning, ".") || !strings.HasSuffix(k.Fix, ".") {
			t.Errorf("%+v", k)
		}
		seen[k.ID] = true
	}
}
