package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/ruleset"
	"mailwicket/cmd/mailwicket/internal/parts"
	"mailwicket/policy"
)

// readConfig reads a configuration and compiles its rules, and gives every
// problem of both.
func readConfig(file string) (*config.Config, []policy.Problem) {
	c, problems := config.Load(file, os.Getenv)
	if c == nil {
		return nil, problems
	}
	if len(problems) == 0 {
		_, problems = app.Compile(c)
		return c, inOrder(c, problems)
	}
	// The other rules can be tried by themselves. What the settings stand for is not
	// sure where these have problems.
	rules := c.Rules
	if !slices.ContainsFunc(problems, func(p policy.Problem) bool { return !strings.HasPrefix(p.Path, "rules") }) {
		if all, err := ruleset.Of(c); err == nil {
			rules = all
		}
	}
	_, more := policy.Compile(rules)
	return c, inOrder(c, append(problems, more...))
}

// inOrder sorts problems as the file has them; those of built-in rules come last.
func inOrder(c *config.Config, problems []policy.Problem) []policy.Problem {
	slices.SortStableFunc(problems, func(a, b policy.Problem) int {
		if x, y := a.At.File == c.File, b.At.File == c.File; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(a.At.Line-b.At.Line, a.At.Col-b.At.Col)
	})
	return problems
}

// loadConfig reads a configuration that must be good. All problems are told,
// and the exit status is that of a usage error.
func loadConfig(file string, s Streams) (*config.Config, error) {
	c, problems := readConfig(file)
	return told(s, c, problems)
}

// loadWithSecrets is loadConfig for who starts the server, or wants to know whether
// it would: what it must read besides has to be there.
func loadWithSecrets(file string, s Streams) (*config.Config, error) {
	c, problems := readConfig(file)
	if c == nil {
		return told(s, c, problems)
	}
	known := problems
	for _, p := range parts.Secrets(c, os.Getenv) {
		// A key with a problem of its own may not be meant to be there at all.
		if !slices.ContainsFunc(known, func(k policy.Problem) bool { return k.At == p.At }) {
			problems = append(problems, p)
		}
	}
	return told(s, c, inOrder(c, problems))
}

func told(s Streams, c *config.Config, problems []policy.Problem) (*config.Config, error) {
	if len(problems) > 0 {
		printProblems(s.Err, problems)
		return nil, exitError{status: exitUsage}
	}
	return c, nil
}

func printProblems(w io.Writer, problems []policy.Problem) {
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	word := "problem"
	if len(problems) != 1 {
		word = "problems"
	}
	fmt.Fprintf(w, "mailwicket: %d %s in the configuration\n", len(problems), word)
}
