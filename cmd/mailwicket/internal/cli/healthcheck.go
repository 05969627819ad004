package cli

import (
	"fmt"
	"net/http"
	"time"
)

type healthcheckCmd struct {
	Address string `default:"127.0.0.1:9891" help:"Admin address of the server."`
}

// Run asks /readyz: a container is healthy while it serves mail.
func (c healthcheckCmd) Run(s Streams) error {
	client := http.Client{Timeout: 3 * time.Second}
	resp, err := client.Get("http://" + c.Address + "/readyz")
	if err != nil {
		return fmt.Errorf("no answer from the admin address: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server is not ready: %s", resp.Status)
	}
	fmt.Fprintln(s.Out, "ok")
	return nil
}
