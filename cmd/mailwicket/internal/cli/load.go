package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/config"
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
		return c, problems
	}
	// The other rules can be tried by themselves.
	_, more := policy.Compile(c.Rules)
	problems = append(problems, more...)
	slices.SortStableFunc(problems, func(a, b policy.Problem) int { return cmp.Or(a.At.Line-b.At.Line, a.At.Col-b.At.Col) })
	return c, problems
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
	if c != nil && len(problems) == 0 {
		problems = c.Secrets(os.Getenv)
	}
	return told(s, c, problems)
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
