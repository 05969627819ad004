// Package api answers what the command line asks over the admin port: about
// decisions, lists, DNS lists and the greylist. It holds nothing by itself.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
	"mailwicket/greylist"
)

// InForce is what a reload replaces.
type InForce struct {
	Config *config.Config
	Engine filter.Config
	Lists  *list.Book
	Zones  *dnsbl.Book // nil without
}

// Answerer has all that answers are made of. Its functions are called for each
// question, by several goroutines.
type Answerer struct {
	InForce   func() InForce
	Greylist  func() *greylist.Service
	StoreName string        // the dependency that the greylist hangs on, as /readyz names it
	NoDNS     func() string // why DNS does not answer, "" where it does

	// Find gives the decision that somebody asks for, nil where there is none. It is
	// nil where decisions are not kept. Searched names what Find looks into.
	Find     func(ctx context.Context, said string) (*filter.Record, error)
	Searched func() string

	Reload  func() error
	Examine func(context.Context) doctor.Evidence
	Log     *slog.Logger
}

// Paths gives the handlers by method and path.
func (a *Answerer) Paths() map[string]http.Handler {
	paths := map[string]http.Handler{
		"GET /api/explain": http.HandlerFunc(a.explain),
		"GET /api/doctor":  http.HandlerFunc(a.examine),
		"POST /api/reload": http.HandlerFunc(a.reload),
	}
	maps.Copy(paths, a.greylistPaths())
	maps.Copy(paths, a.listPaths())
	return paths
}

// explain finds a decision by its reference, queue id or Message-ID.
func (a *Answerer) explain(w http.ResponseWriter, r *http.Request) {
	ref := r.URL.Query().Get("ref")
	switch {
	case ref == "":
		http.Error(w, "want ?ref=REFERENCE, a queue id or a Message-ID", http.StatusBadRequest)
		return
	case a.Find == nil:
		http.Error(w, "no journal is kept: journal.keep is 0s", http.StatusNotFound)
		return
	}
	rec, err := a.Find(r.Context(), ref)
	switch {
	case rec != nil:
		answer(w, rec)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		http.Error(w, fmt.Sprintf("no decision %q in %s", ref, a.Searched()), http.StatusNotFound)
	}
}

func (a *Answerer) reload(w http.ResponseWriter, _ *http.Request) {
	if err := a.Reload(); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity) // the log has all problems
		return
	}
	fmt.Fprintln(w, "reloaded")
}

// examineLimit bounds what doctor asks others for.
const examineLimit = 15 * time.Second

// examine gives the evidence that doctor decides on.
func (a *Answerer) examine(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), examineLimit)
	defer cancel()
	answer(w, a.Examine(ctx))
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client is gone: nobody to tell
}
