package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/filter"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestEntryStates(t *testing.T) {
	p := greylist.DefaultParams()
	for name, c := range map[string]struct {
		identity bool
		r        greylist.Record
		want     string
	}{
		"waits":           {false, greylist.Record{FirstSeen: noon.Add(-time.Minute)}, "waiting"},
		"may come":        {false, greylist.Record{FirstSeen: noon.Add(-p.Delay)}, "ready"},
		"came too late":   {false, greylist.Record{FirstSeen: noon.Add(-p.RetryWindow - time.Second)}, "expired"},
		"doubtful waits":  {false, greylist.Record{FirstSeen: noon.Add(-p.Delay), Doubtful: true}, "waiting"},
		"passed":          {false, greylist.Record{FirstSeen: noon.Add(-time.Hour), Passes: 1}, "passed"},
		"passed long ago": {false, greylist.Record{FirstSeen: noon.Add(-2 * p.PassLifetime), LastSeen: noon.Add(-p.PassLifetime - time.Second), Passes: 1}, "expired"},
		"half known":      {true, greylist.Record{FirstSeen: noon.Add(-time.Hour), LastSeen: noon, Passes: 1}, "1 of 2 passes"},
		"known":           {true, greylist.Record{FirstSeen: noon.Add(-time.Hour), LastSeen: noon, Passes: 2}, "known"},
		"allowed":         {true, greylist.Record{FirstSeen: noon.Add(-time.Hour), LastSeen: noon, Allowed: true}, "allowed"},
	} {
		if c.r.LastSeen.IsZero() {
			c.r.LastSeen = c.r.FirstSeen
		}
		c.r.Expires = c.r.LastSeen.Add(p.PassLifetime)
		state := tripletState
		if c.identity {
			state = identityState
		}
		if got := state(noon, p, c.r); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestStory: what a contact at this moment would get is told, and not made.
func TestStory(t *testing.T) {
	p := greylist.DefaultParams()
	k, _, err := bench(t, greylist.NewMemory(10)).Greylist().Lookup(t.Context(), greylist.Request{
		Identity: greylist.Identity{Kind: greylist.KindSPF, Value: "good.example"},
		Sender:   mail.ParsePath("<a@good.example>"), Recipient: mail.ParsePath("<b@home.example>")})
	if err != nil {
		t.Fatal(err)
	}
	first := story(noon, p, false, k, greylist.Pair{})
	if first.Status != "defer" || !first.New || first.Remaining != 240 || !first.RetryFrom.Equal(noon.Add(p.Delay)) || !first.RetryUntil.Equal(noon.Add(p.RetryWindow)) {
		t.Errorf("a first contact: %+v", first)
	}
	seen := greylist.Record{FirstSeen: noon.Add(-time.Minute), LastSeen: noon.Add(-time.Minute), Expires: noon.Add(time.Hour), Attempts: 1}
	again := story(noon, p, false, k, greylist.Pair{Triplet: seen})
	if again.Status != "defer" || again.New || again.Remaining != 180 || again.Triplet.State != "waiting" {
		t.Errorf("a retry that comes early: %+v", again)
	}
	if doubt := story(noon, p, true, k, greylist.Pair{}); doubt.Remaining != 1800 || !doubt.RetryUntil.Equal(noon.Add(p.DoubtfulWindow)) {
		t.Errorf("a doubtful client: %+v", doubt)
	}
	if late := story(noon.Add(p.Delay), p, false, k, greylist.Pair{Triplet: seen}); late.Status != "pass" || late.Remaining != 0 {
		t.Errorf("a retry in time: %+v", late)
	}
}

func TestParseEnvelope(t *testing.T) {
	for _, c := range []struct{ ip, helo, from, rcpt, wantHelo, wantErr string }{
		{"192.0.2.1", "", "<>", "b@home.example", "[192.0.2.1]", ""},
		{"2001:db8::1", "", "a@b.example", "b@home.example", "[IPv6:2001:db8::1]", ""},
		{"::ffff:192.0.2.1", "", "a@b.example", "b@home.example", "[192.0.2.1]", ""},
		{"192.0.2.1", "mail.b.example", "a@b.example", "b@home.example", "mail.b.example", ""},
		{"host", "", "a@b.example", "b@home.example", "", "no IP address"},
		{"192.0.2.1", "", "", "b@home.example", "", "want the envelope"},
		{"192.0.2.1", "", "a@b.example", "", "", "want the envelope"},
	} {
		e, err := parseEnvelope(url.Values{"ip": {c.ip}, "helo": {c.helo}, "from": {c.from}, "rcpt": {c.rcpt}})
		if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) || err == nil && e.helo != c.wantHelo {
			t.Errorf("%+v: %+v, %v", c, e, err)
		}
	}
	if got := literal(netip.MustParseAddr("fe80::1%eth0")); got != "[IPv6:fe80::1]" {
		t.Errorf("%s", got)
	}
}

// down is a greylist store that does not answer.
type down struct{ greylist.Store }

func (down) Get(context.Context, greylist.Key) (greylist.Pair, error) {
	return greylist.Pair{}, errors.New("refused")
}
func (down) Entries(context.Context, string, int) ([]greylist.Entry, string, error) {
	return nil, "", errors.New("refused")
}

// bench answers over an empty configuration.
func bench(t *testing.T, store greylist.Store) *Answerer {
	c := config.Default()
	svc := greylist.New(greylist.ServiceConfig{Store: store, Secret: []byte("secret"), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(svc.Close)
	lists := list.New(nil, list.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	return &Answerer{
		InForce:  func() InForce { return InForce{Config: c, Lists: lists} },
		Greylist: func() *greylist.Service { return svc }, StoreName: "greylist file",
		NoDNS: func() string { return "nobody listens" },
		Find: func(_ context.Context, said string) (*filter.Record, error) {
			switch said {
			case "found":
				return &filter.Record{Ref: "4JZRZ-63WQR"}, nil
			case "broken":
				return nil, errors.New("disk error")
			}
			return nil, nil
		},
		Searched: func() string { return "the journal" },
		Reload:   func() error { return errors.New("line 7: no") },
		Log:      slog.New(slog.DiscardHandler),
	}
}

// TestAnswers: each wrong question gets a status and words that help.
func TestAnswers(t *testing.T) {
	up, away := bench(t, greylist.NewMemory(100)), bench(t, down{})
	silent := bench(t, greylist.NewMemory(100))
	silent.Find = nil
	many := "[" + strings.Repeat(`{"ip":"192.0.2.1"},`, MaxImport) + `{"ip":"192.0.2.1"}]`
	for _, c := range []struct {
		a      *Answerer
		ask    string
		body   string
		status int
		says   string
	}{
		{up, "GET /api/explain", "", 400, "want ?ref="},
		{up, "GET /api/explain?ref=found", "", 200, "4JZRZ-63WQR"},
		{up, "GET /api/explain?ref=none", "", 404, `no decision "none" in the journal`},
		{up, "GET /api/explain?ref=broken", "", 500, "disk error"},
		{silent, "GET /api/explain?ref=found", "", 404, "journal.keep is 0s"},
		{up, "POST /api/reload", "", 422, "line 7: no"},
		{up, "GET /api/reload", "", 405, ""},
		{up, "GET /api/greylist?n=0", "", 400, "from 1 to 1000"},
		{up, "GET /api/greylist?kind=x", "", 400, "identity or triplet"},
		{up, "GET /api/greylist?cursor=%25", "", 400, "start again"},
		{up, "GET /api/greylist", "", 200, `"entries": []`},
		{away, "GET /api/greylist", "", 503, `try again when /readyz says "greylist file: ok"`},
		{up, "GET /api/greylist/show?what=foo", "", 400, `"foo" is no identity and no key`},
		{up, "GET /api/greylist/show?what=net:192.0.2.0/25", "", 400, "networks are taken by /24 (greylist.net4)"},
		{up, "GET /api/greylist/show?what=spf:good.example", "", 200, `"status": "defer"`},
		{away, "GET /api/greylist/show?what=spf:good.example", "", 503, "refused"},
		{up, "GET /api/greylist/show", "", 400, "is no IP address"},
		{up, "POST /api/greylist/allow?identity=host:com", "", 400, "no organization's domain"},
		{up, "POST /api/greylist/allow?identity=spf:mail.good.example", "", 200, `"spf:good.example"`},
		{up, "POST /api/greylist/forget?what=spf:good.example", "", 200, `"removed": 1`},
		{up, "POST /api/greylist/forget?what=spf:good.example", "", 404, "nothing is stored of spf:good.example"},
		{up, "POST /api/greylist/import", "{", 400, "body:"},
		{up, "POST /api/greylist/import", many, 400, "101 triplets, want 100 at most"},
		{up, "POST /api/greylist/import", "[]", 503, "nobody listens"},
		{up, "GET /api/list/lookup", "", 400, "want ?value="},
		{up, "GET /api/list/lookup?value=a.example", "", 200, "[]"},
		{up, "POST /api/list/add", `{"list":"none","entries":["a.example"]}`, 404, "none"},
		{up, "POST /api/list/add", "{", 400, "EOF"},
		{up, "POST /api/list/confirm?list=none", "", 404, "none"},
		{up, "GET /api/dnsbl/status", "", 200, "[]"},
		{up, "GET /api/dnsbl/lookup?value=192.0.2.1", "", 404, "no DNS lists"},
	} {
		mux := http.NewServeMux()
		for path, h := range c.a.Paths() {
			mux.Handle(path, h)
		}
		method, path, _ := strings.Cut(c.ask, " ")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(c.body)))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s, want %d %s", c.ask, w.Code, strings.TrimSpace(w.Body.String()), c.status, c.says)
		}
	}
}

func TestNamesOfClients(t *testing.T) {
	a := bench(t, greylist.NewMemory(10))
	for text, want := range map[string]string{
		"spf:mail.good.example": "spf:good.example", "host:mx.mail.good.example": "host:good.example", "net:192.0.2.0/24": "net:192.0.2.0/24",
		"addr:192.0.2.7": "addr:192.0.2.7", "net:2001:db8::/64": "net:2001:db8::/64", "net:2001:db8::/48": "greylist.net6", "host:co.uk": "no organization",
	} {
		id, err := a.identity(text)
		if got := fmt.Sprint(id, err); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
