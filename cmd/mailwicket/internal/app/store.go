package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/parts"
	"mailwicket/filter/list/redislist"
	"mailwicket/filter/observe"
	"mailwicket/greylist"
	"mailwicket/greylist/boltstore"
	"mailwicket/greylist/redisstore"
)

// store keeps the state that outlives a message: in Redis where one is named,
// else in a file. It survives reloads.
type store struct {
	metrics *observe.Metrics
	board   *board
	log     *slog.Logger
	name    string // of the dependency: redis or greylist file
	dir     string // where the local copy of the secret lies

	redis redis.UniversalClient // nil beside a file
	file  *boltstore.Store      // nil beside Redis
	back  greylist.Store

	mu       sync.Mutex
	listed   *redislist.Store    // nil until it is asked for
	secret   []byte              // of the keys' hashes
	services []*greylist.Service // one for each secret; the last one is in force
	params   greylist.Params     // of the last one
	hashes   []byte              // the secret of the last one
}

func openStore(c *config.Config, env func(string) string, m *observe.Metrics, b *board, log *slog.Logger) (_ *store, err error) {
	s := &store{metrics: m, board: b, log: log, name: "greylist file", dir: c.DataDir}
	if s.secret, err = localSecret(c.DataDir); err != nil {
		return nil, err
	}
	if c.Redis.URL == "" {
		s.file, err = boltstore.Open(filepath.Join(c.DataDir, "greylist.db"), boltstore.Options{Log: log})
		s.back = s.file
		if err == nil {
			b.set(s.name, true, "")
		}
		return s, err
	}
	s.name = "redis"
	if s.redis, err = parts.Redis(c, env, log); err != nil {
		return nil, err
	}
	s.back = redisstore.New(s.redis, "")
	_, err = s.shareSecret(context.Background())
	if errors.Is(err, errRedis) {
		// Mail flows without it: the fallback in memory decides meanwhile.
		b.set(s.name, false, err.Error())
		return s, nil
	}
	if err == nil {
		b.set(s.name, true, "")
	}
	return s, err
}

const (
	secretKey   = "mw:secret"
	secretLimit = 2 * time.Second
)

// shareSecret makes all filters of one Redis hash alike: the first to come puts
// its key there, the others take that, and tell whether theirs was another. A Redis
// that lost its data gets it back. The local copy is for starts without Redis.
func (s *store) shareSecret(ctx context.Context) (changed bool, err error) {
	shared, err := s.sharedSecret(ctx, s.key())
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Equal(shared, s.secret) {
		return false, nil
	}
	s.secret = shared
	return true, saveSecret(s.dir, shared)
}

// sharedSecret gives the one in Redis, which is ours where there was none.
func (s *store) sharedSecret(ctx context.Context, ours []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretLimit)
	defer cancel()
	shared, err := s.redis.Get(ctx, secretKey).Bytes()
	if errors.Is(err, redis.Nil) {
		if err := s.redis.SetNX(ctx, secretKey, ours, 0).Err(); err != nil {
			return nil, redisTrouble(err)
		}
		shared, err = s.redis.Get(ctx, secretKey).Bytes() // another filter may have been faster
	}
	if err != nil {
		return nil, redisTrouble(err)
	}
	if len(shared) != secretLen {
		return nil, fmt.Errorf("redis key %s holds %d bytes, want %d: delete it", secretKey, len(shared), secretLen)
	}
	return shared, nil
}

// greylister gives the service for a configuration. What the one in force
// remembers stays, unless the secret changed.
func (s *store) greylister(g config.Greylist) *greylist.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := g.Params()
	if n := len(s.services); n > 0 && bytes.Equal(s.hashes, s.secret) {
		if s.params != p {
			s.services[n-1], s.params = s.services[n-1].With(p), p
		}
		return s.services[n-1]
	}
	svc := greylist.New(greylist.ServiceConfig{Store: s.back, Params: p, Secret: s.secret, Log: s.log,
		Observer: greylist.Observer{
			Op:       s.count,
			Degraded: func(degraded bool, why string) { s.board.set(s.name, !degraded, why) },
		}})
	s.services, s.params, s.hashes = append(s.services, svc), p, s.secret
	return svc
}

// count notes one operation on the store, of whichever part asked.
func (s *store) count(op, result string, took time.Duration) {
	s.metrics.StoreOps.WithLabelValues(op, result).Inc()
	if took > 0 {
		s.metrics.StoreTime.WithLabelValues(op).Observe(took.Seconds())
	}
}

// memoryGreylist is an empty greylist for one message.
func memoryGreylist(g config.Greylist, log *slog.Logger) *greylist.Service {
	return greylist.New(greylist.ServiceConfig{Store: greylist.NewMemory(1000), Params: g.Params(),
		Secret: make([]byte, secretLen), Log: log})
}

const storeCheckEvery = 10 * time.Second

// run notices a Redis that comes back or goes away while no mail asks for it.
// Where it holds another secret, newSecret is called.
func (s *store) run(ctx context.Context, newSecret func()) {
	if s.redis == nil {
		return
	}
	every(ctx, storeCheckEvery, func() {
		changed, err := s.shareSecret(ctx)
		if changed {
			s.log.Warn("redis holds another secret than before: greylist and rates go on under that one")
			newSecret()
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.board.set(s.name, false, redisTrouble(err).Error())
		default:
			if degraded, _ := s.current().Degraded(); !degraded {
				s.board.set(s.name, true, "")
			}
		}
	})
}

// key is the secret of the moment. Nobody changes its bytes.
func (s *store) key() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

func (s *store) current() *greylist.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[len(s.services)-1]
}

// close writes what is pending.
func (s *store) close() {
	for _, svc := range s.services {
		svc.Close()
	}
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			s.log.Error("greylist file not closed", slog.String("error", err.Error()))
		}
	}
	if s.redis != nil {
		s.redis.Close()
	}
}
