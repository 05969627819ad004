package redisstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
)

// Up to laneCount writes to a server are under way at a time: more than one, so
// that a lost packet does not hold all up. What is asked meanwhile waits, and goes
// out together in the next one, but for no more than laneCalls calls.
const (
	laneCount = 2
	laneCalls = 256
)

// lanes joins the commands of calls that come at the same time: the system calls
// around a command cost client and server more than the command itself. A call
// that finds a lane free goes out at once, and alone. It is safe for concurrent
// use.
type lanes struct {
	c redis.UniversalClient

	mu      sync.Mutex
	busy    int
	waiting []*call // none unless all lanes are busy
}

// call is some commands that one caller waits for.
type call struct {
	ctx  context.Context
	cmds []redis.Cmder
	done chan struct{}
	err  error // in place of the commands' own
}

// do runs commands, which have their own errors. Where it gives an error, such as
// that ctx ended, they must not be looked at, and may run all the same.
func (l *lanes) do(ctx context.Context, cmds ...redis.Cmder) error {
	c := &call{ctx: ctx, cmds: cmds}
	if l.enter(c) {
		l.run([]*call{c})
		l.leave()
		return c.err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter takes a lane, or lets the call wait for one.
func (l *lanes) enter(c *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy < laneCount {
		l.busy++
		return true
	}
	c.done = make(chan struct{})
	l.waiting = append(l.waiting, c)
	return false
}

// leave gives a lane to those who wait, or back.
func (l *lanes) leave() {
	if calls := l.next(); calls != nil {
		go func() {
			for ; calls != nil; calls = l.next() {
				l.run(calls)
				for _, c := range calls {
					close(c.done)
				}
				runtime.Gosched() // they may ask again
			}
		}()
	}
}

// next takes the calls for one write. Where there are none it gives the lane back.
func (l *lanes) next() []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.waiting), laneCalls)
	if n == 0 {
		l.busy--
		return nil
	}
	calls := l.waiting[:n:n]
	if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	return calls
}

// run sends the commands of all calls that still wait in one write, and reads
// their answers, until the last of the calls' deadlines.
func (l *lanes) run(calls []*call) {
	ctx, cancel := joint(calls)
	defer cancel()
	p := l.c.Pipeline()
	for _, c := range calls {
		if c.err = c.ctx.Err(); c.err == nil {
			_ = p.BatchProcess(ctx, c.cmds...) // only queues
		}
	}
	if _, err := p.Exec(ctx); err != nil {
		blame(calls)
		unsent(calls, err)
	}
}

// unsent notes a failure that no command bears: go-redis does not mark them where
// the server refuses the connection, as for a wrong password. Nothing was sent then.
func unsent(calls []*call, err error) {
	for _, c := range calls {
		if slices.ContainsFunc(c.cmds, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
			return
		}
	}
	told := false
	for _, c := range calls {
		switch {
		case c.err != nil:
		case told:
			c.err = fmt.Errorf("%w: %w", greylist.ErrShared, err)
		default:
			c.err, told = err, true
		}
	}
}

// blame leaves the failure of a write to the first call that met it: the others
// say that theirs is the same one.
func blame(calls []*call) {
	told := false
	for _, c := range calls {
		err := c.cmds[len(c.cmds)-1].Err()
		if c.err != nil || err == nil || answered(err) {
			continue
		}
		if told {
			c.err = fmt.Errorf("%w: %w", greylist.ErrShared, err)
		}
		told = true
	}
}

// answered tells whether the server itself said so.
func answered(err error) bool {
	var answer redis.Error
	return errors.Is(err, redis.Nil) || errors.As(err, &answer)
}

// joint is the context of a write for several calls: one of them alone does
// not end it.
func joint(calls []*call) (context.Context, context.CancelFunc) {
	if len(calls) == 1 {
		return calls[0].ctx, func() {}
	}
	var latest time.Time
	for _, c := range calls {
		at, ok := c.ctx.Deadline()
		if !ok {
			return context.Background(), func() {}
		}
		if at.After(latest) {
			latest = at
		}
	}
	return context.WithDeadline(context.Background(), latest)
}
