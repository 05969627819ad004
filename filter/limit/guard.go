package limit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Observer looks on. Any member may be nil; they must not block.
type Observer struct {
	// Op is called after each question to the shared store, with "rates" or
	// "replay". The result is ok, timeout, error, canceled (by the caller), or
	// open (the breaker spared the store the question).
	Op func(op, result string, took time.Duration)
	// Degraded is called when this process' memory takes over, and when the
	// store is back.
	Degraded func(degraded bool, why string)
	// Decided is called of Rates for each decision, with the limit's name and
	// within, exceeded, or error (the caller broke off).
	Decided func(limit, result string)
}

// Options are what Rates and Replays have in common. The zero value works.
type Options struct {
	Budget   time.Duration    // of one question to the store; 0 means 150 ms
	Secret   []byte           // of the hashes: the same on all sidecars of a store
	Now      func() time.Time // of Replays; Rates takes the time from the facts
	Log      *slog.Logger
	Observer Observer
}

// The breaker: after so many failures in a row the store is left alone for so
// long, and then tried with one question.
const (
	breakerFailures = 5
	breakerOpen     = time.Second
)

// calm is for how long a store must not have failed to be thought well again.
const calm = time.Second

// guard keeps questions to a shared store within the budget, and knows whether
// the store answers.
type guard struct {
	op      string
	o       Options
	breaker *gobreaker.CircuitBreaker[struct{}]

	mu       sync.Mutex
	degraded bool
	why      string
	failed   time.Time // last
}

// errCaller marks errors that say nothing about the store.
var errCaller = errors.New("the caller gave up")

func newGuard(op string, o Options) *guard {
	if o.Budget <= 0 {
		o.Budget = 150 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &guard{op: op, o: o, breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: op, Timeout: breakerOpen,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errCaller) },
	})}
}

// ask puts one question. False means that the store did not answer; an error,
// that the caller's ctx ended.
func (g *guard) ask(ctx context.Context, question func(context.Context) error) (bool, error) {
	start := time.Now()
	_, err := g.breaker.Execute(func() (struct{}, error) {
		budget, cancel := context.WithTimeout(ctx, g.o.Budget)
		defer cancel()
		err := question(budget)
		if err != nil && ctx.Err() != nil {
			err = errCaller
		}
		return struct{}{}, err
	})
	if g.o.Observer.Op != nil {
		g.o.Observer.Op(g.op, result(err), time.Since(start))
	}
	if errors.Is(err, errCaller) {
		return false, context.Cause(ctx)
	}
	g.note(err)
	return err == nil, nil
}

// note keeps the degraded state.
func (g *guard) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil && !spared(err) {
		g.failed = time.Now()
	}
	switch {
	case err != nil && !g.degraded:
		g.degraded, g.why = true, err.Error()
		g.o.Log.Warn(g.op+" degraded", slog.String("why", g.why))
	case err == nil && g.degraded && time.Since(g.failed) >= calm:
		g.degraded, g.why = false, ""
		g.o.Log.Info(g.op + " recovered")
	default:
		return
	}
	if g.o.Observer.Degraded != nil {
		g.o.Observer.Degraded(g.degraded, g.why)
	}
}

// spared tells whether the breaker did not let the question through.
func spared(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

func (g *guard) state() (bool, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.degraded, g.why
}

func result(err error) string {
	var slow interface{ Timeout() bool }
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errCaller):
		return "canceled"
	case spared(err):
		return "open"
	case errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	}
	return "error"
}
