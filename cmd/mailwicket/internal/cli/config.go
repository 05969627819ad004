package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/manual"
	"mailwicket/cmd/mailwicket/internal/config/ruleset"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/cmd/mailwicket/internal/doctor/probe"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

type configCmd struct {
	Check     configCheckCmd     `cmd:"" help:"Find all problems of a configuration file."`
	Show      configShowCmd      `cmd:"" help:"Print the effective configuration, secrets hidden."`
	Rules     configRulesCmd     `cmd:"" help:"Print the effective rules in their order: yours, those of your settings, the profile's."`
	Example   configExampleCmd   `cmd:"" help:"Print an example with every key."`
	Reference configReferenceCmd `cmd:"" help:"Print the manual of all keys and rule fields."`
	Schema    configSchemaCmd    `cmd:"" help:"Print the JSON Schema of the file, for editors."`
}

// configFile is the argument that the config commands share.
type configFile struct {
	Config string `short:"c" help:"Configuration file; without it the defaults."`
	File   string `arg:"" optional:"" help:"The same as --config."`
}

func (f configFile) name() string {
	if f.File != "" {
		return f.File
	}
	return f.Config
}

type configCheckCmd struct {
	configFile
	Online bool `help:"Ask Redis, DNS servers, feeds and DNS lists too. Nothing is loaded or changed."`
}

func (c configCheckCmd) Run(s Streams) error {
	cfg, err := loadWithSecrets(c.name(), s)
	if err != nil {
		return err
	}
	rules, err := ruleset.Of(cfg)
	if err != nil {
		return err
	}
	// What is only seen by opening it: a warning, for the server starts without.
	for _, l := range cfg.Lists {
		if l.File == "" {
			continue // a feed, or a list in Redis
		}
		if _, err := os.Stat(cfg.Resolve(l.File)); err != nil {
			fmt.Fprintf(s.Err, "warning: list %s: %v\n", l.Name, err)
		}
	}
	p, _ := app.Compile(cfg) // loading found no problem
	if cfg.DKIM.ReplayWindow == 0 && slices.Contains(p.Checks(mail.StageMessage), "replay") {
		fmt.Fprintln(s.Err, "warning: rules ask for dkim.replay.*, which is never known while dkim.replay_window is 0s")
	}
	if c.Online {
		if err := c.online(cfg, s); err != nil {
			return err
		}
	}
	name := c.name()
	if name == "" {
		name = "defaults"
	}
	fmt.Fprintf(s.Out, "%s: good, profile %s, %d rules, %d lists\n", name, cfg.Profile, len(rules), len(cfg.Lists))
	return nil
}

// probeLimit bounds all that is asked over the network.
const probeLimit = 15 * time.Second

// online tells what does not work that the configuration names, as problems of
// the lines that name it.
func (c configCheckCmd) online(cfg *config.Config, s Streams) error {
	ctx, stop := s.context()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	found := doctor.Examine(probe.Online(ctx, cfg, os.Getenv, "Mailwicket/"+buildVersion(), time.Now))
	slices.SortStableFunc(found, func(a, b doctor.Finding) int { return cmp.Or(a.At.Line-b.At.Line, a.At.Col-b.At.Col) })
	var problems []policy.Problem
	for _, f := range found {
		p := policy.Problem{At: f.At, Path: f.Key, Message: f.Summary + ": " + strings.Join(f.Evidence, "; "), Hint: f.Fix}
		if f.Severity == doctor.Problem || silent(f.ID) {
			problems = append(problems, p)
		} else {
			fmt.Fprintf(s.Err, "%s: %s\n", f.Severity, p)
		}
	}
	if len(problems) > 0 {
		printProblems(s.Err, problems)
		return exitError{status: exitUsage}
	}
	return nil
}

// silent tells warnings that mean that something named does not answer. A server
// does without; who has just written its name wants to know.
func silent(id string) bool {
	return id == "feed-failing" || id == "dnsbl-out-of-service" || id == "dns-server-silent"
}

type configShowCmd struct{ configFile }

func (c configShowCmd) Run(s Streams) error {
	cfg, err := loadConfig(c.name(), s)
	if err != nil {
		return err
	}
	_, err = s.Out.Write(cfg.Show())
	return err
}

type configRulesCmd struct{ configFile }

func (c configRulesCmd) Run(s Streams) error {
	cfg, err := loadConfig(c.name(), s)
	if err != nil {
		return err
	}
	rules, err := ruleset.Of(cfg)
	if err != nil {
		return err
	}
	text, err := rulefile.Print(rules)
	if err != nil {
		return err
	}
	if _, err = s.Out.Write(text); err != nil {
		return err
	}
	p, problems := app.Compile(cfg)
	if len(problems) > 0 {
		printProblems(s.Err, problems)
		return exitError{status: exitUsage}
	}
	return printApart(s.Out, p.Apart())
}

// printApart tells in comments what no rule says: who cannot share a mail.
func printApart(w io.Writer, what []string) error {
	if len(what) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n# %s: who differs from the first recipient of a mail in any of these\n"+
		"# is asked for in a mail of its own (452 4.5.3):\n#   %s\n", policy.RecipientsDiffer, strings.Join(what, "\n#   "))
	return err
}

type configExampleCmd struct{}

func (configExampleCmd) Run(s Streams) error {
	_, err := s.Out.Write(manual.Example())
	return err
}

type configReferenceCmd struct{}

func (configReferenceCmd) Run(s Streams) error {
	_, err := s.Out.Write(manual.Reference())
	return err
}

type configSchemaCmd struct{}

func (configSchemaCmd) Run(s Streams) error {
	_, err := s.Out.Write(manual.Schema())
	return err
}
