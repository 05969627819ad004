package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// hidden stands in place of a password.
const hidden = "xxxxx"

// hideURL takes the password out of a URL, and whatever may be one.
func hideURL(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	scheme, rest, ok := strings.Cut(s[:i], "://")
	if !ok {
		return hidden + s[i:]
	}
	if user, _, ok := strings.Cut(rest, ":"); ok {
		return scheme + "://" + user + ":" + hidden + s[i:]
	}
	return scheme + "://" + hidden + s[i:]
}

// hideQuery takes the parameters off a URL.
func hideQuery(s string) string {
	if before, _, ok := strings.Cut(s, "?"); ok {
		return before + "?" + hidden
	}
	return s
}

// hideFeed takes login and parameters out of the URL of a feed. Other than in
// those of Redis, an @ may be part of the path.
func hideFeed(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return hideQuery(hideURL(s))
	}
	if u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return s
	}
	if u.User != nil {
		u.User = url.User(hidden)
	}
	if u.RawQuery != "" {
		u.RawQuery = hidden
	}
	if u.Fragment != "" {
		u.Fragment, u.RawFragment = hidden, ""
	}
	return u.String()
}

// hostPort completes HOST, HOST:PORT, [IPv6]:PORT or a bare IPv6 address.
func hostPort(s, port string) (string, error) {
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if !validHost(host) {
		return "", errors.New("no host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("no port")
	}
	return net.JoinHostPort(host, port), nil
}

// ServerAddrs gives the servers as HOST:PORT.
func (d DNS) ServerAddrs() []string {
	var out []string
	for _, s := range d.Servers {
		if addr, err := hostPort(s, "53"); err == nil {
			out = append(out, addr)
		}
	}
	return out
}
