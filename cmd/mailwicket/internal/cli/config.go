package cli

import (
	"fmt"
	"os"

	"mailwicket/cmd/mailwicket/internal/config/manual"
	"mailwicket/cmd/mailwicket/internal/config/ruleset"
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

type configCheckCmd struct{ configFile }

func (c configCheckCmd) Run(s Streams) error {
	cfg, err := loadConfig(c.name(), s)
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
	name := c.name()
	if name == "" {
		name = "defaults"
	}
	fmt.Fprintf(s.Out, "%s: good, profile %s, %d rules, %d lists\n", name, cfg.Profile, len(rules), len(cfg.Lists))
	return nil
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
	_, err = s.Out.Write(text)
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
