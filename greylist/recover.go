package greylist

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// probeEvery is how often a store that failed is tried again without a request.
const probeEvery = time.Second

// recovery is the state of being degraded, and the goroutine that ends it.
type recovery struct {
	mu       sync.Mutex
	degraded bool
	why      string
	closed   bool
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
	unread   sync.Once // the first record that cannot be read is told
}

// Degraded tells whether the fallback decides, and why.
func (s *Service) Degraded() (bool, string) {
	s.recovery.mu.Lock()
	defer s.recovery.mu.Unlock()
	return s.recovery.degraded, s.recovery.why
}

// Close stops the Service's own work. It does not close the store. What the
// fallback learned and could not hand over is lost.
func (s *Service) Close() {
	r := s.recovery
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.wg.Wait()
}

// degrade notes that the store did not answer.
func (s *Service) degrade(err error) {
	r := s.recovery
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.degraded {
		return
	}
	r.degraded, r.why = true, err.Error()
	s.c.Log.Warn("greylist degraded", slog.String("why", r.why))
	if s.c.Observer.Degraded != nil {
		s.c.Observer.Degraded(true, r.why)
	}
	if !r.closed {
		r.wg.Go(s.recover)
	}
}

// recover hands what the fallback learned to the store, from time to time until
// all is there.
func (s *Service) recover() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.recovery.ctx.Done():
			return
		case <-tick.C:
		}
		if s.handOver(s.recovery.ctx) == nil && s.recovered() {
			return
		}
	}
}

// recovered ends the degraded state, unless the fallback learned more just now.
func (s *Service) recovered() bool {
	r := s.recovery
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.shadow.owes() {
		return false
	}
	r.degraded, r.why = false, ""
	s.c.Log.Info("greylist recovered")
	if s.c.Observer.Degraded != nil {
		s.c.Observer.Degraded(false, "")
	}
	return true
}

// handOver merges all that the fallback learned into the store. Before, a probe
// shows that the store takes writes: a Redis replica or a full one answers reads.
func (s *Service) handOver(ctx context.Context) error {
	now := moment(s.c.Now())
	probe := Record{FirstSeen: now, LastSeen: now, Expires: now.Add(time.Minute)}
	err := s.write(ctx, Key{}, now, func(Pair) Pair { return Pair{Identity: probe} })
	if err != nil {
		return err
	}
	for _, key := range s.shadow.owedKeys() {
		if err := s.write(ctx, key, now, func(known Pair) Pair { return known }); unreadable(err) {
			s.shadow.drop(key)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// write is update within one budget, by the breaker's leave.
func (s *Service) write(ctx context.Context, key Key, now time.Time, change func(Pair) Pair) error {
	_, err := s.breaker.Execute(func() (Outcome, error) {
		budget, cancel := context.WithTimeout(ctx, s.c.Budget)
		defer cancel()
		return Outcome{}, s.update(budget, key, now, change)
	})
	return err
}
