package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// server is how commands reach a running server.
type server struct {
	Admin     string `default:"127.0.0.1:9891" env:"MAILWICKET_ADMIN" help:"Admin address of the server."`
	TokenFile string `type:"existingfile" help:"File with the token, where the server wants one."`
}

const (
	askTimeout = 2 * time.Minute // an import waits for the DNS of its clients
	maxAnswer  = 64 << 20
)

// ask calls the admin API and decodes its JSON answer into to, unless that is nil.
func (c server) ask(method, path string, query url.Values, to any) error {
	return c.send(method, path, query, nil, to)
}

// post sends a value as JSON and decodes the JSON answer into to.
func (c server) post(path string, body, to any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.send(http.MethodPost, path, nil, bytes.NewReader(b), to)
}

func (c server) send(method, path string, query url.Values, body io.Reader, to any) error {
	req, err := http.NewRequest(method, "http://"+c.Admin+path+"?"+query.Encode(), body)
	if err != nil {
		return err
	}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := (&http.Client{Timeout: askTimeout}).Do(req)
	if err != nil {
		return fmt.Errorf("no answer from the server: %w; is it running, and is --admin its admin.listen?", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(text, to)
}
