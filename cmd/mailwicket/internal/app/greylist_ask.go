package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
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

// GreylistTriplet is one line of an import.
type GreylistTriplet struct {
	Line      int       `json:"line"`
	IP        string    `json:"ip"`
	Sender    string    `json:"sender"`
	Recipient string    `json:"recipient"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"` // zero: now
}

// GreylistImported tells what became of a batch.
type GreylistImported struct {
	Remembered int              `json:"remembered"`
	Expired    int              `json:"expired"` // last seen longer ago than pass_lifetime
	Bad        []GreylistBadRow `json:"bad,omitempty"`
}

// GreylistBadRow is a line that was not taken.
type GreylistBadRow struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

// MaxImport is how many triplets one request may hold.
const MaxImport = 100

const (
	importWorkers = 20 // they mostly wait for DNS
	importBytes   = 1 << 20
	askLimit      = 5 * time.Second // for what one client's DNS says
)

// onlooker keeps the facts of the one message that it sees.
type onlooker struct{ record *filter.Record }

func (o *onlooker) Message(r *filter.Record)                      { o.record = r }
func (*onlooker) Check(string, fact.State, string, time.Duration) {}

// answering is a greylist that gives a prepared answer, and keeps the question.
type answering struct {
	give func(context.Context, greylist.Request) (greylist.Outcome, error)
	got  *greylist.Request
}

func (g *answering) Check(ctx context.Context, r greylist.Request) (greylist.Outcome, error) {
	g.got = &r
	return g.give(ctx, r)
}

// envelope is a mail of which only the envelope is known.
type envelope struct {
	ip             netip.Addr
	helo, from, to string
}

// play shows an envelope to the engine in force, with another greylist and, if
// it is not nil, another policy. Nothing is counted or written.
func (a *App) play(ctx context.Context, e envelope, p *policy.Policy, g *answering) (filter.Answer, *filter.Record) {
	look := &onlooker{}
	c := a.live.Load().engine.Config
	c.Greylist, c.Observer, c.Rates, c.Replays, c.Defers = g, look, nil, nil, filter.NewDefers()
	if p != nil {
		c.Policy, c.Trusted, c.Lists, c.DNSBL = p, nil, nil, nil // who the client is hangs on none of them
	}
	sess := filter.NewEngine(c).Open(ctx)
	ans := talk(ctx, sess, e)
	sess.Close()
	return ans, look.record
}

// talk says an envelope up to the stage where its greylisting is decided.
func talk(ctx context.Context, s *filter.Session, e envelope) filter.Answer {
	over := func(a filter.Answer) bool { return a.Verdict >= policy.Discard }
	a := s.Connect(ctx, mail.Conn{Addr: e.ip})
	if over(a) {
		return a
	}
	if a = s.Helo(ctx, e.helo, mail.TLS{}); over(a) {
		return a
	}
	if a = s.Mail(ctx, e.from, filter.Envelope{}); over(a) {
		return a
	}
	if a = s.Rcpt(ctx, e.to); over(a) || !mail.ParsePath(e.from).IsNull() {
		return a
	}
	// A bounce's author is the mailer itself (RFC 3464, 2).
	host := strings.Trim(e.helo, "[]")
	if host != e.helo {
		host = "localhost"
	}
	s.Header("From", " MAILER-DAEMON@"+host)
	s.Header("To", " "+mail.ParsePath(e.to).String())
	s.Header("Date", " "+time.Now().Format(time.RFC1123Z))
	return s.EndOfHeader(ctx, "")
}

// alwaysAsk is a policy that asks the greylist about every recipient.
func alwaysAsk() (*policy.Policy, error) {
	p, problems := policy.Compile([]policy.Rule{{Name: "greylist", Stage: mail.StageRcpt, Do: policy.Action{Greylist: true}}})
	if len(problems) > 0 {
		return nil, fmt.Errorf("the greylist's own rule: %s", problems[0])
	}
	return p, nil
}

func (a *App) greylistShow(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	what, svc, p, now := q.Get("what"), a.store.current(), a.greylistParams(), time.Now()
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
func (a *App) greylistShowMail(w http.ResponseWriter, r *http.Request, q url.Values) {
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
	svc, p, now := a.store.current(), a.greylistParams(), time.Now()
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
func (a *App) judged(ctx context.Context, e envelope, now time.Time, p greylist.Params, pair greylist.Pair, seen *filter.Record) *GreylistMail {
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

func parseEnvelope(q url.Values) (envelope, error) {
	e := envelope{helo: q.Get("helo"), from: q.Get("from"), to: q.Get("rcpt")}
	var err error
	if e.ip, err = netip.ParseAddr(q.Get("ip")); err != nil {
		return e, fmt.Errorf("--ip %q is no IP address; %s", q.Get("ip"), "want what=IDENTITY or KEY, or ip, from and rcpt")
	}
	if e.from == "" || e.to == "" {
		return e, fmt.Errorf("want the envelope: from (\"<>\" for the null sender) and rcpt")
	}
	if e.helo == "" {
		e.helo = literal(e.ip)
	}
	return e, nil
}

// literal is the HELO of a client that has no name (RFC 5321, 4.1.3).
func literal(ip netip.Addr) string {
	if ip.Unmap().Is4() {
		return "[" + ip.Unmap().String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}

// greylistImport remembers triplets that passed another greylist, each under the
// identity that its client has by today's DNS.
func (a *App) greylistImport(w http.ResponseWriter, r *http.Request) {
	var in []GreylistTriplet
	if err := decodeLimited(w, r, importBytes, &in); err != nil || len(in) > MaxImport {
		if err == nil {
			err = fmt.Errorf("%d triplets, want %d at most", len(in), MaxImport)
		}
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, d := range a.board.status().Dependencies {
		if d.Name == "dns" && !d.OK {
			http.Error(w, "DNS does not answer, so nobody can tell which client is which: "+d.Detail, http.StatusServiceUnavailable)
			return
		}
	}
	p, err := alwaysAsk()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var out GreylistImported
	var mu sync.Mutex
	var wg sync.WaitGroup
	var trouble error
	places := make(chan struct{}, importWorkers)
	for _, t := range in {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			kept, bad, err := a.remember(r.Context(), p, t)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				trouble = err
			case bad != "":
				out.Bad = append(out.Bad, GreylistBadRow{t.Line, bad})
			case kept:
				out.Remembered++
			default:
				out.Expired++
			}
		})
	}
	wg.Wait()
	if trouble != nil {
		a.storeTrouble(w, trouble)
		return
	}
	a.log.Info("greylist triplets imported", slog.Int("remembered", out.Remembered), slog.Int("expired", out.Expired))
	answer(w, out)
}

// remember takes one triplet in. Bad says what is wrong with it, err with the
// store.
func (a *App) remember(ctx context.Context, p *policy.Policy, t GreylistTriplet) (kept bool, bad string, err error) {
	ip, parseErr := netip.ParseAddr(t.IP)
	if parseErr != nil {
		return false, fmt.Sprintf("%q is no IP address", t.IP), nil
	}
	if !strings.Contains(t.Recipient, "@") || t.Sender == "" {
		return false, "want sender and recipient", nil
	}
	who := &answering{give: func(context.Context, greylist.Request) (greylist.Outcome, error) {
		return greylist.Outcome{Status: greylist.Known}, nil
	}}
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	a.play(limited, envelope{ip: ip, helo: literal(ip), from: t.Sender, to: t.Recipient}, p, who)
	if who.got == nil {
		return false, "nobody could tell who the client is", nil
	}
	if t.Last.IsZero() {
		t.Last = time.Now()
	}
	kept, err = a.store.current().Remember(ctx, *who.got, t.First, t.Last)
	return kept, "", err
}
