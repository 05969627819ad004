package app

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/cmd/mailwicket/internal/doctor/probe"
	"mailwicket/cmd/mailwicket/internal/doctor/watch"
)

const roundsEvery = time.Minute

// observed is what the server remembers for doctor.
type observed struct {
	traffic watch.Traffic
	macros  watch.Macros
	reload  atomic.Pointer[string] // why the last reload failed
	written atomic.Uint64
	lost    atomic.Uint64
	lastAt  atomic.Int64 // when a decision was lost, in Unix nanoseconds
}

// journalled counts a decision.
func (o *observed) journalled(result string) {
	if result == "written" {
		o.written.Add(1)
		return
	}
	o.lost.Add(1)
	o.lastAt.Store(time.Now().UnixNano())
}

func (o *observed) journal() doctor.Journal {
	j := doctor.Journal{Written: o.written.Load(), Lost: o.lost.Load()}
	if at := o.lastAt.Load(); at != 0 {
		j.LastAt = time.Unix(0, at)
	}
	return j
}

// reloaded notes how the last reload went.
func (o *observed) reloaded(err error) {
	if err == nil {
		o.reload.Store(nil)
		return
	}
	why := err.Error()
	o.reload.Store(&why)
}

// running tells what the server knows of itself.
func (a *App) running() probe.Running {
	live := a.live.Load()
	s := doctor.Server{Version: a.o.Version, Journal: a.observed.journal()}
	if why := a.observed.reload.Load(); why != nil {
		s.Reload = *why
	}
	for _, d := range a.board.status().Dependencies {
		if !d.OK {
			s.Degraded = append(s.Degraded, doctor.Dependency{Name: d.Name, Detail: d.Detail})
		}
	}
	if degraded, why := a.store.current().Degraded(); degraded {
		s.Fallback = why
	}
	if a.adminSocket != nil && a.token == "" && !loopback(a.adminSocket.Addr()) {
		s.AdminOpen = a.adminSocket.Addr().String()
	}
	r := probe.Running{Server: s, Started: a.o.Config, Live: live.config, Lists: live.lists.Status(), Redis: a.store.redis,
		Traffic: a.observed.traffic.Evidence(time.Now()), Macros: a.observed.macros.Evidence()}
	if live.zones != nil {
		r.Zones = live.zones.Status()
	}
	for _, ln := range a.milterSockets {
		r.Listen = append(r.Listen, socketName(ln.Addr()))
	}
	return r
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// socketName writes an address as the configuration does.
func socketName(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}

// rounds examines at a pace what is cheap to look at.
func (a *App) rounds(ctx context.Context) {
	watch.Rounds{Gather: func(ctx context.Context) doctor.Evidence { return a.running().Cheap(ctx, time.Now) },
		Gauge: a.metrics.Doctor, Log: a.log, Every: roundsEvery}.Run(ctx)
}
