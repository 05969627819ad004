package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// MaxMemo bounds the answers that a memo keeps; questions beyond it are passed
// on each time.
const MaxMemo = 500

// NewMemo gives a resolver for the checks of one message: each question is
// asked of r once, and its answer, error or lifetime of zero included, holds
// for the memo's life. So all checks of a message see the same DNS.
//
// Equal questions at the same time share one lookup. It ends early only when
// all who wait for it have left; such an outcome is not kept. The trail tells
// each question once, when it is first asked. A lookup that panics is one that
// fails (Guard).
func NewMemo(r Resolver) Resolver {
	return &memo{r: Guard(r), calls: map[question]*call{}}
}

type question struct{ kind, name string }

type memo struct {
	r     Resolver
	mu    sync.Mutex
	calls map[question]*call
}

// call is a lookup, running or over. Value and err are set before done is
// closed; waiters is guarded by the memo's mutex.
type call struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
	value   any
	err     error
}

// recall answers q from the memo or by lookup.
func recall[T any](ctx context.Context, m *memo, q question, lookup func(context.Context) ([]T, error)) ([]T, error) {
	q.name = strings.ToLower(strings.TrimSuffix(q.name, "."))
	if ctx.Err() != nil {
		return nil, ended(ctx, q.name)
	}
	m.mu.Lock()
	c := m.calls[q]
	if c == nil {
		if len(m.calls) >= MaxMemo {
			m.mu.Unlock()
			return lookup(ctx)
		}
		c = &call{done: make(chan struct{})}
		// The trail stays in the context, its end does not: others may wait
		// longer than the first who asked.
		var shared context.Context
		shared, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
		m.calls[q] = c
		go func() {
			defer close(c.done)
			defer c.cancel()
			c.value, c.err = lookup(shared)
		}()
	}
	c.waiters++
	m.mu.Unlock()

	select {
	case <-c.done:
		m.leave(q, c, false)
		v, _ := c.value.([]T)
		return append([]T(nil), v...), c.err
	case <-ctx.Done():
		m.leave(q, c, true)
		return nil, ended(ctx, q.name)
	}
}

// leave takes a waiter off. The last one to give up ends the lookup.
func (m *memo) leave(q question, c *call, gaveUp bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.waiters--
	if !gaveUp || c.waiters > 0 {
		return
	}
	select {
	case <-c.done: // it ended just now and may be kept
	default:
		c.cancel()
		if m.calls[q] == c {
			delete(m.calls, q)
		}
	}
}

// ended gives the error of a caller whose context ended.
func ended(ctx context.Context, name string) error {
	text := "timeout"
	if errors.Is(ctx.Err(), context.Canceled) {
		text = "lookup canceled"
	}
	return &net.DNSError{Err: text, Name: name, IsTimeout: true, IsTemporary: true}
}

func (m *memo) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return recall(ctx, m, question{"TXT", name}, func(ctx context.Context) ([]string, error) {
		return m.r.LookupTXT(ctx, name)
	})
}

func (m *memo) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	all, err := recall(ctx, m, question{"MX", name}, func(ctx context.Context) ([]*net.MX, error) {
		return m.r.LookupMX(ctx, name)
	})
	for i := range all {
		mx := *all[i]
		all[i] = &mx
	}
	return all, err
}

func (m *memo) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	return recall(ctx, m, question{"A", name}, func(ctx context.Context) ([]netip.Addr, error) {
		return m.r.LookupA(ctx, name)
	})
}

func (m *memo) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	return recall(ctx, m, question{"AAAA", name}, func(ctx context.Context) ([]netip.Addr, error) {
		return m.r.LookupAAAA(ctx, name)
	})
}

func (m *memo) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	return recall(ctx, m, question{"PTR", addr.Unmap().String()}, func(ctx context.Context) ([]string, error) {
		return m.r.LookupPTR(ctx, addr)
	})
}
