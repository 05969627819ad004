package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"

	"mailwicket/filter/observe/journal"
)

// api gives the paths that the command line asks.
func (a *App) api() map[string]http.Handler {
	paths := map[string]http.Handler{
		"GET /api/explain": http.HandlerFunc(a.explain),
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
	case a.journal == nil:
		http.Error(w, "no journal is kept: journal.keep is 0s", http.StatusNotFound)
		return
	}
	rec, err := journal.Find(filepath.Join(a.o.Config.DataDir, "journal"), ref)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case rec == nil:
		http.Error(w, fmt.Sprintf("no decision %q in the journal, which goes back %s",
			ref, a.o.Config.Journal.Keep.Std()), http.StatusNotFound)
	default:
		answer(w, rec)
	}
}

func (a *App) reloadNow(w http.ResponseWriter, _ *http.Request) {
	if err := a.Reload(); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
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
