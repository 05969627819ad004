package limit

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrRate says that a text is no rate.
var ErrRate = errors.New("not a rate; write 200/1h, 1000/1d or 10MiB/1d")

const day = 24 * time.Hour

// The bounds of what a limit may span.
const (
	longestPer   = 366 * day
	longestDepth = 10 * longestPer
)

// ParseRate reads a count and a time, such as "200/1h", "1000/d" or "10MiB/1d".
// The error is an ErrRate.
func ParseRate(s string) (count int64, per time.Duration, err error) {
	number, span, ok := strings.Cut(strings.TrimSpace(s), "/")
	if !ok {
		return 0, 0, fmt.Errorf("%q: %w", s, ErrRate)
	}
	count, ok = parseCount(strings.TrimSpace(number))
	if !ok {
		return 0, 0, fmt.Errorf("%q: the count: %w", s, ErrRate)
	}
	per, ok = parsePer(strings.TrimSpace(span))
	if !ok {
		return 0, 0, fmt.Errorf("%q: the time: %w", s, ErrRate)
	}
	return count, per, nil
}

// ImpliedUnit is Bytes for a rate whose count is a size, such as "10MiB/1d", and
// "" for others: a limit with such a rate and another unit is a mistake.
func ImpliedUnit(rate string) Unit {
	number, _, _ := strings.Cut(rate, "/")
	if _, factor := cutSize(strings.TrimSpace(number)); factor > 1 {
		return Bytes
	}
	return ""
}

func parseCount(s string) (int64, bool) {
	s, factor := cutSize(s)
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 || int64(n) > math.MaxInt64/factor {
		return 0, false
	}
	return int64(n) * factor, true
}

func cutSize(s string) (number string, factor int64) {
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			return number, 1 << (10 * (i + 1))
		}
	}
	return s, 1
}

// parsePer reads "1h", "90m", "2d", "1w", and "h" for "1h".
func parsePer(s string) (time.Duration, bool) {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		s = "1" + s
	}
	for unit, length := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			per := time.Duration(n) * length
			return per, err == nil && n > 0 && per <= longestPer
		}
	}
	per, err := time.ParseDuration(s)
	return per, err == nil && per >= time.Millisecond && per <= longestPer
}

// Validate gives all that is wrong with limits, one line each, or nil.
func Validate(limits []Limit) error {
	var problems []error
	names := map[string]bool{}
	for i, l := range limits {
		say := func(field, format string, args ...any) {
			problems = append(problems, fmt.Errorf("rates[%d].%s: %s", i, field, fmt.Sprintf(format, args...)))
		}
		if l.Name == "" {
			say("name", "is missing")
		} else if names[l.Name] {
			say("name", "%q stands twice", l.Name)
		}
		names[l.Name] = true
		l.validateKey(say)
		l.validateRate(say)
	}
	return errors.Join(problems...)
}

func (l Limit) validateKey(say func(field, format string, args ...any)) {
	if len(l.Key) == 0 {
		say("key", "is missing; want some of %s", words(allKeys()))
	}
	for i, k := range l.Key {
		if !slices.Contains(allKeys(), k) {
			say("key", "%q is unknown; want some of %s", k, words(allKeys()))
		}
		if slices.Contains(l.Key[:i], k) {
			say("key", "%q stands twice", k)
		}
	}
}

func (l Limit) validateRate(say func(field, format string, args ...any)) {
	units := []Unit{Messages, Recipients, Bytes}
	if l.Unit != "" && !slices.Contains(units, l.Unit) {
		say("unit", "%q is unknown; want one of %s", l.Unit, words(units))
	}
	switch {
	case l.Count <= 0:
		say("limit", "the count must be above 0")
	case l.Per < time.Millisecond || l.Per > longestPer:
		say("limit", "the time must be within 1ms and 366d")
	case l.Burst < 0:
		say("burst", "must not be below 0")
	case l.Depth() > longestDepth:
		say("burst", "is so large that it takes more than ten years to drain")
	case l.Unit != Bytes && l.Interval(1) == 0:
		say("limit", "more than a million each second is no limit")
	}
}

func allKeys() []Key {
	return []Key{Client, Net, Sender, SenderDomain, Rcpt, RcptDomain, AuthUser}
}

func words[T ~string](names []T) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ", ")
}
