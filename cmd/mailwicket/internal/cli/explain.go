package cli

import (
	"bytes"
	"fmt"
	"io"
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
	return tell(s.Out, r, story.Options{Now: time.Now(), Brief: c.Brief})
}

// tell prints a story, whole or not at all.
func tell(w io.Writer, r *filter.Record, o story.Options) error {
	var b bytes.Buffer
	story.Write(&b, r, o)
	_, err := w.Write(b.Bytes())
	return err
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
