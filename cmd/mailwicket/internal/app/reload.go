package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
)

// Reload reads the configuration again and puts it in force; the old one stays
// when anything is wrong with the new one. Sessions that run end as they began.
// It is safe for concurrent use.
func (a *App) Reload() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	err := a.reload()
	a.observed.reloaded(err)
	if err != nil {
		a.metrics.ReloadOK.Set(0)
		a.metrics.Reloads.WithLabelValues("error").Inc()
		a.log.Error("configuration not taken, the old one stays in force", slog.String("error", err.Error()))
		return err
	}
	a.taken()
	a.metrics.Reloads.WithLabelValues("ok").Inc()
	return nil
}

func (a *App) reload() error {
	c, problems := a.o.Load()
	if c != nil && !c.Origin().IsZero() {
		a.read.Store(new(c.Origin()))
	}
	if len(problems) > 0 {
		for _, p := range problems {
			a.log.Error("configuration problem", slog.String("problem", p.String()))
		}
		return fmt.Errorf("%w: %d problem(s), the first: %s", ErrConfig, len(problems), problems[0])
	}
	old := a.live.Load()
	if c.Bare() && !old.config.Bare() {
		// Half of a copy, or a slip of the shell: the rules would be gone.
		return fmt.Errorf("%w: %s gives no key any more; write one, such as \"profile: standard\", to go on with the defaults", ErrConfig, c.File)
	}
	if err := a.install(context.Background(), c); err != nil {
		return err
	}
	a.forget(old, a.live.Load())
	if keys := config.RestartKeys(a.o.Config, c); len(keys) > 0 {
		a.log.Warn("changed keys that need a restart", slog.String("keys", strings.Join(keys, ", ")))
	}
	a.log.Info("configuration taken", slog.String("file", c.File), slog.String("profile", c.Profile))
	return nil
}

// forget drops what was shown of lists and zones that are in force no more.
func (a *App) forget(old, now *inForce) {
	kept := now.dependencies()
	for _, name := range old.dependencies() {
		if !slices.Contains(kept, name) {
			a.board.forget(name)
		}
	}
	for _, l := range old.config.Lists {
		i := slices.IndexFunc(now.config.Lists, func(x config.List) bool { return x.Name == l.Name && x.Mode != "off" })
		switch {
		case i < 0:
			a.metrics.ForgetList(l.Name)
		case now.config.Lists[i].URL == "":
			a.metrics.ForgetFeed(l.Name)
		}
	}
	for _, o := range old.ownPairs() {
		if !slices.Contains(now.ownPairs(), o) {
			a.metrics.OwnListed.DeleteLabelValues(o[:]...)
		}
	}
}

// ownPairs are the labels under which own addresses are told.
func (l *inForce) ownPairs() (pairs [][2]string) {
	if l.own == nil {
		return nil
	}
	for _, s := range l.own.Status() {
		pairs = append(pairs, [2]string{s.Addr.String(), s.Zone})
	}
	return pairs
}

// dependencies are the names under which lists and zones are on the board.
func (l *inForce) dependencies() []string {
	var names []string
	for _, x := range l.config.Lists {
		if x.Mode == "off" {
			continue
		}
		names = append(names, listName(x.Name))
		if x.File == "" {
			names = append(names, sourceName(x.Name))
		}
	}
	if l.zones != nil {
		for _, z := range l.zones.Status() {
			names = append(names, zoneName(z.Name))
		}
	}
	return names
}

// How often files are looked at: those of lists, and the configuration. That must
// look the same twice, since it may be written at the moment.
const (
	watchEvery  = 2 * time.Second
	configEvery = time.Second
)

// watchConfig notices a changed configuration file, also where a rename or a
// symlink puts a new one in its place, and one that changed while the server
// started.
func (a *App) watchConfig(ctx context.Context) {
	file := a.o.Config.File
	if file == "" {
		return
	}
	var last config.Origin
	every(ctx, configEvery, func() {
		now := config.Stat(file)
		still := now.Same(last)
		last = now
		// A file that is gone for a moment is being replaced.
		if now.IsZero() || !still || now.Same(*a.read.Load()) {
			return
		}
		a.read.Store(&now) // where it cannot be read, once is enough
		_ = a.Reload()     // logs and counts its error
	})
}
