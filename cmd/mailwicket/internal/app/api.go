package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/api"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter"
	"mailwicket/filter/observe/journal"
)

// answerer answers the command line from what is in force.
func (a *App) answerer() *api.Answerer {
	w := &api.Answerer{
		InForce: func() api.InForce {
			l := a.live.Load()
			return api.InForce{Config: l.config, Engine: l.engine.Config, Lists: l.lists, Zones: l.zones}
		},
		Greylist: a.store.current, StoreName: a.store.name,
		NoDNS:  func() string { return a.board.trouble(dnsName) },
		Reload: a.Reload, Log: a.log,
		Examine: func(ctx context.Context) doctor.Evidence { return a.running().Full(ctx, a.userAgent(), time.Now) },
	}
	if a.journal != nil || a.shared != nil {
		w.Find, w.Searched = a.find, a.searched
	}
	return w
}

// find looks into our own journal, and then into what all filters share.
func (a *App) find(ctx context.Context, ref string) (rec *filter.Record, err error) {
	if a.journal != nil {
		rec, err = journal.Find(a.journalDir(), ref)
	}
	if rec != nil || a.shared == nil {
		return rec, err
	}
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	rec, more := a.shared.Find(ctx, ref)
	return rec, errors.Join(err, more)
}

// findLimit bounds how long Redis is searched.
const findLimit = 10 * time.Second

func (a *App) journalDir() string { return filepath.Join(a.o.Config.DataDir, "journal") }

// searched names what find looks into.
func (a *App) searched() string {
	c := a.o.Config.Journal
	var parts []string
	if a.journal != nil {
		how := "which holds none yet"
		if begun, ok := journal.Oldest(a.journalDir()); ok {
			how = "which goes back to " + begun.Format(time.RFC3339)
		}
		parts = append(parts, "the journal, "+how)
	}
	if a.shared != nil {
		parts = append(parts, fmt.Sprintf("the latest %d of all filters in Redis", c.ShareMax))
	}
	return strings.Join(parts, ", nor in ")
}
