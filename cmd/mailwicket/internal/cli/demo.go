package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/demo"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/list"
	"mailwicket/policy"
)

type demoCmd struct {
	Exit   bool   `help:"End after the last message instead of staying up."`
	Milter string `default:"127.0.0.1:0" help:"Address of the milter socket; port 0 takes a free one."`
	Admin  string `default:"127.0.0.1:0" help:"Address of the admin page; port 0 takes a free one."`
	Log    bool   `help:"Show the server's log too."`
}

// Run starts the real server with a zone of its own and plays messages at it.
func (c demoCmd) Run(s Streams) error {
	dir, err := os.MkdirTemp("", "mailwicket-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	zone, err := dnstest.Serve(dnstest.MustParse(demo.Zone(key)), "")
	if err != nil {
		return err
	}
	defer zone.Close()
	cfg, err := c.config(dir, zone.Addr())
	if err != nil {
		return err
	}
	logTo := io.Discard
	if c.Log {
		logTo = s.Err
	}
	a, err := app.New(app.Options{Config: cfg, Log: newLogger(logTo, cfg.Log.Format, logLevel(cfg.Log)), Version: buildVersion(), Env: os.Getenv,
		Load: func() (*config.Config, []policy.Problem) { return cfg, nil }})
	if err != nil {
		return err
	}
	ctx, stop := s.context()
	defer stop()
	ctx, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	if err := c.play(s.Out, a, key); err != nil {
		end()
		<-ended
		return err
	}
	if c.Exit {
		end()
		return <-ended
	}
	_, adminAddr := a.Addresses()
	fmt.Fprintf(s.Out, "\nThe server stays up until you press Ctrl-C: http://%s/metrics and /readyz\n", adminAddr)
	return <-ended
}

func (c demoCmd) config(dir, dns string) (*config.Config, error) {
	file := filepath.Join(dir, "harmful.txt")
	if err := os.WriteFile(file, demo.HarmfulList, 0o600); err != nil {
		return nil, err
	}
	cfg := config.Default()
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Milter.Listen = []string{"inet:" + c.Milter}
	cfg.Admin.Listen = c.Admin
	cfg.DNS.Servers = []string{dns}
	cfg.AuthservID = "mx.home.example"
	cfg.Greylist.Delay, cfg.Greylist.DoubtfulDelay = config.Duration(demo.Delay), config.Duration(demo.Delay)
	cfg.Lists = []config.List{{Name: "harmful", Type: list.Domain, File: file, Do: "reject", Mode: "enforce",
		Apply: []list.Point{list.PointHelo, list.PointPTR, list.PointMailFrom, list.PointHeaderFrom, list.PointDKIM, list.PointLinks}}}
	return cfg, nil
}

func (c demoCmd) play(w io.Writer, a *app.App, key ed25519.PrivateKey) error {
	milters, _ := a.Addresses()
	fmt.Fprintf(w, "Playing messages at the real server on %s, with a DNS zone of its own.\n\n", milterAddress(milters[0]))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MESSAGE\tSTAGE\tVERDICT\tCAUSE")
	start := time.Now()
	n := 0
	err := demo.Play("tcp", milters[0].String(), key, func(o demo.Outcome) {
		n++
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", o.Title, o.Stage, o.Verdict, o.Cause)
	})
	if err != nil {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d messages in %.1f s, most of it waiting for the greylist's delay of %v.\n", n, time.Since(start).Seconds(), demo.Delay)
	return nil
}
