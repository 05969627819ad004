package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mailwicket/filter/dnsbl"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
)

// listPaths gives the paths of lists and DNS lists.
func (a *Answerer) listPaths() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /api/list/status":   http.HandlerFunc(a.listStatus),
		"GET /api/list/lookup":   http.HandlerFunc(a.listLookup),
		"POST /api/list/add":     http.HandlerFunc(a.listAdd),
		"POST /api/list/remove":  http.HandlerFunc(a.listRemove),
		"POST /api/list/confirm": http.HandlerFunc(a.listConfirm),
		"GET /api/dnsbl/status":  http.HandlerFunc(a.dnsblStatus),
		"GET /api/dnsbl/lookup":  http.HandlerFunc(a.dnsblLookup),
	}
}

// ListFound is a hit and what the configuration does about it.
type ListFound struct {
	fact.ListHit
	Do    string       `json:"do"`
	Mode  string       `json:"mode"`
	Apply []list.Point `json:"apply"`
}

func (a *Answerer) listStatus(w http.ResponseWriter, _ *http.Request) {
	answer(w, a.InForce().Lists.Status())
}

func (a *Answerer) listLookup(w http.ResponseWriter, r *http.Request) {
	value := r.URL.Query().Get("value")
	if value == "" {
		http.Error(w, "want ?value=NAME, an address or a network address", http.StatusBadRequest)
		return
	}
	l := a.InForce()
	found := []ListFound{}
	for _, h := range l.Lists.Lookup(value) {
		f := ListFound{ListHit: h}
		for _, c := range l.Config.Lists {
			if c.Name == h.List {
				f.Do, f.Mode, f.Apply = c.Do, c.Mode, c.Apply
			}
		}
		found = append(found, f)
	}
	answer(w, found)
}

// ListEdit is what add and remove are told.
type ListEdit struct {
	List    string   `json:"list"`
	Entries []string `json:"entries"`
	Comment string   `json:"comment,omitempty"`
	By      string   `json:"by,omitempty"`
}

const editTime = 2 * time.Second

func (a *Answerer) listAdd(w http.ResponseWriter, r *http.Request) {
	a.edit(w, r, func(ctx context.Context, e ListEdit) (int, error) {
		return a.InForce().Lists.Add(ctx, e.List, e.Entries, list.Note{Comment: e.Comment, By: e.By})
	})
}

func (a *Answerer) listRemove(w http.ResponseWriter, r *http.Request) {
	a.edit(w, r, func(ctx context.Context, e ListEdit) (int, error) {
		return a.InForce().Lists.Remove(ctx, e.List, e.Entries)
	})
}

func (a *Answerer) edit(w http.ResponseWriter, r *http.Request, do func(context.Context, ListEdit) (int, error)) {
	var e ListEdit
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&e); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), editTime)
	defer cancel()
	n, err := do(ctx, e)
	if err != nil {
		http.Error(w, err.Error(), listStatusCode(err))
		return
	}
	answer(w, map[string]int{"changed": n})
}

func listStatusCode(err error) int {
	switch {
	case errors.Is(err, list.ErrNoList):
		return http.StatusNotFound
	case errors.Is(err, list.ErrNotLive), errors.Is(err, list.ErrNotFeed):
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadGateway
}

// listConfirm lets the refused size of a feed pass, once.
func (a *Answerer) listConfirm(w http.ResponseWriter, r *http.Request) {
	if err := a.InForce().Lists.Confirm(r.URL.Query().Get("list")); err != nil {
		http.Error(w, err.Error(), listStatusCode(err))
		return
	}
	fmt.Fprintln(w, "confirmed")
}

func (a *Answerer) dnsblStatus(w http.ResponseWriter, _ *http.Request) {
	out := []dnsbl.ZoneStatus{}
	if z := a.InForce().Zones; z != nil {
		out = z.Status()
	}
	answer(w, out)
}

func (a *Answerer) dnsblLookup(w http.ResponseWriter, r *http.Request) {
	z := a.InForce().Zones
	if z == nil {
		http.Error(w, "the configuration has no DNS lists (dnsbl)", http.StatusNotFound)
		return
	}
	answers, err := z.Lookup(r.Context(), r.URL.Query().Get("value"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, answers)
}
