// Package app wires the server: it makes every part in the order of their
// needs, runs them, and swaps the engine when the configuration changes.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"mailwicket/cmd/mailwicket/internal/admin"
	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/parts"
	"mailwicket/cmd/mailwicket/internal/socket"
	"mailwicket/filter"
	"mailwicket/filter/dns"
	dnsclient "mailwicket/filter/dns/client"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/limit"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/filter/milter"
	"mailwicket/filter/observe"
	"mailwicket/filter/observe/journal"
	"mailwicket/filter/observe/journal/stream"
	"mailwicket/policy"
)

// Options is what the command line knows.
type Options struct {
	Config  *config.Config
	Load    func() (*config.Config, []policy.Problem) // reads the configuration again
	Log     *slog.Logger
	Version string
	Env     func(string) string
	Taken   func(*config.Config) // told of each configuration that comes into force; may be nil
}

// App is a server. New opens everything that may fail, Run serves.
type App struct {
	o        Options
	log      *slog.Logger
	metrics  *observe.Metrics
	registry *prometheus.Registry
	board    *board
	observer filter.Observer
	host     string // names this filter to the others
	observed observed

	milterSockets []net.Listener
	adminSocket   net.Listener
	token         config.Secret
	resolver      *dnsclient.Client
	store         *store
	journal       *journal.Journal
	shared        *stream.Stream // nil unless decisions are shared
	defers        *filter.Defers
	server        *milter.Server

	reloading sync.Mutex
	read      atomic.Pointer[config.Origin] // the file that was read last
	watchers  sync.WaitGroup                // over list files
	live      atomic.Pointer[inForce]
}

// inForce is all that a reload replaces.
type inForce struct {
	config  *config.Config
	hashes  []byte // the secret of what is counted
	lists   *list.Book
	zones   *dnsbl.Book // nil without
	own     *dnsbl.Own  // nil without own addresses
	rates   *limit.Rates
	replays *limit.Replays
	engine  *filter.Engine
	stop    context.CancelFunc // ends the watch over lists and zones
}

// New makes the server. What it opened is closed again when it fails.
func New(o Options) (_ *App, err error) {
	a := &App{o: o, log: o.Log, registry: prometheus.NewRegistry(), defers: filter.NewDefers()}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.metrics = observe.New(a.registry)
	a.metrics.Build.WithLabelValues(o.Version, runtime.Version()).Set(1)
	a.board = newBoard(a.metrics, o.Log)
	a.host, _ = os.Hostname() // a filter without a name works as well
	c := o.Config
	a.read.Store(new(c.Origin()))

	if err := os.MkdirAll(c.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("data_dir: %w: name another one in the configuration or with --data-dir", err)
	}
	if err := a.listen(); err != nil {
		return nil, err
	}
	if a.token, err = c.AdminToken(); err != nil {
		return nil, err
	}
	if a.resolver, err = a.newResolver(); err != nil {
		return nil, err
	}
	if a.store, err = openStore(c, o.Env, a.metrics, a.board, o.Log); err != nil {
		return nil, err
	}
	observers := observe.All{a.metrics, observe.Log{L: o.Log}, &a.observed.traffic}
	if c.Journal.Keep > 0 {
		if a.journal, err = a.newJournal(); err != nil {
			return nil, err
		}
		observers = append(observers, a.journal)
	}
	if a.shared = a.newStream(); a.shared != nil {
		observers = append(observers, a.shared)
	}
	a.observer = observers
	if err := a.install(context.Background(), c); err != nil {
		return nil, err
	}
	a.taken()
	a.server = a.newServer()
	return a, nil
}

// listen opens the sockets, or takes those that a service manager opened.
func (a *App) listen() error {
	given, err := socket.Given()
	if err != nil {
		return err
	}
	c := a.o.Config
	a.milterSockets = given["milter"]
	if len(a.milterSockets) == 0 {
		for _, address := range c.Milter.Listen {
			ln, err := socket.Listen(address, c.Milter.SocketMode)
			if err != nil {
				return fmt.Errorf("milter.listen: %w", err)
			}
			a.milterSockets = append(a.milterSockets, ln)
		}
	}
	switch {
	case len(given["admin"]) > 0:
		a.adminSocket = given["admin"][0]
	case c.Admin.Listen != "":
		if a.adminSocket, err = socket.TCP(c.Admin.Listen); err != nil {
			return fmt.Errorf("admin.listen: %w", err)
		}
	}
	return nil
}

func (a *App) newResolver() (*dnsclient.Client, error) {
	c := a.o.Config.DNS
	servers := parts.DNSServers(c, a.log)
	return dnsclient.New(dnsclient.Config{Servers: servers, Timeout: c.Timeout.Std(), CacheSize: c.Cache.Size,
		Observer: dnsclient.Observer{
			Query: func(server, qtype, result string, took time.Duration) {
				a.metrics.DNSQueries.WithLabelValues(qtype, result).Inc()
				a.metrics.DNSTime.WithLabelValues(server).Observe(took.Seconds())
			},
			Cache: func(hit bool) {
				outcome := "miss"
				if hit {
					outcome = "hit"
				}
				a.metrics.DNSCache.WithLabelValues(outcome).Inc()
			},
		}})
}

const (
	journalFile  = 64 << 20
	journalQueue = 10_000
	sharedQueue  = 1_000
)

func (a *App) newJournal() (*journal.Journal, error) {
	c := a.o.Config
	return journal.New(journal.Config{Dir: a.journalDir(), Keep: c.Journal.Keep.Std(),
		MaxFile: min(journalFile, int64(c.Journal.MaxSize)), MaxAll: int64(c.Journal.MaxSize), Queue: journalQueue,
		Redact: a.redact, Now: time.Now, Log: a.log,
		Written: func(result string) {
			a.metrics.Journal.WithLabelValues(result).Inc()
			a.observed.journalled(result)
		}})
}

// redact hides what is personal in a record, where the configuration in force asks
// for it, under the secret of the moment.
func (a *App) redact(r *filter.Record) *filter.Record {
	if !a.live.Load().config.Journal.Redact {
		return r
	}
	return observe.Redactor(a.store.key())(r)
}

// sharedName is on the board.
const sharedName = "shared decisions"

// newStream makes what gives decisions to the other filters; nil where nobody
// wants that.
func (a *App) newStream() *stream.Stream {
	c := a.o.Config.Journal
	if !c.Share || a.store.redis == nil {
		return nil
	}
	return stream.New(stream.Config{Client: a.store.redis, Max: int64(c.ShareMax), Queue: sharedQueue, Redact: a.redact, Log: a.log,
		Shared: func(result string) { a.metrics.Shared.WithLabelValues(result).Inc() },
		Failed: func(err error) {
			if err != nil {
				a.board.set(sharedName, false, redisTrouble(err).Error())
				return
			}
			a.board.set(sharedName, true, "")
		}})
}

// newServer makes the milter side. Each session takes the engine of the moment
// and ends with it.
func (a *App) newServer() *milter.Server {
	m := a.metrics
	return &milter.Server{
		NewSession: func() milter.Session { return a.live.Load().engine.Open(context.Background()) },
		Failure:    func() filter.Answer { return a.live.Load().engine.Failure() },
		Allow:      func() []netip.Prefix { return a.live.Load().config.Milter.Allow },
		Limits:     parts.Limits(a.o.Config.Milter),
		Log:        a.log,
		Observer: milter.Observer{
			Session: func(delta int) {
				m.Sessions.Add(float64(delta))
				if delta > 0 {
					m.SessionsTotal.Inc()
				}
			},
			Refused:  func(why string) { m.Refused.WithLabelValues(why).Inc() },
			Broken:   a.broken,
			Stage:    m.StageTook,
			Panicked: func(s mail.Stage) { m.Panics.WithLabelValues(s.String()).Inc() },
			Macros:   a.observed.macros.Stage,
		},
	}
}

// broken counts a peer that broke the protocol; the cause is for who debugs an MTA.
func (a *App) broken(err error) {
	a.metrics.Broken.Inc()
	a.log.Debug("milter connection broken", slog.String("error", err.Error()))
}

// Run serves until ctx ends, then drains and closes everything.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	// The parts outlive ctx: sessions that drain still need them.
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { a.watchDNS(parts) })
	running.Go(func() { a.watchConfig(parts) })
	running.Go(func() { a.rounds(parts) })
	running.Go(func() { a.store.run(parts, a.reinstall) })
	if a.journal != nil {
		running.Go(func() { a.journal.Run(parts) })
	}
	if a.shared != nil {
		running.Go(func() { a.shared.Run(parts) })
	}
	if a.adminSocket != nil {
		running.Go(func() {
			if err := admin.Serve(parts, a.adminSocket, a.adminHandler()); err != nil {
				a.log.Error("admin server ended", slog.String("error", err.Error()))
			}
		})
	}
	a.board.setReady(true)
	go func() {
		<-ctx.Done()
		a.board.setReady(false)
	}()
	return a.server.Run(ctx, a.milterSockets...)
}

func (a *App) adminHandler() http.Handler {
	return admin.Handler(admin.Config{Gatherer: a.registry, Status: a.board.status, Token: string(a.token), API: a.answerer().Paths()})
}

// Addresses tells where the server listens.
func (a *App) Addresses() (milters []net.Addr, adminAddr net.Addr) {
	for _, ln := range a.milterSockets {
		milters = append(milters, ln.Addr())
	}
	if a.adminSocket != nil {
		adminAddr = a.adminSocket.Addr()
	}
	return milters, adminAddr
}

// close ends what New opened. Sockets may be closed already.
func (a *App) close() {
	for _, ln := range a.milterSockets {
		ln.Close()
	}
	if a.adminSocket != nil {
		a.adminSocket.Close()
	}
	if l := a.live.Load(); l != nil {
		l.stop()
		a.watchers.Wait()
	}
	if a.resolver != nil {
		a.resolver.Close()
	}
	if a.store != nil {
		a.store.close()
	}
}

const (
	dnsCheckEvery = 15 * time.Second
	dnsCheckLimit = 5 * time.Second
)

// watchDNS notices when no server answers any more, also while no mail comes.
func (a *App) watchDNS(ctx context.Context) {
	check := func() {
		limited, cancel := context.WithTimeout(ctx, dnsCheckLimit)
		defer cancel()
		err := a.resolver.Check(limited)
		if ctx.Err() != nil {
			return
		}
		if dns.Kind(err) == dns.Temporary || dns.Kind(err) == dns.Permanent {
			a.board.set(dnsName, false, err.Error())
			return
		}
		a.board.set(dnsName, true, "")
	}
	check()
	every(ctx, dnsCheckEvery, check)
}

// every calls f at a pace until ctx ends.
func every(ctx context.Context, pace time.Duration, f func()) {
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}

// ErrConfig is a configuration that was refused; the problems have been logged.
var ErrConfig = errors.New("configuration refused")
