package keys

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailwicket/policy/rulefile"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Nanosecond: "1ns", 100 * time.Millisecond: "100ms", 8 * time.Second: "8s", 90 * time.Second: "90s",
		240 * time.Second: "240s", 5 * time.Minute: "5m", 90 * time.Minute: "90m", 2 * time.Hour: "2h", 48 * time.Hour: "48h",
		36 * 24 * time.Hour: "36d", 73 * time.Hour: "73h", 61*time.Minute + time.Second: "3661s", 1500 * time.Millisecond: "1.5s",
	} {
		got := Duration(d).String()
		if got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
		if back, err := rulefile.ParseDuration(got); err != nil || back != d {
			t.Errorf("%s reads back as %v, %v", got, back, err)
		}
	}
}

func TestSize(t *testing.T) {
	for s, want := range map[string]Size{
		"0": 0, "1": 1, "512": 512, "1B": 1, "512KiB": 512 << 10, "10MiB": 10 << 20, "2 GiB": 2 << 30, "1TiB": 1 << 40,
	} {
		got, err := ParseSize(s)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", s, got, err)
		}
		if back, err := ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%s shows as %s", s, got)
		}
	}
	for s, hint := range map[string]string{
		"10MB": "did you mean 10MiB?", "10k": "did you mean 10KiB?", "10gb": "did you mean 10GiB?", "": "write", "x": "write", "-1": "write",
		"1.5GiB": "write", "9999999TiB": "write", "1b": "write", "MiB": "write", "1iB": "write", "99999999999999999999": "write",
	} {
		if got, err := ParseSize(s); err == nil || !strings.HasPrefix(err.Error(), hint) {
			t.Errorf("%q: got %d, %v; want an error %q", s, got, err, hint)
		}
	}
}

func TestPrefix(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::1": "::1/128", "::ffff:192.0.2.1": "192.0.2.1/32", "192.0.2.0/24": "192.0.2.0/24",
		"::ffff:192.0.2.0/120": "192.0.2.0/24", "2001:db8::/32": "2001:db8::/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, _, ok := parsePrefix(s); !ok || got != netip.MustParsePrefix(want) {
			t.Errorf("%s: got %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "x", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/-1", "fe80::1%eth0", "fe80::%eth0/64", "192.0.2", "::1/64"} {
		if got, _, ok := parsePrefix(s); ok {
			t.Errorf("%s: got %v", s, got)
		}
	}
}
