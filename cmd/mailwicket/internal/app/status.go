package app

import (
	"log/slog"
	"slices"
	"strings"
	"sync"

	"mailwicket/cmd/mailwicket/internal/admin"
	"mailwicket/filter/observe"
)

// board shows how the dependencies are: in /readyz, in metrics, and with one log
// line for each change. It is safe for concurrent use.
type board struct {
	metrics *observe.Metrics
	log     *slog.Logger

	mu    sync.Mutex
	ready bool
	parts map[string]admin.Dependency
}

func newBoard(m *observe.Metrics, log *slog.Logger) *board {
	return &board{metrics: m, log: log, parts: map[string]admin.Dependency{}}
}

// set notes a dependency's state.
func (b *board) set(name string, ok bool, detail string) {
	b.mu.Lock()
	old, known := b.parts[name]
	b.parts[name] = admin.Dependency{Name: name, OK: ok, Detail: detail}
	b.mu.Unlock()
	degraded := 1.0
	if ok {
		degraded = 0
	}
	b.metrics.Degraded.WithLabelValues(name).Set(degraded)
	switch {
	case !ok && (!known || old.OK):
		b.log.Warn("dependency degraded", slog.String("dependency", name), slog.String("detail", detail))
	case ok && known && !old.OK:
		b.log.Info("dependency works again", slog.String("dependency", name))
	}
}

// trouble gives what is wrong with a dependency, "" where nothing is known of it.
func (b *board) trouble(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := b.parts[name]; d.Name != "" && !d.OK {
		return d.Detail
	}
	return ""
}

// forget drops a dependency that the configuration no longer names.
func (b *board) forget(name string) {
	b.mu.Lock()
	delete(b.parts, name)
	b.mu.Unlock()
	b.metrics.Degraded.DeleteLabelValues(name)
}

func (b *board) setReady(ready bool) {
	b.mu.Lock()
	b.ready = ready
	b.mu.Unlock()
}

// status is what /readyz tells.
func (b *board) status() admin.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := admin.Status{Ready: b.ready}
	for _, d := range b.parts {
		s.Dependencies = append(s.Dependencies, d)
		s.Degraded = s.Degraded || !d.OK
	}
	slices.SortFunc(s.Dependencies, func(x, y admin.Dependency) int { return strings.Compare(x.Name, y.Name) })
	return s
}
