package limit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRate(t *testing.T) {
	tests := []struct {
		in    string
		count int64
		per   time.Duration
		unit  Unit
	}{
		{"200/1h", 200, time.Hour, ""},
		{" 1000 / 1d ", 1000, day, ""},
		{"5/m", 5, time.Minute, ""},
		{"5/d", 5, day, ""},
		{"1/2w", 1, 14 * day, ""},
		{"60/1h30m", 60, 90 * time.Minute, ""},
		{"10MiB/1d", 10 << 20, day, Bytes},
		{"1KiB/s", 1 << 10, time.Second, Bytes},
		{"3GiB/366d", 3 << 30, 366 * day, Bytes},
		{"9223372036854775807/1s", 1<<63 - 1, time.Second, ""},
	}
	for _, tt := range tests {
		count, per, err := ParseRate(tt.in)
		if count != tt.count || per != tt.per || err != nil || ImpliedUnit(tt.in) != tt.unit {
			t.Errorf("ParseRate(%q) = %d, %s, %v, unit %q", tt.in, count, per, err, ImpliedUnit(tt.in))
		}
	}
	for _, bad := range []string{"", "/", "200", "/1h", "200/", "0/1h", "-1/1h", "+1/1h", "1.5/1h", "1e3/1h", "200/1", "200/0h", "200/0d",
		"200/-1h", "200/1y", "200/hour", "200/1h/1h", "200/367d", "200/65536d", "200/53w", "200/1ns", "9223372036854775808/1h",
		"9007199254740993KiB/1d", "MiB/1d", "10MB/1d", "10 / ", "200 1h"} {
		if count, per, err := ParseRate(bad); !errors.Is(err, ErrRate) {
			t.Errorf("ParseRate(%q) = %d, %s, %v, want ErrRate", bad, count, per, err)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"200/1h", "10MiB/1d", "5/m", "1/2w", "1/1h30m", "x/", "1/d", "1/1.5h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		count, per, err := ParseRate(s)
		if err != nil {
			if count != 0 || per != 0 || !errors.Is(err, ErrRate) {
				t.Errorf("%d, %s, %v", count, per, err)
			}
			return
		}
		if count <= 0 || per < time.Millisecond || per > longestPer {
			t.Errorf("%d, %s is out of bounds", count, per)
		}
		again, span, err := ParseRate(fmt.Sprintf("%d/%s", count, per))
		if again != count || span != per || err != nil {
			t.Errorf("%d/%s reads as %d, %s, %v", count, per, again, span, err)
		}
	})
}

func TestValidate(t *testing.T) {
	key := []Key{AuthUser}
	fine := []Limit{
		{Name: "a", Key: key, Count: 200, Per: time.Hour},
		{Name: "b", Key: []Key{Client, SenderDomain}, Count: 10 << 20, Per: time.Second, Unit: Bytes, Burst: 1 << 30},
		{Name: "c", Key: allKeys(), Count: 1, Per: 366 * day, Unit: Recipients, Burst: 10},
	}
	if err := Validate(fine); err != nil {
		t.Error(err)
	}
	err := Validate([]Limit{
		{},
		{Name: "x", Key: []Key{"user", Net, Net}, Count: 1, Per: time.Hour, Unit: "mails", Burst: -1},
		{Name: "x", Key: key, Count: 1, Per: 400 * day},
		{Name: "y", Key: key, Count: 1, Per: day, Burst: 4000},
		{Name: "z", Key: key, Count: 2_000_000, Per: time.Second},
	})
	want := `rates[0].name: is missing
rates[0].key: is missing; want some of client, net, sender, sender_domain, rcpt, rcpt_domain, auth_user
rates[0].limit: the count must be above 0
rates[1].key: "user" is unknown; want some of client, net, sender, sender_domain, rcpt, rcpt_domain, auth_user
rates[1].key: "net" stands twice
rates[1].unit: "mails" is unknown; want one of messages, recipients, bytes
rates[1].burst: must not be below 0
rates[2].name: "x" stands twice
rates[2].limit: the time must be within 1ms and 366d
rates[3].burst: is so large that it takes more than ten years to drain
rates[4].limit: more than a million each second is no limit`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(fmt.Sprint(err), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
