package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mailwicket/greylist"
)

// GreylistEntry is a stored record in words.
type GreylistEntry struct {
	Key       string    `json:"key"`
	Kind      string    `json:"kind"`           // identity or triplet
	Name      string    `json:"name,omitempty"` // of an identity that is an organization
	State     string    `json:"state"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	Expires   time.Time `json:"expires"`
	Attempts  uint32    `json:"attempts,omitempty"` // of a triplet
	Passes    uint32    `json:"passes,omitempty"`
}

// GreylistPage is a part of the list; Next is the cursor of the following part,
// "" at the end. A page may be empty before the end.
type GreylistPage struct {
	Entries []GreylistEntry `json:"entries"`
	Next    string          `json:"next,omitempty"`
}

// The words of GreylistEntry.State; an identity that is not known yet is
// "1 of 2 passes".
const (
	stateAllowed = "allowed" // by an administrator
	stateKnown   = "known"   // passed often enough
	stateWaiting = "waiting" // its retry comes too early until the delay is over
	stateReady   = "ready"   // its retry will pass
	statePassed  = "passed"
	stateExpired = "expired"
)

// maxPage bounds what one answer lists.
const maxPage = 1000

// greylistPaths gives the paths of `mailwicket greylist`.
func (a *Answerer) greylistPaths() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /api/greylist":         http.HandlerFunc(a.greylistList),
		"GET /api/greylist/show":    http.HandlerFunc(a.greylistShow),
		"POST /api/greylist/allow":  http.HandlerFunc(a.greylistAllow),
		"POST /api/greylist/forget": http.HandlerFunc(a.greylistForget),
		"POST /api/greylist/import": http.HandlerFunc(a.greylistImport),
	}
}

// entry puts a record in words.
func entry(now time.Time, p greylist.Params, k greylist.Key, r greylist.Record) GreylistEntry {
	e := GreylistEntry{Key: k.String(), Kind: "triplet", Name: r.Name, FirstSeen: r.FirstSeen, LastSeen: r.LastSeen,
		Expires: r.Expires, Attempts: r.Attempts, Passes: r.Passes}
	if k.IsIdentity() {
		e.Kind, e.State = "identity", identityState(now, p, r)
		return e
	}
	e.State = tripletState(now, p, r)
	return e
}

// identityState asks the rules themselves what a record is worth.
func identityState(now time.Time, p greylist.Params, r greylist.Record) string {
	out, next := greylist.Decide(now, p, false, greylist.Pair{Identity: r})
	switch {
	case next.Identity.IsZero():
		return stateExpired
	case out.Status == greylist.Known && r.Allowed:
		return stateAllowed
	case out.Status == greylist.Known:
		return stateKnown
	case p.AutoAllowAfter <= 0:
		return fmt.Sprintf("%d passes", r.Passes)
	}
	return fmt.Sprintf("%d of %d passes", r.Passes, p.AutoAllowAfter)
}

func tripletState(now time.Time, p greylist.Params, r greylist.Record) string {
	out, _ := greylist.Decide(now, p, r.Doubtful, greylist.Pair{Triplet: r})
	switch {
	case !out.FirstSeen.Equal(r.FirstSeen):
		return stateExpired // judged as a first contact
	case out.Status == greylist.Defer:
		return stateWaiting
	case r.Passes == 0:
		return stateReady
	}
	return statePassed
}

func (a *Answerer) greylistParams() greylist.Params { return a.InForce().Config.Greylist.Params() }

func (a *Answerer) greylistList(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, kind, name := 100, q.Get("kind"), strings.ToLower(q.Get("name"))
	if s := q.Get("n"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 || n > maxPage {
			http.Error(w, fmt.Sprintf("n=%s: want a number from 1 to %d", s, maxPage), http.StatusBadRequest)
			return
		}
	}
	if kind != "" && kind != "identity" && kind != "triplet" {
		http.Error(w, fmt.Sprintf("kind=%s: want identity or triplet", kind), http.StatusBadRequest)
		return
	}
	all, next, err := a.Greylist().Entries(r.Context(), q.Get("cursor"), n)
	if err != nil {
		a.storeTrouble(w, err)
		return
	}
	page, now, p := GreylistPage{Entries: []GreylistEntry{}, Next: next}, time.Now(), a.greylistParams()
	for _, x := range all {
		e := entry(now, p, x.Key, x.Record)
		if (kind == "" || e.Kind == kind) && (name == "" || strings.Contains(e.Name, name)) {
			page.Entries = append(page.Entries, e)
		}
	}
	answer(w, page)
}

// storeTrouble tells that a request failed, and what can be done.
func (a *Answerer) storeTrouble(w http.ResponseWriter, err error) {
	if errors.Is(err, greylist.ErrCursor) {
		http.Error(w, "the cursor is none that this store gave: start again without one", http.StatusBadRequest)
		return
	}
	http.Error(w, fmt.Sprintf("%v; try again when /readyz says \"%s: ok\" (mail is decided from memory meanwhile)", err, a.StoreName),
		http.StatusServiceUnavailable)
}

// identity reads an identity as people type it, and gives the one that clients
// are taken for: the organization of a domain, a network of the configured size.
func (a *Answerer) identity(text string) (greylist.Identity, error) {
	id, err := greylist.ParseIdentity(text)
	if err != nil {
		return id, err
	}
	switch id.Kind {
	case greylist.KindSPF:
		return greylist.Identify(greylist.IdentityInput{SPFPassDomain: id.Value}), nil
	case greylist.KindHost:
		// Any name below it would do, that of a mail server is one.
		org := greylist.Identify(greylist.IdentityInput{HostName: "mail." + id.Value})
		if org.Kind != greylist.KindHost {
			return id, fmt.Errorf("no client is known as %s: that is no organization's domain", text)
		}
		return org, nil
	case greylist.KindNet:
		g := a.InForce().Config.Greylist
		bits, key := g.Net4, "greylist.net4"
		if strings.Contains(id.Value, ":") {
			bits, key = g.Net6, "greylist.net6"
		}
		if !strings.HasSuffix(id.Value, fmt.Sprintf("/%d", bits)) {
			return id, fmt.Errorf("no client is known as %s: networks are taken by /%d (%s)", text, bits, key)
		}
	}
	return id, nil
}

// whatHint says how records are named.
const whatHint = "want an identity such as spf:example.org, host:example.org, net:192.0.2.0/24 or addr:192.0.2.1, or a key that the list shows"

func (a *Answerer) greylistAllow(w http.ResponseWriter, r *http.Request) {
	id, err := a.identity(r.URL.Query().Get("identity"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := a.Greylist().Allow(r.Context(), id); err != nil {
		a.storeTrouble(w, err)
		return
	}
	a.Log.Info("greylist identity allowed", "identity", id.String())
	answer(w, map[string]string{"identity": id.String()})
}

func (a *Answerer) greylistForget(w http.ResponseWriter, r *http.Request) {
	what, svc := r.URL.Query().Get("what"), a.Greylist()
	var n int
	var err error
	if k, bad := greylist.ParseKey(what); bad == nil {
		n, err = svc.ForgetKey(r.Context(), k)
	} else {
		id, bad := a.identity(what)
		if bad != nil {
			http.Error(w, wantIdentity(what, bad), http.StatusBadRequest)
			return
		}
		what = id.String()
		n, err = svc.Forget(r.Context(), id)
	}
	switch {
	case err != nil:
		a.storeTrouble(w, err)
	case n == 0:
		http.Error(w, fmt.Sprintf("nothing is stored of %s", what), http.StatusNotFound)
	default:
		a.Log.Info("greylist records forgotten", "what", what, "records", n)
		answer(w, map[string]any{"what": what, "removed": n})
	}
}

// wantIdentity explains a name that is neither an identity nor a key.
func wantIdentity(what string, err error) string {
	if strings.Contains(what, ":") {
		return err.Error()
	}
	return fmt.Sprintf("%q is no identity and no key: %s", what, whatHint)
}

// decodeLimited reads a JSON body of bounded size.
func decodeLimited(w http.ResponseWriter, r *http.Request, limit int64, to any) error {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(to); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}
