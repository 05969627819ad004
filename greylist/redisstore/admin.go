package redisstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
)

// scanCount is how many keys one SCAN looks at, at most: a few milliseconds in
// which Redis does nothing else.
const scanCount = 1000

// node is one server with a part of the keys.
type node struct {
	name string // "" where there is only one
	c    redis.Cmdable
}

// nodes lists the servers to walk through, in an order that lasts.
func (s *Store) nodes(ctx context.Context) ([]node, error) {
	cluster, ok := s.c.(*redis.ClusterClient)
	if !ok {
		return []node{{"", s.c}}, nil
	}
	var mu sync.Mutex
	var all []node
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, node{c.Options().Addr, c})
		return nil
	})
	slices.SortFunc(all, func(a, b node) int { return strings.Compare(a.name, b.name) })
	return all, err
}

// home is the server that has an identity's slot.
func (s *Store) home(ctx context.Context, key string) (redis.Cmdable, error) {
	if cluster, ok := s.c.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return s.c, nil
}

// Entries implements greylist.Store. The cursor is SCAN's, with the node's name.
// A walk through a cluster that is resharded meanwhile may miss records.
func (s *Store) Entries(ctx context.Context, cursor string, n int) ([]greylist.Entry, string, error) {
	name, at, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, "", err
	}
	// A node that is gone has left its keys to others: go on with the next.
	i := slices.IndexFunc(nodes, func(x node) bool { return x.name >= name })
	if i < 0 {
		return nil, "", nil
	}
	if nodes[i].name != name {
		at = 0
	}
	keys, next, err := nodes[i].c.Scan(ctx, at, escape(s.prefix)+"{*", int64(min(max(n, 1), scanCount))).Result()
	if err != nil {
		return nil, "", err
	}
	page, err := s.read(ctx, nodes[i].c, keys)
	switch {
	case err != nil:
		return nil, "", err
	case next != 0:
		return page, formatCursor(nodes[i].name, next), nil
	case i+1 < len(nodes):
		return page, formatCursor(nodes[i+1].name, 0), nil
	}
	return page, "", nil
}

func formatCursor(name string, at uint64) string { return strconv.FormatUint(at, 10) + "@" + name }

func parseCursor(s string) (name string, at uint64, err error) {
	if s == "" {
		return "", 0, nil
	}
	number, name, ok := strings.Cut(s, "@")
	at, err = strconv.ParseUint(number, 10, 64)
	if err != nil || !ok {
		return "", 0, greylist.ErrCursor
	}
	return name, at, nil
}

// read fetches the records of one node's keys. Those that went or moved away
// meanwhile, or are not ours, are left out.
func (s *Store) read(ctx context.Context, c redis.Cmdable, keys []string) ([]greylist.Entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	got, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range keys {
			p.Get(ctx, k)
		}
		return nil
	})
	if answer := redis.Error(nil); err != nil && !errors.As(err, &answer) {
		return nil, err
	}
	var page []greylist.Entry
	for i, cmd := range got {
		text, err := cmd.(*redis.StringCmd).Result()
		if err != nil {
			continue
		}
		k, err := s.parseKey(keys[i])
		if err != nil {
			continue
		}
		if r, err := greylist.ParseRecord(text); err == nil && !r.IsZero() {
			page = append(page, greylist.Entry{Key: k, Record: r})
		}
	}
	return page, nil
}

// Delete implements greylist.Store. For an identity it walks through all keys of
// the server that has it.
func (s *Store) Delete(ctx context.Context, k greylist.Key) (int, error) {
	keys := s.keys(k)
	if !k.IsIdentity() {
		n, err := s.c.Del(ctx, keys[1]).Result()
		return int(n), err
	}
	c, err := s.home(ctx, keys[0])
	if err != nil {
		return 0, err
	}
	total := 0
	for at := uint64(0); ; {
		found, next, err := c.Scan(ctx, at, escape(keys[0])+"*", scanCount).Result()
		if err != nil {
			return total, err
		}
		if len(found) > 0 {
			n, err := s.c.Del(ctx, found...).Result() // one slot
			if err != nil {
				return total, err
			}
			total += int(n)
		}
		if at = next; at == 0 {
			return total, nil
		}
	}
}

// escape quotes what SCAN's patterns take for more than a character.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
