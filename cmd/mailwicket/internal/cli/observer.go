package cli

import (
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
)

// lastRecord keeps the latest record for printing.
type lastRecord struct{ r *filter.Record }

func (l *lastRecord) Message(r *filter.Record)                      { l.r = r }
func (*lastRecord) Check(string, fact.State, string, time.Duration) {}
