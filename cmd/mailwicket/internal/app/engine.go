package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/ruleset"
	"mailwicket/filter"
	"mailwicket/filter/dmarc"
	"mailwicket/filter/dnsbl"
	"mailwicket/policy"
)

// Compile gives the policy that a configuration asks for, or what is wrong with
// its rules.
func Compile(c *config.Config) (*policy.Policy, []policy.Problem) {
	rules, err := ruleset.Of(c)
	if err != nil {
		return nil, []policy.Problem{{At: policy.Position{File: c.File}, Path: "profile", Message: err.Error()}}
	}
	p, problems := policy.Compile(rules)
	if problems = append(problems, policy.LostTags(rules)...); len(problems) > 0 {
		return nil, problems
	}
	return p, nil
}

// engineConfig gives what follows from the configuration alone.
func engineConfig(c *config.Config, p *policy.Policy) filter.Config {
	onError, _ := policy.ParseVerdict(c.OnError)
	method := dmarc.TreeWalk
	if c.DMARC.OrgDomain == "psl" {
		method = dmarc.PSL
	}
	return filter.Config{
		Policy: p, Settings: c.Settings(), AuthservID: c.AuthservID, Trusted: c.Trusted.Networks, TrustLogin: c.Trusted.Authenticated,
		OnError: onError, OrgDomain: method, TrustedSealers: c.ARC.TrustedSealers, DKIMMax: c.DKIM.MaxSignatures,
		Net4: c.Greylist.Net4, Net6: c.Greylist.Net6, HeaderBytes: int(c.Milter.HeaderBytes),
		HeaderFields: c.Milter.HeaderFields, CheckTimeout: c.Milter.CheckTimeout.Std(),
		NoLinks: !c.Content.Links, TraceHeader: c.TraceHeader, ReceivedSPF: c.SPF.ReceivedSPF, Now: time.Now, NewRef: newRef,
	}
}

// install builds an engine for a configuration and puts it in force. The old one
// stays when anything is wrong.
func (a *App) install(ctx context.Context, c *config.Config) error {
	p, problems := Compile(c)
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", ErrConfig, problems[0])
	}
	var err error
	next := &inForce{config: c, hashes: a.store.key(), lists: a.newLists(c)}
	if next.zones, err = a.newZones(c); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	a.carry(next, a.live.Load())
	if err := next.lists.Load(ctx); err != nil {
		// Each list has its own state on the board; mail flows without it.
		a.log.Warn("lists not read", slog.String("error", err.Error()))
	}
	a.tellFeeds(c, next.lists)
	ec := engineConfig(c, p)
	ec.Resolver, ec.Lists, ec.Defers = a.resolver, next.lists, a.defers
	ec.Greylist = a.store.greylister(c.Greylist)
	if next.zones != nil {
		ec.DNSBL = next.zones
	}
	if next.rates != nil {
		ec.Rates = next.rates
	}
	if next.replays != nil {
		ec.Replays = next.replays
	}
	ec.Log, ec.Observer, ec.Host = a.log, a.observer, a.host
	next.engine = filter.NewEngine(ec)
	watching, stop := context.WithCancel(context.Background())
	next.stop = stop
	a.watch(watching, next)
	if old := a.live.Swap(next); old != nil {
		old.stop()
	}
	return nil
}

// taken notes that the configuration on disk is the one in force.
func (a *App) taken() {
	if a.o.Taken != nil {
		a.o.Taken(a.live.Load().config)
	}
	a.metrics.ReloadOK.Set(1)
	a.metrics.ReloadTime.Set(float64(time.Now().Unix()))
}

// carry gives next what old has learned: sets of lists, health of zones, and
// counts where neither what is counted nor the secret changed.
func (a *App) carry(next, old *inForce) {
	if r := next.config.Reputation; next.zones != nil && len(r.OwnIPs) > 0 {
		next.own = dnsbl.NewOwn(next.zones, r.OwnIPs, r.Every.Std())
	}
	limits, window := next.config.Limits(), next.config.DKIM.ReplayWindow.Std()
	if old != nil {
		next.lists.Carry(old.lists)
		if next.zones != nil {
			next.zones.Carry(old.zones)
		}
		if next.own != nil {
			next.own.Carry(old.own)
		}
		same := bytes.Equal(next.hashes, old.hashes)
		if same && reflect.DeepEqual(limits, old.config.Limits()) {
			next.rates = old.rates
		}
		if same && window == old.config.DKIM.ReplayWindow.Std() {
			next.replays = old.replays
		}
	}
	if next.rates == nil && len(limits) > 0 {
		next.rates = a.store.rates(limits, next.hashes)
	}
	if next.replays == nil && window > 0 {
		next.replays = a.store.replays(window, next.hashes)
	}
}

// reinstall makes the engine anew from the configuration in force.
func (a *App) reinstall() {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if err := a.install(context.Background(), a.live.Load().config); err != nil {
		a.log.Error("engine not renewed", slog.String("error", err.Error()))
	}
}
