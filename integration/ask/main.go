// Command ask prints what a URL answers; the container test may not rely on
// curl. A status other than 200 is an error.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

func main() {
	if err := ask(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}

func ask(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: ask URL")
	}
	u, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	u.RawQuery = u.Query().Encode()
	c := http.Client{Timeout: 10 * time.Second}
	r, err := c.Get(u.String())
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", r.Status)
	}
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}
