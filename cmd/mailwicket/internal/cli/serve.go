package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/policy"
)

type serveCmd struct {
	Config  string `short:"c" help:"Configuration file; without it all defaults hold."`
	DataDir string `name:"data-dir" help:"Directory for state, in place of data_dir."`
}

// Run serves until SIGTERM or SIGINT. SIGHUP reads the configuration again.
func (c serveCmd) Run(s Streams) error {
	cfg, err := loadWithSecrets(c.Config, s)
	if err != nil {
		return err
	}
	c.place(cfg)
	// From here on, a request to read again waits for the server instead of ending it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	level := new(slog.LevelVar)
	level.Set(logLevel(cfg.Log))
	log := newLogger(s.Err, cfg.Log.Format, level)
	slog.SetDefault(log) // for libraries that log by themselves
	a, err := app.New(app.Options{
		Config: cfg, Log: log, Version: buildVersion(), Env: os.Getenv,
		Taken: func(c *config.Config) { level.Set(logLevel(c.Log)) },
		Load: func() (*config.Config, []policy.Problem) {
			next, problems := readConfig(c.Config)
			if next != nil {
				c.place(next)
			}
			return next, problems
		},
	})
	if err != nil {
		return err
	}
	ctx, stop := s.context()
	defer stop()
	go reloadOn(ctx, hangup, a)
	greet(s.Out, a, cfg)
	return a.Run(ctx)
}

// place settles where state is kept: the flag wins; without a configuration file
// a user who may not write below /var/lib gets a directory of their own.
func (c serveCmd) place(cfg *config.Config) {
	switch {
	case c.DataDir != "":
		cfg.DataDir = c.DataDir
	case cfg.File == "" && os.Geteuid() != 0 && !writable(cfg.DataDir):
		if dir := userStateDir(); dir != "" {
			cfg.DataDir = filepath.Join(dir, "mailwicket")
		}
	}
}

func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".probe")
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
	}
	f.Close()
	os.Remove(f.Name())
	return true
}

// userStateDir is that of the XDG base directories.
func userStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state")
	}
	return ""
}

func logLevel(c config.Log) slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(c.Level)) != nil {
		return slog.LevelInfo
	}
	return level
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func reloadOn(ctx context.Context, hangup <-chan os.Signal, a *app.App) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = a.Reload() // tells its error in the log and in metrics
		}
	}
}

// greet says what a postmaster needs to know next.
func greet(w io.Writer, a *app.App, c *config.Config) {
	milters, adminAddr := a.Addresses()
	fmt.Fprintf(w, "Mailwicket %s, profile %s, greylisting %s\n", buildVersion(), c.Profile, c.Greylist.Scope)
	for _, m := range milters {
		fmt.Fprintf(w, "  milter   %s\n", milterAddress(m))
	}
	if adminAddr != nil {
		fmt.Fprintf(w, "  admin    http://%s/metrics /healthz /readyz\n", adminAddr)
	}
	store := filepath.Join(c.DataDir, "greylist.db")
	if c.Redis.URL != "" {
		store = "Redis"
	}
	fmt.Fprintf(w, "  state    %s, greylist in %s\n", c.DataDir, store)
	if len(milters) > 0 {
		fmt.Fprintf(w, "Attach Postfix: postconf -e 'smtpd_milters = %s' 'milter_default_action = tempfail' && postfix reload\n", milterAddress(milters[0]))
	}
}

// milterAddress writes an address as Postfix does.
func milterAddress(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}
