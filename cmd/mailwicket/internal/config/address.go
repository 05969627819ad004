package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config/keys"
)

// hideFeed takes login and parameters out of the URL of a feed. Other than in
// those of Redis, an @ may be part of the path.
func hideFeed(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return keys.HideQuery(keys.HideURL(s))
	}
	if u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return s
	}
	if u.User != nil {
		u.User = url.User(keys.Hidden)
	}
	if u.RawQuery != "" {
		u.RawQuery = keys.Hidden
	}
	if u.Fragment != "" {
		u.Fragment, u.RawFragment = keys.Hidden, ""
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
