package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/filter"
	"mailwicket/filter/dmarc"
	"mailwicket/filter/list"
	"mailwicket/policy"
)

// Compile gives the policy that a configuration asks for, or what is wrong with
// its rules.
func Compile(c *config.Config) (*policy.Policy, []policy.Problem) {
	rules, err := c.PolicyRules()
	if err != nil {
		return nil, []policy.Problem{{At: policy.Position{File: c.File}, Path: "profile", Message: err.Error()}}
	}
	return policy.Compile(rules)
}

// engineConfig gives what follows from the configuration alone.
func engineConfig(c *config.Config, p *policy.Policy) filter.Config {
	onError, _ := policy.ParseVerdict(c.OnError)
	method := dmarc.TreeWalk
	if c.DMARC.OrgDomain == "psl" {
		method = dmarc.PSL
	}
	return filter.Config{
		Policy: p, AuthservID: c.AuthservID, Trusted: c.Trusted.Networks, TrustLogin: c.Trusted.Authenticated,
		OnError: onError, OrgDomain: method, TrustedSealers: c.ARC.TrustedSealers, DKIMMax: c.DKIM.MaxSignatures,
		Net4: c.Greylist.Net4, Net6: c.Greylist.Net6, HeaderBytes: int(c.Milter.HeaderBytes),
		HeaderFields: c.Milter.HeaderFields, CheckTimeout: c.Milter.CheckTimeout.Std(),
		TraceHeader: c.TraceHeader, ReceivedSPF: c.SPF.ReceivedSPF, Now: time.Now, NewRef: newRef,
	}
}

// install builds an engine for a configuration and puts it in force. The old one
// stays when anything is wrong.
func (a *App) install(ctx context.Context, c *config.Config) error {
	p, problems := Compile(c)
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", ErrConfig, problems[0])
	}
	next := &live{config: c, lists: a.newLists(c)}
	if old := a.live.Load(); old != nil {
		next.lists.Carry(old.lists)
	}
	if err := next.lists.Load(ctx); err != nil {
		// Each list has its own state on the board; mail flows without it.
		a.log.Warn("lists not read", slog.String("error", err.Error()))
	}
	ec := engineConfig(c, p)
	ec.Resolver, ec.Lists, ec.Defers = a.resolver, next.lists, a.defers
	ec.Greylist = a.store.greylister(c.Greylist)
	ec.Log, ec.Observer = a.log, a.observer
	next.engine = filter.NewEngine(ec)
	watching, stop := context.WithCancel(context.Background())
	next.stop = stop
	a.watchers.Go(func() { next.lists.Watch(watching, watchEvery) })
	if old := a.live.Swap(next); old != nil {
		old.stop()
	}
	a.metrics.ReloadOK.Set(1)
	a.metrics.ReloadTime.Set(float64(time.Now().Unix()))
	return nil
}

// reinstall makes the engine anew from the configuration in force.
func (a *App) reinstall() {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if err := a.install(context.Background(), a.live.Load().config); err != nil {
		a.log.Error("engine not renewed", slog.String("error", err.Error()))
	}
}

func (a *App) newLists(c *config.Config) *list.Book {
	return list.New(listConfigs(c), list.Options{Log: a.log, Now: time.Now, Observer: list.Observer{
		Loaded: func(name string, entries, bad int, at time.Time) {
			a.metrics.ListEntries.WithLabelValues(name).Set(float64(entries))
			a.metrics.ListLoaded.WithLabelValues(name).Set(float64(at.Unix()))
			a.board.set("list "+name, true, "")
		},
		Failed: func(name string, err error) {
			a.metrics.ListErrors.WithLabelValues(name).Inc()
			a.board.set("list "+name, false, err.Error())
		},
	}})
}

func listConfigs(c *config.Config) []list.Config {
	var out []list.Config
	for _, l := range c.Lists {
		if l.Mode == "off" {
			continue
		}
		out = append(out, list.Config{Name: l.Name, Kind: l.Type, File: c.Resolve(l.File), Apply: l.Apply})
	}
	return out
}
