package watch

import (
	"maps"
	"sync"

	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter/mail"
)

// halve keeps counts recent: from then on all are halved.
const halve = 10_000

// Macros counts which macros an MTA does not send. The names are those that the
// milter side asks for, never the MTA's. It is safe for concurrent use; the zero
// value is ready.
type Macros struct {
	mu     sync.Mutex
	stages map[mail.Stage]*doctor.Macros
}

// Stage notes that a stage was reached without these macros.
func (m *Macros) Stage(s mail.Stage, missing []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stages == nil {
		m.stages = map[mail.Stage]*doctor.Macros{}
	}
	c := m.stages[s]
	if c == nil {
		c = &doctor.Macros{Stage: s.String(), Missing: map[string]int{}}
		m.stages[s] = c
	}
	c.Seen++
	for _, name := range missing {
		c.Missing[name]++
	}
	if c.Seen >= halve {
		c.Seen /= 2
		for name := range c.Missing {
			c.Missing[name] /= 2
		}
	}
}

// Evidence gives the counts in the order of the stages.
func (m *Macros) Evidence() []doctor.Macros {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []doctor.Macros
	for _, s := range mail.Stages() {
		if c := m.stages[s]; c != nil {
			out = append(out, doctor.Macros{Stage: c.Stage, Seen: c.Seen, Missing: maps.Clone(c.Missing)})
		}
	}
	return out
}
