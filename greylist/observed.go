package greylist

import (
	"context"
	"errors"
	"time"
)

// observed tells how each operation of a store went.
type observed struct {
	store Store
	op    func(op, result string, took time.Duration) // may be nil
}

func (o observed) Get(ctx context.Context, k Key) (Pair, error) {
	start := time.Now()
	p, err := o.store.Get(ctx, k)
	o.done("get", start, err)
	return p, err
}

func (o observed) GetOrAdd(ctx context.Context, k Key, triplet Record) (Pair, bool, error) {
	start := time.Now()
	p, added, err := o.store.GetOrAdd(ctx, k, triplet)
	o.done("add", start, err)
	return p, added, err
}

func (o observed) CompareAndSet(ctx context.Context, k Key, old, next Pair) (Pair, error) {
	start := time.Now()
	p, err := o.store.CompareAndSet(ctx, k, old, next)
	o.done("set", start, err)
	return p, err
}

func (o observed) Delete(ctx context.Context, k Key) (int, error) {
	start := time.Now()
	n, err := o.store.Delete(ctx, k)
	o.done("delete", start, err)
	return n, err
}

func (o observed) Entries(ctx context.Context, cursor string, n int) ([]Entry, string, error) {
	start := time.Now()
	page, next, err := o.store.Entries(ctx, cursor, n)
	o.done("entries", start, err)
	return page, next, err
}

func (o observed) done(op string, start time.Time, err error) {
	if o.op != nil {
		o.op(op, result(err), time.Since(start))
	}
}

func result(err error) string {
	var slow interface{ Timeout() bool }
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrConflict):
		return "conflict"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	}
	return "error"
}
