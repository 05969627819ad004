package filter

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mailwicket/filter/fact"
)

// future is a check under way. Its finding is written once, before done closes;
// who gives up waiting leaves it behind, so no late finding can reach a later
// message.
type future[T any] struct {
	name string
	done chan struct{}
	fact fact.Fact[T]
	took time.Duration
}

// launch starts a check. A panic or the end of its time makes its fact Failed.
func launch[T any](ctx context.Context, name string, limit time.Duration, find func(context.Context) fact.Fact[T]) *future[T] {
	f := &future[T]{name: name, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var run CheckRun
		f.fact, run = attempt(name, func() fact.Fact[T] { return find(ctx) })
		f.took = run.Took
	}()
	return f
}

// attempt makes a check here and now. A panic makes its fact Failed.
func attempt[T any](name string, find func() fact.Fact[T]) (f fact.Fact[T], run CheckRun) {
	start := time.Now()
	defer func() {
		if v := recover(); v != nil {
			f = fact.Fail[T](fmt.Sprintf("check panicked: %v", v))
		}
		run = CheckRun{Name: name, State: f.State, Took: time.Since(start), Why: f.Why}
	}()
	return find(), run
}

// given is a future that needs no work.
func given[T any](f fact.Fact[T]) *future[T] {
	done := make(chan struct{})
	close(done)
	return &future[T]{done: done, fact: f}
}

// noAnswer is why a fact is not known whose check was not awaited any longer.
const noAnswer = "no answer in time"

// late is a check that had not ended when a fact of the connection was settled.
type late struct {
	done  <-chan struct{}
	again func() // lets the fact be settled anew
}

// again looks, for a new message, at what came too late for those before it. What
// has not come yet is not awaited once more.
func (n *connection) again() {
	n.late = slices.DeleteFunc(n.late, func(l late) bool {
		select {
		case <-l.done:
			l.again()
			return true
		default:
			return false
		}
	})
}

// tooLate notes that a fact was settled without an answer; reset takes that back.
func tooLate[T any](n *connection, f *future[T], run CheckRun, reset func()) {
	if run.Why != noAnswer {
		return
	}
	n.late = append(n.late, late{f.done, func() {
		reset()
		n.checks = slices.DeleteFunc(n.checks, func(r CheckRun) bool { return r.Name == run.Name })
	}})
}

// wait gives the finding, or a failed fact when ctx ends first.
func (f *future[T]) wait(ctx context.Context) (fact.Fact[T], CheckRun) {
	select {
	case <-f.done:
	default:
		select {
		case <-f.done:
		case <-ctx.Done():
			out := fact.Fail[T](noAnswer)
			return out, CheckRun{Name: f.name, State: out.State, Why: out.Why}
		}
	}
	return f.fact, CheckRun{Name: f.name, State: f.fact.State, Took: f.took, Why: f.fact.Why}
}
