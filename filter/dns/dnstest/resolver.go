package dnstest

import (
	"context"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/internal/wire"
)

// serverName is who answered, in trails.
const serverName = "zone"

// Resolver answers from the zone in process. TIMEOUT lines and Knobs.Drop give
// a timeout error at once; Knobs.Delay is waited for, or the context's end.
func (z *Zone) Resolver() dns.Resolver {
	return wire.Front{Lookup: z.lookup}
}

func (z *Zone) lookup(ctx context.Context, name string, qtype uint16) wire.Result {
	if ctx.Err() != nil {
		return wire.Result{Err: wire.Ended(ctx, name)}
	}
	asked := name
	for range maxChain {
		o := z.ask(asked, qtype)
		if !wait(ctx, o.delay) {
			return wire.Result{Err: wire.Ended(ctx, name)}
		}
		if o.drop {
			return wire.Result{Err: wire.Temporary(wire.TextTimeout, name, serverName)}
		}
		if o.rcode != mdns.RcodeSuccess && o.rcode != mdns.RcodeNameError {
			break
		}
		a := wire.Read(o.reply(), asked, qtype)
		if a.Follow != "" { // Knobs.NoChase: follow as the client would
			asked = a.Follow
			continue
		}
		if a.Failure != dns.None {
			return wire.Result{Err: wire.NotFound(a.Failure, name, serverName), TTL: a.TTL, Server: serverName}
		}
		return wire.Result{Values: &a.Values, TTL: a.TTL, Server: serverName}
	}
	return wire.Result{Err: wire.Temporary(wire.TextMisbehave, name, serverName)}
}

// reply gives the outcome as a message without header.
func (o outcome) reply() *mdns.Msg {
	m := new(mdns.Msg)
	m.Rcode = o.rcode
	m.Authoritative = true
	m.Answer = o.answer
	if o.soa != nil {
		m.Ns = []mdns.RR{o.soa}
	}
	return m
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
