package cli

import (
	"fmt"
	"io"
	"os"

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
	}
	return c, problems
}

// loadConfig reads a configuration that must be good. All problems are told,
// and the exit status is that of a usage error.
func loadConfig(file string, s Streams) (*config.Config, error) {
	c, problems := readConfig(file)
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
