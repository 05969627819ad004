package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"mailwicket/filter"
	"mailwicket/greylist"
	"mailwicket/policy"
)

// GreylistStory is what is known about one identity, triplet or mail.
type GreylistStory struct {
	Identity string         `json:"identity,omitempty"` // "" of a key: it is a hash
	Client   *GreylistEntry `json:"client,omitempty"`   // the identity's record
	Triplet  *GreylistEntry `json:"triplet,omitempty"`
	Key      string         `json:"key"`
	Mail     *GreylistMail  `json:"mail,omitempty"`

	// What a contact at this moment would get. Of an identity: any mail of it.
	Status     string    `json:"status"` // defer, pass, known
	Remaining  int       `json:"remaining_seconds,omitempty"`
	RetryFrom  time.Time `json:"retry_from,omitzero"`  // a retry passes from then on
	RetryUntil time.Time `json:"retry_until,omitzero"` // and after that is a first contact again
	New        bool      `json:"new,omitempty"`        // it would be the first contact
}

// GreylistMail is what the whole policy says of a mail.
type GreylistMail struct {
	Asked   bool     `json:"asked"` // the policy asks the greylist
	Verdict string   `json:"verdict"`
	Rule    string   `json:"rule,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	IPrev   string   `json:"iprev,omitempty"`
	Names   []string `json:"names,omitempty"`
	Dynamic bool     `json:"dynamic,omitempty"`
	SPF     string   `json:"spf,omitempty"`
}

func (a *Answerer) greylistShow(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	what, svc, p, now := q.Get("what"), a.Greylist(), a.greylistParams(), time.Now()
	if what == "" {
		a.greylistShowMail(w, r, q)
		return
	}
	if k, err := greylist.ParseKey(what); err == nil {
		pair, err := svc.LookupKey(r.Context(), k)
		switch {
		case err != nil:
			a.storeTrouble(w, err)
		case pair.Triplet.IsZero() && (!k.IsIdentity() || pair.Identity.IsZero()):
			http.Error(w, fmt.Sprintf("nothing is stored under the key %s", what), http.StatusNotFound)
		default:
			answer(w, story(now, p, pair.Triplet.Doubtful, k, pair))
		}
		return
	}
	id, err := a.identity(what)
	if err != nil {
		http.Error(w, wantIdentity(what, err), http.StatusBadRequest)
		return
	}
	k, rec, err := svc.LookupIdentity(r.Context(), id)
	if err != nil {
		a.storeTrouble(w, err)
		return
	}
	s := story(now, p, false, k, greylist.Pair{Identity: rec})
	s.Identity = id.String()
	answer(w, s)
}

// story says what a contact of a client, doubtful or not, would get at this
// moment, without making it.
func story(now time.Time, p greylist.Params, doubtful bool, k greylist.Key, pair greylist.Pair) GreylistStory {
	out, next := greylist.Decide(now, p, doubtful, pair)
	s := GreylistStory{Key: k.String(), Status: out.Status.String(), Identity: pair.Identity.Name}
	if !pair.Identity.IsZero() {
		e := entry(now, p, k.Owner(), pair.Identity)
		s.Client = &e
	}
	if k.IsIdentity() {
		if out.Status == greylist.Defer {
			s.Remaining = int(p.Delay.Seconds()) // what its first mail to a recipient waits
		}
		return s
	}
	if !pair.Triplet.IsZero() {
		e := entry(now, p, k, pair.Triplet)
		s.Triplet = &e
	}
	if out.Status == greylist.Defer {
		s.New = !out.FirstSeen.Equal(pair.Triplet.FirstSeen)
		s.Remaining = int((out.Remaining + time.Second - 1) / time.Second)
		s.RetryFrom = out.FirstSeen.Add(p.DelayOf(out.Doubtful))
		s.RetryUntil = next.Triplet.FirstSeen.Add(p.WindowOf(next.Triplet.Doubtful))
	}
	return s
}

// greylistShowMail tells what would become of a mail: first who its client is and
// what the greylist holds, then what the policy makes of that.
func (a *Answerer) greylistShowMail(w http.ResponseWriter, r *http.Request, q url.Values) {
	e, err := parseEnvelope(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	always, err := alwaysAsk()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*askLimit)
	defer cancel()
	svc, p, now := a.Greylist(), a.greylistParams(), time.Now()
	var key greylist.Key
	var pair greylist.Pair
	var doubtful bool
	var trouble error
	look := &answering{give: func(ctx context.Context, req greylist.Request) (greylist.Outcome, error) {
		doubtful = req.Doubtful
		key, pair, trouble = svc.Lookup(ctx, req)
		out, _ := greylist.Decide(now, p, doubtful, pair)
		return out, trouble
	}}
	_, seen := a.play(ctx, e, always, look)
	switch {
	case trouble != nil:
		a.storeTrouble(w, trouble)
		return
	case look.got == nil || seen == nil:
		http.Error(w, "the mail was not judged: "+context.Cause(ctx).Error(), http.StatusInternalServerError)
		return
	}
	s := story(now, p, doubtful, key, pair)
	s.Identity, s.Mail = look.got.Identity.String(), a.judged(ctx, e, now, p, pair, seen)
	answer(w, s)
}

// judged asks the policy in force, which finds the greylist as it was seen.
func (a *Answerer) judged(ctx context.Context, e envelope, now time.Time, p greylist.Params, pair greylist.Pair, seen *filter.Record) *GreylistMail {
	same := &answering{give: func(_ context.Context, req greylist.Request) (greylist.Outcome, error) {
		out, _ := greylist.Decide(now, p, req.Doubtful, pair)
		return out, nil
	}}
	ans, rec := a.play(ctx, e, nil, same)
	c := seen.Facts.Conn
	m := &GreylistMail{Asked: same.got != nil, Verdict: ans.Verdict.String(), IPrev: c.Iprev.Value.Result,
		Names: c.Iprev.Value.Names, Dynamic: c.Dynamic.Value, SPF: seen.Facts.Txn.SPF.Value.Result}
	if rec != nil && ans.Verdict >= policy.Discard {
		m.Rule, m.Reason = rec.Rule, rec.Reason
	}
	return m
}
