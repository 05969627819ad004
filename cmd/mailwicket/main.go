// Mailwicket is an inbound mail filter that sits beside an existing MTA and
// speaks the milter protocol to it.
package main

import (
	"os"

	"mailwicket/cmd/mailwicket/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.System()))
}
