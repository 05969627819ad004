package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/observe/journal"
)

// api gives the paths that the command line asks.
func (a *App) api() map[string]http.Handler {
	paths := map[string]http.Handler{
		"GET /api/explain": http.HandlerFunc(a.explain),
		"GET /api/doctor":  http.HandlerFunc(a.examine),
		"POST /api/reload": http.HandlerFunc(a.reloadNow),
	}
	maps.Copy(paths, a.greylistAPI())
	maps.Copy(paths, a.listAPI())
	return paths
}

// explain finds a decision by its reference, queue id or Message-ID.
func (a *App) explain(w http.ResponseWriter, r *http.Request) {
	ref := r.URL.Query().Get("ref")
	switch {
	case ref == "":
		http.Error(w, "want ?ref=REFERENCE, a queue id or a Message-ID", http.StatusBadRequest)
		return
	case a.journal == nil && a.shared == nil:
		http.Error(w, "no journal is kept: journal.keep is 0s", http.StatusNotFound)
		return
	}
	rec, err := a.find(r.Context(), ref)
	switch {
	case rec != nil:
		answer(w, rec)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		http.Error(w, fmt.Sprintf("no decision %q in %s", ref, a.searched()), http.StatusNotFound)
	}
}

// find looks into our own journal, and then into what all filters share.
func (a *App) find(ctx context.Context, ref string) (rec *filter.Record, err error) {
	if a.journal != nil {
		rec, err = journal.Find(a.journalDir(), ref)
	}
	if rec != nil || a.shared == nil {
		return rec, err
	}
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	rec, more := a.shared.Find(ctx, ref)
	return rec, errors.Join(err, more)
}

// findLimit bounds how long Redis is searched.
const findLimit = 10 * time.Second

// since tells how far back a journal goes: files that leave no room go before
// their time is over.
func since(dir string) string {
	files, err := journal.Files(dir)
	if err != nil || len(files) == 0 {
		return ", which holds none yet"
	}
	if begun, ok := journal.Begun(files[0]); ok {
		return ", which goes back to " + begun.Format(time.RFC3339)
	}
	return ""
}

func (a *App) journalDir() string { return filepath.Join(a.o.Config.DataDir, "journal") }

// searched names what find looks into.
func (a *App) searched() string {
	c := a.o.Config.Journal
	var parts []string
	if a.journal != nil {
		parts = append(parts, "the journal"+since(a.journalDir()))
	}
	if a.shared != nil {
		parts = append(parts, fmt.Sprintf("the latest %d of all filters in Redis", c.ShareMax))
	}
	return strings.Join(parts, ", nor in ")
}

func (a *App) reloadNow(w http.ResponseWriter, _ *http.Request) {
	if err := a.Reload(); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity) // the log has all problems
		return
	}
	fmt.Fprintln(w, "reloaded")
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client is gone: nobody to tell
}
