package limit

import (
	"context"
	"strings"
	"time"
)

// DefaultWindow is after how long without a sighting a signature is forgotten.
const DefaultWindow = 24 * time.Hour

// replayBytes bounds what this process keeps of signatures.
const replayBytes = 32 << 20

// Replays counts the clients and recipients of signatures: one message that is
// sent again and again with its valid DKIM signature comes to many. It is safe
// for concurrent use.
type Replays struct {
	keys   hasher
	window time.Duration
	store  ReplayStore // may be nil
	memory *ReplayMemory
	guard  *guard
}

// NewReplays makes Replays. A nil store means this process' memory alone, a
// window of 0 DefaultWindow. NewReplays does not touch the store.
func NewReplays(store ReplayStore, window time.Duration, o Options) *Replays {
	if window <= 0 {
		window = DefaultWindow
	}
	return &Replays{keys: hasher{o.Secret}, window: window, store: store,
		memory: NewReplayMemory(replayBytes), guard: newGuard("replay", o)}
}

// Seen notes that a client brought a signature for recipients, and gives how many
// distinct clients and recipients it had, these included, since it was last new:
// exactly up to Exact, and about right above. Trying again counts once.
//
// When the store does not answer, this process' memory does. An error means that
// ctx ended.
func (r *Replays) Seen(ctx context.Context, signature, client string, rcpts []string) (clients, recipients int, err error) {
	s := Sighting{Signature: r.keys.sum("replay", signature), Client: r.keys.member("client", client),
		Rcpts: make([]int64, len(rcpts)), Window: r.window}
	for i, a := range rcpts {
		s.Rcpts[i] = r.keys.member("rcpt", strings.ToLower(a))
	}
	seen, err := r.seen(ctx, s)
	return seen.Clients, seen.Recipients, err
}

func (r *Replays) seen(ctx context.Context, s Sighting) (Seen, error) {
	now := r.guard.o.Now()
	mine, _ := r.memory.Seen(ctx, now, s) // never fails; also kept for an outage
	if r.store == nil {
		return mine, nil
	}
	var out Seen
	ok, err := r.guard.ask(ctx, func(ctx context.Context) (err error) {
		out, err = r.store.Seen(ctx, now, s)
		return err
	})
	if err != nil || ok {
		return out, err
	}
	return mine, nil
}

// Degraded tells whether this process' memory answers in the store's place, and
// why.
func (r *Replays) Degraded() (bool, string) { return r.guard.state() }
