package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/cmd/mailwicket/internal/doctor/mta"
	"mailwicket/cmd/mailwicket/internal/doctor/probe"
	"mailwicket/cmd/mailwicket/internal/doctor/watch"
)

// exitWarnings is the status of doctor where there are warnings and no problems.
const exitWarnings = 3

const defaultAdmin = "127.0.0.1:9891"

type doctorCmd struct {
	Config     string `short:"c" help:"Configuration file; without it the defaults."`
	Admin      string `help:"Admin address of the server; by default that of the configuration, or $MAILWICKET_ADMIN where none is named."`
	TokenFile  string `type:"existingfile" help:"File with the token, where the server wants one; that of the configuration by default."`
	MainCf     string `name:"main-cf" type:"existingfile" help:"Postfix' main.cf; without it postconf is asked, where it is."`
	SendmailMc string `name:"sendmail-mc" type:"existingfile" help:"Sendmail's sendmail.mc or sendmail.cf."`
	JSON       bool   `name:"json" help:"Print data instead of words."`
}

// Help tells what cannot be told in one line.
func (doctorCmd) Help() string {
	return "Asks the running server, and examines what it can without one: configuration, MTA, Redis, DNS servers, feeds, DNS lists, disk.\n\n" +
		"Exit status: 0 nothing to do, 1 problems, 2 usage error, 3 warnings only. deploy/docs/doctor.md tells of all findings."
}

// doctorReport is what --json prints.
type doctorReport struct {
	Examined []string         `json:"examined"`
	Findings []doctor.Finding `json:"findings"`
}

// Run gathers evidence, and prints what is wrong.
func (c doctorCmd) Run(s Streams) error {
	ctx, cancel := s.context()
	defer cancel()
	e, err := c.gather(ctx)
	if err != nil {
		return exitError{status: exitUsage, message: err.Error()}
	}
	r := doctorReport{Examined: examined(e), Findings: doctor.Examine(e)}
	if r.Findings == nil {
		r.Findings = []doctor.Finding{}
	}
	if c.JSON {
		if err := printJSON(s.Out, r); err != nil {
			return err
		}
	} else {
		printFindings(s.Out, r)
	}
	switch n := tally(r.Findings); {
	case n[doctor.Problem] > 0:
		return exitError{status: exitFailed}
	case n[doctor.Warning] > 0:
		return exitError{status: exitWarnings}
	}
	return nil
}

// gather asks the server, or what the server would ask; and the MTA. The error is
// about the flags.
func (c doctorCmd) gather(ctx context.Context) (doctor.Evidence, error) {
	cfg, problems := readConfig(c.Config)
	if c.Config != "" {
		if _, err := os.Stat(c.Config); err != nil {
			return doctor.Evidence{}, err
		}
	}
	found, why, err := c.mta(ctx)
	if err != nil {
		return doctor.Evidence{}, err
	}
	e, err := c.ask(cfg)
	if err != nil {
		ctx, cancel := context.WithTimeout(ctx, probeLimit)
		defer cancel()
		e = alone(ctx, cfg, len(problems) == 0)
		e.NoServer = err.Error()
	}
	for _, p := range problems {
		e.Problems = append(e.Problems, p.String())
	}
	e.MTA, e.NoMTA = found, why
	return e, nil
}

// mta reads the MTA's settings: those of the file that is named, or of this
// machine. why tells that there are none to be read.
func (c doctorCmd) mta(ctx context.Context) (m *doctor.MTA, why string, err error) {
	switch {
	case c.MainCf != "" && c.SendmailMc != "":
		return nil, "", fmt.Errorf("--main-cf and --sendmail-mc: name one of the two")
	case c.MainCf != "":
		m, err = mta.MainCf(c.MainCf)
		return m, "", err
	case c.SendmailMc != "":
		m, err = mta.SendmailFile(c.SendmailMc)
		return m, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if m, err = mta.Local(ctx); err != nil {
		return nil, err.Error(), nil
	}
	return m, "", nil
}

// ask asks the running server.
func (c doctorCmd) ask(cfg *config.Config) (doctor.Evidence, error) {
	var e doctor.Evidence
	to := server{Admin: c.Admin, TokenFile: c.TokenFile}
	if to.Admin == "" && c.Config == "" {
		to.Admin = os.Getenv("MAILWICKET_ADMIN")
	}
	if to.Admin == "" {
		if cfg.Admin.Listen == "" {
			return e, fmt.Errorf("admin.listen is empty: the server cannot be asked")
		}
		to.Admin = cmp.Or(dialable(cfg.Admin.Listen), defaultAdmin)
	}
	if to.TokenFile == "" {
		to.TokenFile = cfg.Resolve(cfg.Admin.TokenFile)
	}
	if err := to.ask(http.MethodGet, "/api/doctor", nil, &e); err != nil {
		return e, fmt.Errorf("%s: %w", to.Admin, err)
	}
	e.Asked = to.Admin
	return e, nil
}

// dialable puts loopback in place of all interfaces.
func dialable(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return hostPort
}

// alone examines what can be examined without a server. Of a configuration with
// problems nothing is asked: defaults stand in their places.
func alone(ctx context.Context, cfg *config.Config, good bool) doctor.Evidence {
	e := doctor.Evidence{Now: time.Now()}
	if !good {
		return e
	}
	e = probe.Online(ctx, cfg, os.Getenv, "Mailwicket/"+buildVersion(), time.Now)
	e.Disk = probe.Disk(cfg.DataDir, false)
	// A journal that cannot be read is another user's: that says nothing.
	e.Traffic, _ = watch.Journal(filepath.Join(cfg.DataDir, "journal"), time.Now())
	return e
}

// examined names what was looked at.
func examined(e doctor.Evidence) []string {
	out := []string{"configuration"}
	for _, part := range []struct {
		name string
		is   bool
	}{
		{"server at " + e.Asked, e.Server != nil}, {"clients of recent mail", e.Traffic != nil && e.Traffic.Messages > 0}, {"macros", len(e.Macros) > 0},
		{"MTA", e.MTA != nil}, {"Redis", e.Redis != nil}, {"DNS servers", len(e.DNS) > 0}, {"DNS lists", len(e.Zones) > 0},
		{"lists", len(e.Lists) > 0}, {"feeds", len(e.Feeds) > 0}, {"disk", e.Disk != nil},
	} {
		if part.is {
			out = append(out, part.name)
		}
	}
	return out
}

func tally(all []doctor.Finding) map[doctor.Severity]int {
	n := map[doctor.Severity]int{}
	for _, f := range all {
		n[f.Severity]++
	}
	return n
}

func printFindings(w io.Writer, r doctorReport) {
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%-8s %s\n         %s\n", strings.ToUpper(string(f.Severity)), f.ID, f.Summary)
		for _, line := range f.Evidence {
			fmt.Fprintf(w, "  seen   %s\n", line)
		}
		fmt.Fprintf(w, "  fix    %s\n", f.Fix)
		if f.Key != "" {
			fmt.Fprintf(w, "  where  %s\n", strings.TrimSuffix(f.Key+", "+f.At.String(), ", "))
		}
		if f.Place != "" {
			fmt.Fprintf(w, "  where  %s\n", f.Place)
		}
		for _, line := range f.Lines {
			fmt.Fprintf(w, "           %s\n", line)
		}
		fmt.Fprintln(w)
	}
	n := tally(r.Findings)
	fmt.Fprintf(w, "%s, %s, %s; examined: %s\n", plural(n[doctor.Problem], "problem"), plural(n[doctor.Warning], "warning"),
		plural(n[doctor.Info], "note"), strings.Join(r.Examined, ", "))
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
