package watch

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwicket/cmd/mailwicket/internal/doctor"
)

// Rounds examines at a pace, shows the findings as metrics, and logs those that
// come and go.
type Rounds struct {
	Gather func(context.Context) doctor.Evidence // cheap: it is called at each round
	Gauge  *prometheus.GaugeVec                  // labels finding and severity
	Log    *slog.Logger
	Every  time.Duration
}

// Run goes its rounds until ctx ends, the first one after a pause: what has just
// begun is not yet as it will be.
func (r Rounds) Run(ctx context.Context) {
	r.show(nil)
	t := time.NewTicker(r.Every)
	defer t.Stop()
	var before []doctor.Finding
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		evidence := r.Gather(ctx)
		if ctx.Err() != nil {
			return // what was asked had no time to answer
		}
		now := doctor.Examine(evidence)
		r.show(now)
		r.tell(before, now)
		before = now
	}
}

// show sets the gauge of each kind of finding, so that alerts on any of them work
// from the start.
func (r Rounds) show(found []doctor.Finding) {
	for _, k := range doctor.Kinds() {
		v := 0.0
		if doctor.Has(found, k.ID) {
			v = 1
		}
		r.Gauge.WithLabelValues(k.ID, string(k.Severity)).Set(v)
	}
}

// tell logs changes.
func (r Rounds) tell(before, now []doctor.Finding) {
	for _, f := range now {
		if !doctor.Has(before, f.ID) && f.Severity != doctor.Info {
			r.Log.Warn("doctor found something", slog.String("finding", f.ID), slog.String("severity", string(f.Severity)),
				slog.String("summary", f.Summary), slog.Any("evidence", f.Evidence), slog.String("fix", f.Fix))
		}
	}
	for _, f := range before {
		if !doctor.Has(now, f.ID) && f.Severity != doctor.Info {
			r.Log.Info("doctor finds it no more", slog.String("finding", f.ID))
		}
	}
}
