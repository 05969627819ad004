// Package cli is the command line: one file for each subcommand. A command
// reads its flags, calls the package that does the work, and prints.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit statuses of all commands.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration error
)

// Streams are the process's ends, so that tests can hold them.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// Stop ends serve and demo; nil means SIGTERM and SIGINT.
	Stop context.Context
}

// System gives the process's own streams.
func System() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// commands is the table of contents.
type commands struct {
	Serve       serveCmd       `cmd:"" help:"Run the filter."`
	Check       checkCmd       `cmd:"" help:"Judge one message file as the server would, and say why."`
	Demo        demoCmd        `cmd:"" help:"Play bundled messages at a real server; needs no MTA, network or configuration."`
	Explain     explainCmd     `cmd:"" help:"Tell the whole story of one decision."`
	Replay      replayCmd      `cmd:"" help:"Judge yesterday's mail by another configuration, and say what would change."`
	Greylist    greylistCmd    `cmd:"" help:"See, allow and forget what the greylist knows."`
	List        listCmd        `cmd:"" help:"See and change lists."`
	Dnsbl       dnsblCmd       `cmd:"" name:"dnsbl" help:"See DNS lists."`
	Config      configCmd      `cmd:"" help:"Check, show and explain the configuration."`
	Doctor      doctorCmd      `cmd:"" help:"Examine the installation: what is wrong, by which evidence, and what to change."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask a running server's /readyz (for containers)."`
	Version     versionCmd     `cmd:"" help:"Print version and build."`
}

// exitError carries a status through kong. Message "" means that all has been
// said.
type exitError struct {
	status  int
	message string
}

func (e exitError) Error() string { return e.message }

// quit is what kong calls after printing help; Main turns it into a status.
type quit int

// Main runs one command and gives its exit status. Errors are one clear line on
// the error stream.
func Main(args []string, s Streams) (status int) {
	defer func() {
		if q, ok := recover().(quit); ok {
			status = int(q)
		}
	}()
	var c commands
	parser, err := kong.New(&c,
		kong.Name("mailwicket"),
		kong.Description("An inbound mail filter beside Postfix or Sendmail: SPF, DKIM, DMARC, greylisting, lists, policy."),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(code int) { panic(quit(code)) }),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(s.Err, "mailwicket:", err)
		return exitFailed
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(s.Err, "mailwicket: %v\nTry: mailwicket --help\n", err)
		return exitUsage
	}
	err = ctx.Run(s)
	var ee exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ee):
		if ee.message != "" {
			fmt.Fprintln(s.Err, "mailwicket:", ee.message)
		}
		return ee.status
	}
	fmt.Fprintln(s.Err, "mailwicket:", err)
	return exitFailed
}

// context ends with SIGTERM or SIGINT, or with the test's Stop.
func (s Streams) context() (context.Context, context.CancelFunc) {
	if s.Stop != nil {
		return context.WithCancel(s.Stop)
	}
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}
