package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"mailwicket/cmd/mailwicket/internal/story"
	"mailwicket/filter"
	"mailwicket/filter/observe/journal"
)

type explainCmd struct {
	server
	Ref     string `arg:"" help:"Reference of a reply, log line or trace header; a queue id or a Message-ID."`
	Journal string `type:"path" help:"Read this journal directory, or one file of it, instead of asking the server."`
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
		return printJSON(s.Out, r)
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
