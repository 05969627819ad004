package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/story"
	"mailwicket/filter"
	"mailwicket/filter/observe/journal"
)

// server is how commands reach a running server.
type server struct {
	Admin     string `default:"127.0.0.1:9891" env:"MAILWICKET_ADMIN" help:"Admin address of the server."`
	TokenFile string `type:"existingfile" help:"File with the token, where the server wants one."`
}

// ask calls the admin API and decodes its JSON answer into to.
func (c server) ask(method, path string, query url.Values, to any) error {
	req, err := http.NewRequest(method, "http://"+c.Admin+path+"?"+query.Encode(), nil)
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
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return fmt.Errorf("no answer from the server: %w; is it running, and is --admin its admin.listen?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(body, to)
}

type explainCmd struct {
	server
	Ref     string `arg:"" help:"Reference of a reply, log line or trace header; a queue id or a Message-ID."`
	Journal string `type:"existingdir" help:"Read this journal directory instead of asking the server."`
	JSON    bool   `name:"json" help:"Print data instead of words."`
	Brief   bool   `help:"Leave out rules that did not match, and DNS answers."`
}

// Run tells the story of one decision.
func (c explainCmd) Run(s Streams) error {
	r, err := c.find()
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(s.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	story.Write(s.Out, r, story.Options{Now: time.Now(), Brief: c.Brief})
	return nil
}

func (c explainCmd) find() (*filter.Record, error) {
	if c.Journal == "" {
		r := &filter.Record{}
		return r, c.ask(http.MethodGet, "/api/explain", url.Values{"ref": {c.Ref}}, r)
	}
	r, err := journal.Find(c.Journal, c.Ref)
	if err == nil && r == nil {
		err = fmt.Errorf("no decision %q in %s", c.Ref, c.Journal)
	}
	return r, err
}
