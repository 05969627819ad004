package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/parts"
	"mailwicket/filter"
	"mailwicket/filter/dns"
	dnsclient "mailwicket/filter/dns/client"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
)

// OfflineOptions say what an engine without a server works with.
type OfflineOptions struct {
	Resolver dns.Resolver // nil asks the configured servers
	Env      func(string) string
	Observer filter.Observer
	Greylist bool        // ask an empty greylist in memory; otherwise greylisting is skipped
	Warn     func(error) // optional: of a list that is empty for now
}

// Offline makes the engine that the server would use, without sockets, stores or
// journal, for judging single messages. The caller calls the function returned
// when it is done. A list that cannot be read is an error here: the answer would
// be another one than the server's. One that is yet to come is empty, as it is in a
// server that has just begun.
func Offline(ctx context.Context, c *config.Config, o OfflineOptions) (*filter.Engine, func(), error) {
	p, problems := Compile(c)
	if len(problems) > 0 {
		return nil, nil, fmt.Errorf("%w: %s", ErrConfig, problems[0])
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	done := func() {}
	if o.Resolver == nil {
		r, err := dnsclient.New(dnsclient.Config{Servers: parts.DNSServers(c.DNS, log), Timeout: c.DNS.Timeout.Std()})
		if err != nil {
			return nil, nil, err
		}
		o.Resolver, done = r, r.Close
	}
	lists := list.New(c.ListConfigs(), list.Options{Log: log})
	if err := lasting(lists.Load(ctx), o.Warn); err != nil {
		done()
		return nil, nil, err
	}
	ec := engineConfig(c, p)
	ec.Resolver, ec.Lists, ec.Defers, ec.Log, ec.Observer = o.Resolver, lists, filter.NewDefers(), log, o.Observer
	zones, err := c.Zones(o.Env)
	if err != nil {
		done()
		return nil, nil, err
	}
	if len(zones) > 0 {
		book := dnsbl.New(zones, dnsbl.Options{Resolver: o.Resolver, Log: log})
		book.Probe(ctx)
		ec.DNSBL = book
	}
	if o.Greylist {
		ec.Greylist = memoryGreylist(c.Greylist, log)
	}
	return filter.NewEngine(ec), done, nil
}

// lasting gives what of the errors of loading does not pass by itself, and warns of
// the rest.
func lasting(err error, warn func(error)) error {
	var left []error
	all, _ := err.(interface{ Unwrap() []error })
	if all == nil {
		return err
	}
	for _, e := range all.Unwrap() {
		switch {
		case !errors.Is(e, list.ErrNoCopy):
			left = append(left, e)
		case warn != nil:
			warn(e)
		}
	}
	return errors.Join(left...)
}
