// Package redislist keeps lists that are edited live in Redis: one server,
// Sentinel or Cluster.
//
// A list is one hash, from the entry to a JSON object with comment, time and
// author. One more field, which is no entry, holds the version: a number that
// each edit raises, and a random part, as a failover may lose an edit and give its
// number to another. The version being in the hash, neither is ever lost without
// the other. An edit is one script that also publishes the new version on a
// channel of the key's name.
//
// Lists should be edited through this package alone. An edit by hand is seen where
// it changes the number of entries.
package redislist

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/filter/list/live"
)

// DefaultPrefix begins every key.
const DefaultPrefix = "mw:l:"

// MaxEntries is how many entries a list may have. Larger lists belong in files or
// feeds.
const MaxEntries = 100_000

// Errors.
var (
	ErrFull       = errors.New("the list is full: at most 100000 entries")
	ErrReserved   = errors.New("not an entry")
	ErrIncomplete = errors.New("entries were missing when the list was read, or given back")
)

const (
	versionField = ":version"
	maxEdit      = 1000 // entries in one script: a few milliseconds in which Redis does nothing else
	scanCount    = 1000
	readTries    = 3
)

// Store is a live.Store. It is safe for concurrent use.
type Store struct {
	c             redis.UniversalClient
	prefix        string
	max           int
	edit, restore *redis.Script
}

var _ live.Store = (*Store)(nil)

// New makes a store of a client, which stays the caller's to close. The client
// should obey deadlines, as redisurl sets it up. An empty prefix means
// DefaultPrefix. New does not touch the network.
func New(c redis.UniversalClient, prefix string) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Store{c: c, prefix: prefix, max: MaxEntries, edit: redis.NewScript(editScript), restore: redis.NewScript(restoreScript)}
}

// key is a list's hash. The hash tag keeps what restores it in the same slot.
func (s *Store) key(list string) string { return s.prefix + "{" + url.PathEscape(list) + "}" }

// State implements live.Store in one round trip.
func (s *Store) State(ctx context.Context, list string) (string, error) {
	state, _, err := s.state(ctx, list)
	return state, err
}

func (s *Store) state(ctx context.Context, list string) (state string, entries int, err error) {
	key := s.key(list)
	var version *redis.StringCmd
	var length *redis.IntCmd
	_, err = s.c.Pipelined(ctx, func(p redis.Pipeliner) error {
		version, length = p.HGet(ctx, key, versionField), p.HLen(ctx, key)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // the first one's; or the connection's, which no command bears
		return "", 0, err
	}
	if err := length.Err(); err != nil {
		return "", 0, err
	}
	entries = int(length.Val())
	if entries == 0 {
		return "", 0, nil
	}
	if version.Val() != "" {
		entries--
	}
	return version.Val() + " " + strconv.Itoa(entries), entries, nil
}

// Read implements live.Store. It reads page by page. A server of a cluster that
// hands the list over meanwhile makes the cursor worthless, which shows in the
// number of entries. Where the list is edited all the time, the last try counts:
// its state is the older one, so that the list is read again.
func (s *Store) Read(ctx context.Context, list string) (string, []live.Entry, error) {
	for try := 1; ; try++ {
		before, want, err := s.state(ctx, list)
		if err != nil {
			return "", nil, err
		}
		entries, err := s.entries(ctx, list)
		if err != nil {
			return "", nil, err
		}
		after, _, err := s.state(ctx, list)
		switch {
		case err != nil:
			return "", nil, err
		case before == after && len(entries) == want, before != after && try == readTries:
			return before, entries, nil
		case try == readTries:
			return "", nil, ErrIncomplete
		}
	}
}

func (s *Store) entries(ctx context.Context, list string) ([]live.Entry, error) {
	key, seen := s.key(list), map[string]bool{versionField: true} // pages may overlap
	notes := map[string]note{}                                    // what was added together has the same one
	var entries []live.Entry
	for cursor := uint64(0); ; {
		page, next, err := s.c.HScan(ctx, key, cursor, "", scanCount).Result()
		if err != nil {
			return nil, err
		}
		for i := 0; i+1 < len(page); i += 2 {
			if name := page[i]; !seen[name] {
				seen[name] = true
				n, known := notes[page[i+1]]
				if !known {
					n = parse(page[i+1])
					notes[page[i+1]] = n
				}
				entries = append(entries, live.Entry{Entry: name, Comment: n.Comment, At: n.At, By: n.By})
			}
		}
		if cursor = next; cursor == 0 {
			return entries, nil
		}
	}
}

// note is what a field of the hash holds.
type note struct {
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at,omitzero"`
	By      string    `json:"by,omitempty"`
}

// parse reads a field. What somebody wrote by hand is taken for a comment.
func parse(value string) note {
	var n note
	if err := json.Unmarshal([]byte(value), &n); err != nil {
		return note{Comment: value}
	}
	return n
}

func format(e live.Entry) (string, error) {
	b, err := json.Marshal(note{e.Comment, e.At, e.By})
	return string(b), err
}

// editScript gets a hash, a random text, how many entries there may be, how many
// are put, these with their values, and those that are removed. It answers how
// many were not there and how many were, or -1 where there would be too many.
const editScript = `
local key, puts = KEYS[1], tonumber(ARGV[3])
if puts > 0 and redis.call('HLEN', key) + puts > tonumber(ARGV[2]) + 1 then
  local more = 0
  for i = 4, 2 + 2 * puts, 2 do more = more + 1 - redis.call('HEXISTS', key, ARGV[i]) end
  if more > 0 and redis.call('HLEN', key) - 1 + more > tonumber(ARGV[2]) then return {-1, 0} end
end
local added, removed = 0, 0
for i = 4, 2 + 2 * puts, 2 do added = added + redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
for i = 4 + 2 * puts, #ARGV do removed = removed + redis.call('HDEL', key, ARGV[i]) end
if puts + removed > 0 then
  local was = redis.call('HGET', key, ':version') or '0'
  local version = string.format('%d-%s', (tonumber(string.match(was, '^%d+')) or 0) + 1, ARGV[1])
  redis.call('HSET', key, ':version', version)
  redis.call('PUBLISH', key, version)
end
return {added, removed}
`

// Edit implements live.Store in one round trip for each thousand entries. Where
// one fails, those before it have been done.
func (s *Store) Edit(ctx context.Context, list string, put []live.Entry, remove []string) (added, removed int, err error) {
	if err := check(put, remove); err != nil {
		return 0, 0, err
	}
	for len(put) > 0 || len(remove) > 0 {
		puts := put[:min(len(put), maxEdit)]
		removes := remove[:min(len(remove), maxEdit-len(puts))]
		a, r, err := s.editSome(ctx, list, puts, removes)
		added, removed = added+a, removed+r
		if err != nil {
			return added, removed, err
		}
		put, remove = put[len(puts):], remove[len(removes):]
	}
	return added, removed, nil
}

func check(put []live.Entry, remove []string) error {
	bad := func(name string) bool { return name == "" || name == versionField }
	for _, e := range put {
		if bad(e.Entry) {
			return fmt.Errorf("%q: %w", e.Entry, ErrReserved)
		}
	}
	for _, name := range remove {
		if bad(name) {
			return fmt.Errorf("%q: %w", name, ErrReserved)
		}
	}
	return nil
}

func (s *Store) editSome(ctx context.Context, list string, put []live.Entry, remove []string) (added, removed int, err error) {
	args := []any{rand.Text(), s.max, len(put)}
	for _, e := range put {
		value, err := format(e)
		if err != nil {
			return 0, 0, err
		}
		args = append(args, e.Entry, value)
	}
	for _, name := range remove {
		args = append(args, name)
	}
	got, err := s.edit.Run(ctx, s.c, []string{s.key(list)}, args...).Int64Slice()
	switch {
	case err != nil:
		return 0, 0, err
	case len(got) != 2:
		return 0, 0, fmt.Errorf("redis answers %d numbers", len(got))
	case got[0] < 0:
		return 0, 0, ErrFull
	}
	return int(got[0]), int(got[1]), nil
}

// restoreScript gets a hash, the list's own, a version and the number of entries,
// and makes the one the other where there is none. Where the hash is not complete,
// since a server without memory took it or it expired, it answers -1.
const restoreScript = `
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
if redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  return -1
end
redis.call('HSET', KEYS[1], ':version', ARGV[1])
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('PERSIST', KEYS[2])
redis.call('PUBLISH', KEYS[2], ARGV[1])
return 1
`

const restoreLifetime = time.Minute // of what an interrupted restoring leaves

// Restore implements live.Store. The list is built under another name, so that
// nobody meets half of it.
func (s *Store) Restore(ctx context.Context, list string, entries []live.Entry) error {
	nonce := rand.Text()
	key := s.key(list)
	temp, want := key+":"+nonce, len(entries)
	for len(entries) > 0 {
		some := entries[:min(len(entries), maxEdit)]
		entries = entries[len(some):]
		var fields []any
		for _, e := range some {
			value, err := format(e)
			if err != nil {
				return err
			}
			fields = append(fields, e.Entry, value)
		}
		_, err := s.c.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, temp, fields...)
			p.Expire(ctx, temp, restoreLifetime)
			return nil
		})
		if err != nil {
			return err
		}
	}
	done, err := s.restore.Run(ctx, s.c, []string{temp, key}, "1-"+nonce, want).Int()
	if err == nil && done < 0 {
		err = ErrIncomplete
	}
	return err
}

// Times of Watch. Nothing depends on them: State is asked all the time.
const (
	listenIdle = 10 * time.Second // then the server is asked whether it is there
	listenWait = time.Second      // before the next connection
)

// Watch implements live.Store. It also calls edited whenever the connection is
// made, as edits may have been missed before.
func (s *Store) Watch(ctx context.Context, list string, edited func()) {
	for ctx.Err() == nil {
		s.listen(ctx, list, edited)
		select {
		case <-ctx.Done():
		case <-time.After(listenWait):
		}
	}
}

// listen calls edited for all that one connection brings.
func (s *Store) listen(ctx context.Context, list string, edited func()) {
	sub := s.c.Subscribe(ctx, s.key(list))
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })()
	defer sub.Close()
	for asked := false; ; {
		_, err := sub.ReceiveTimeout(ctx, listenIdle)
		if err == nil {
			edited()
			asked = false
			continue
		}
		timeout, ok := errors.AsType[net.Error](err)
		if asked || !ok || !timeout.Timeout() || sub.Ping(ctx) != nil {
			return
		}
		asked = true
	}
}
