package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"mailwicket/greylist"
	"mailwicket/policy"
)

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
)

// greylistImport remembers triplets that passed another greylist, each under the
// identity that its client has by today's DNS.
func (a *Answerer) greylistImport(w http.ResponseWriter, r *http.Request) {
	var in []GreylistTriplet
	if err := decodeLimited(w, r, importBytes, &in); err != nil || len(in) > MaxImport {
		if err == nil {
			err = fmt.Errorf("%d triplets, want %d at most", len(in), MaxImport)
		}
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if why := a.NoDNS(); why != "" {
		http.Error(w, "DNS does not answer, so nobody can tell which client is which: "+why, http.StatusServiceUnavailable)
		return
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
	a.Log.Info("greylist triplets imported", slog.Int("remembered", out.Remembered), slog.Int("expired", out.Expired))
	answer(w, out)
}

// remember takes one triplet in. Bad says what is wrong with it, err with the
// store.
func (a *Answerer) remember(ctx context.Context, p *policy.Policy, t GreylistTriplet) (kept bool, bad string, err error) {
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
	kept, err = a.Greylist().Remember(ctx, *who.got, t.First, t.Last)
	return kept, "", err
}
