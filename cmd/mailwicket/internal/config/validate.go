package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/filter/mail"
	"mailwicket/greylist/redisstore/redisurl"
	"mailwicket/policy"
)

// Validate gives every problem of what the keys mean together. It looks at no
// file and asks no DNS. Keys whose value could not be read are left out: they
// have a problem already.
func (c *Config) Validate() []policy.Problem {
	v := &validator{c: c}
	v.milter()
	v.admin()
	v.places()
	v.redis()
	v.names()
	v.greylist()
	v.lists()
	v.zones()
	v.reputation()
	v.rates()
	v.journal()
	return v.problems
}

type validator struct {
	c        *Config
	problems []policy.Problem
}

// problem notes one, unless one of the keys that it is about could not be read.
func (v *validator) problem(path, message, hint string, about ...string) {
	if slices.ContainsFunc(append(about, path), v.broken) {
		return
	}
	v.problems = append(v.problems, policy.Problem{At: v.c.Position(path), Path: path, Message: message, Hint: hint})
}

// broken tells whether a key, or the section around it, could not be read.
func (v *validator) broken(path string) bool {
	for ; path != ""; path = keys.Parent(path) {
		if v.c.broken[path] {
			return true
		}
	}
	return false
}

func (v *validator) journal() {
	if v.c.Journal.Share && v.c.Redis.URL == "" {
		v.problem("journal.share", "there is no Redis to share decisions over", "set redis.url", "redis.url")
	}
}

func (v *validator) milter() {
	m := v.c.Milter
	if len(m.Listen) == 0 {
		v.problem("milter.listen", "there is no address to listen on", "for example [\"inet:127.0.0.1:8891\"]")
	}
	inet := false
	seen := map[string]bool{}
	for i, s := range m.Listen {
		path := index("milter.listen", i)
		if message, hint := listenProblem(s); message != "" {
			v.problem(path, message, hint)
		} else if seen[s] {
			v.problem(path, fmt.Sprintf("%q is given twice", s), "")
		}
		seen[s] = true
		inet = inet || strings.HasPrefix(s, "inet")
	}
	if inet && len(m.Allow) == 0 {
		v.problem("milter.allow", "no host may connect to the inet addresses of milter.listen",
			"name the MTA's network, or listen on unix:/path", "milter.listen")
	}
	if n, err := strconv.ParseUint(m.SocketMode, 8, 32); err != nil || n > 0o777 {
		v.problem("milter.socket_mode", fmt.Sprintf("want an octal mode such as 0660, got %q", m.SocketMode), "")
	}
}

// maxUnixPath is what the kernel holds of a socket's path.
const maxUnixPath = 107

// listenProblem tells what is wrong with an address of the milter.
func listenProblem(s string) (message, hint string) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "unix":
		switch {
		case !filepath.IsAbs(rest):
			return fmt.Sprintf("want unix: with an absolute path, got %q", s), "for example unix:/run/mailwicket/mailwicket.sock"
		case len(rest) > maxUnixPath:
			return fmt.Sprintf("the socket's path is longer than %d bytes", maxUnixPath), ""
		}
		return "", ""
	case "inet", "inet6":
		host, port, err := net.SplitHostPort(rest)
		if err != nil || !validHost(host) || !validPort(port) {
			return fmt.Sprintf("want %s:HOST:PORT, got %q", kind, s), map[string]string{
				"inet":  "for example inet:127.0.0.1:8891, or inet:0.0.0.0:8891 for all interfaces",
				"inet6": "for example inet6:[::1]:8891, or inet6:[::]:8891 for all interfaces"}[kind]
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Is4() != (kind == "inet") {
			other := map[string]string{"inet": "inet6", "inet6": "inet"}[kind]
			return fmt.Sprintf("%s is not an address of %s", host, kind), "write " + other + ":" + rest
		}
		return "", ""
	}
	if _, port, err := net.SplitHostPort(s); err == nil && validPort(port) {
		hint = "did you mean inet:" + s + "?"
	} else if filepath.IsAbs(s) {
		hint = "did you mean unix:" + s + "?"
	}
	return fmt.Sprintf("want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/path, got %q", s), hint
}

func (v *validator) admin() {
	a := v.c.Admin
	if a.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(a.Listen)
	if err != nil || host != "" && !validHost(host) || !validPort(port) {
		v.problem("admin.listen", fmt.Sprintf("want HOST:PORT, got %q", a.Listen), `for example 127.0.0.1:9891; "" switches it off`)
		return
	}
	addr, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && addr.Unmap().IsLoopback()
	if !loopback && a.TokenFile == "" {
		v.problem("admin.listen", "others than this host could read and change the state: a token is required",
			"set admin.token_file, or listen on 127.0.0.1", "admin.token_file")
	}
}

// places are directories and servers.
func (v *validator) places() {
	if v.c.DataDir == "" {
		v.problem("data_dir", "there is no place to keep the state", "for example /var/lib/mailwicket")
	}
	for i, s := range v.c.DNS.Servers {
		if _, err := hostPort(s, "53"); err != nil {
			v.problem(index("dns.servers", i), fmt.Sprintf("want HOST or HOST:PORT, got %q", s), "for example 127.0.0.1:53")
		}
	}
	for i, n := range v.c.Trusted.Networks {
		if n.Bits() == 0 {
			v.problem(index("trusted.networks", i), n.String()+" trusts everybody: no mail would be checked", "name your own networks")
		}
	}
}

func (v *validator) redis() {
	r := v.c.Redis
	if r.URL == "" {
		for _, k := range [][2]string{{"username", r.Username}, {"password_file", r.PasswordFile}, {"ca_file", r.CAFile}} {
			if k[1] != "" {
				v.problem("redis."+k[0], "has no effect without redis.url", "set redis.url, or take it out", "redis.url")
			}
		}
		return
	}
	o, err := redisurl.Parse(r.URL)
	if err != nil {
		v.problem("redis.url", strings.TrimPrefix(err.Error(), "redis url: "), "")
		return
	}
	const hint = "keep one of the two"
	if o.Password != "" && r.PasswordFile != "" {
		v.problem("redis.password_file", "the password is also given in redis.url", hint)
	}
	if o.Username != "" && r.Username != "" {
		v.problem("redis.username", "the user is also given in redis.url", hint)
	}
	if r.CAFile != "" && o.TLSConfig == nil {
		v.problem("redis.ca_file", "has no effect: redis.url does not ask for TLS", "write rediss:// there")
	}
}

// names are those under which we speak, and whom we believe.
func (v *validator) names() {
	// RFC 8601, 2.2: a value; ours is one that needs no quotes.
	if id := v.c.AuthservID; id != "" && !validName(id) {
		v.problem("authserv_id", fmt.Sprintf("want a host name such as mx.example.org, got %q", id), "letters, digits, hyphens, underscores and dots")
	}
	for i, s := range v.c.ARC.TrustedSealers {
		if !validDomain(s) {
			v.problem(index("arc.trusted_sealers", i), fmt.Sprintf("want a domain, got %q", s), "for example lists.example.org")
		}
	}
}

func (v *validator) greylist() {
	g := v.c.Greylist
	if g.RetryWindow <= g.Delay {
		v.problem("greylist.retry_window", fmt.Sprintf("must be longer than greylist.delay (%s), got %s", g.Delay, g.RetryWindow),
			"no retry would ever pass", "greylist.delay")
	} else if min(g.RetryWindow, g.DoubtfulWindow) <= max(g.Delay, g.DoubtfulDelay) {
		v.problem("greylist.doubtful_window", fmt.Sprintf("must be longer than greylist.doubtful_delay (%s) and greylist.delay (%s), got %s",
			g.DoubtfulDelay, g.Delay, g.DoubtfulWindow), "no retry of a doubtful client would ever pass",
			"greylist.doubtful_delay", "greylist.delay", "greylist.retry_window")
	}
	v.mailboxes("greylist.skip_recipients", g.SkipRecipients)
	v.mailboxes("greylist.skip_senders", g.SkipSenders)
}

func (v *validator) mailboxes(path string, all []string) {
	for i, s := range all {
		if !validMailbox(s) {
			v.problem(index(path, i), fmt.Sprintf("want an address or a domain, got %q", s), mailboxHint(s))
		}
	}
}

func mailboxHint(s string) string {
	if i := strings.LastIndexByte(s, '@'); i > 0 && validDomain(s[i+1:]) && !validName(s[i+1:]) {
		return "write " + s[:i+1] + mail.CanonicalDomain(s[i+1:])
	}
	if strings.HasPrefix(s, "*") || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "@") {
		return "a domain stands for all below it: write " + strings.TrimLeft(s, "*.@")
	}
	return "for example postmaster@example.org or example.org"
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// validName tells whether s is made of labels of letters, digits, hyphens and
// underscores.
func validName(s string) bool {
	return mail.ValidDomain(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// validDomain takes U-labels too.
func validDomain(s string) bool { return validName(mail.CanonicalDomain(s)) }

// validHost takes addresses and names. IPv6 zones are of no use to listen on
// or to ask at.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return validName(s)
}

// validPort takes 0 too: the system then chooses one.
func validPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// validMailbox takes an address, or a domain that stands for all below it.
// Domains of addresses are compared as they stand, hence A-labels.
func validMailbox(s string) bool {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return validDomain(s) && !strings.HasPrefix(s, "*")
	}
	return i > 0 && !strings.ContainsAny(s, "<> ") && validName(s[i+1:])
}
