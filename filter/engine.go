// Package filter runs one SMTP session through the checks and the policy. It
// knows no milter, YAML or HTTP: the milter adapter and the check command drive
// the same Session.
//
// Checks find facts, each in its own goroutine, as soon as their inputs exist;
// the policy decides over them at each stage; the Session does what the decision
// says and tells the Observer.
package filter

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"mailwicket/filter/dmarc"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/policy"
)

// Lists looks names up in the lists that are applied at a point. It never
// blocks; it is safe for concurrent use.
type Lists interface {
	IP(p list.Point, a netip.Addr) []fact.ListHit
	Domain(p list.Point, name string) []fact.ListHit
	Address(p list.Point, a mail.Address) []fact.ListHit
}

// Greylister settles greylisting. It answers within its own budget, from a
// fallback when the store is down; it is safe for concurrent use.
type Greylister interface {
	Check(ctx context.Context, r greylist.Request) (greylist.Outcome, error)
}

// Rates counts against the configured limits and gives the names of those
// exceeded: one recipient at RCPT, the message's size at its end.
type Rates interface {
	Exceeded(ctx context.Context, s *fact.Set) ([]string, error)
	Sized(ctx context.Context, s *fact.Set) ([]string, error)
}

// Replays counts a signature's clients and recipients.
type Replays interface {
	Seen(ctx context.Context, signature, client string, rcpts []string) (clients, recipients int, err error)
}

// DNSBL asks the DNS lists for a client's address and for names. An error means
// that no list answered; hits of those that did come with a nil error, beside the
// names of those that are Silent. Names tells,
// without asking, what Domain would ask for.
type DNSBL interface {
	Client(ctx context.Context, a netip.Addr) ([]fact.ListHit, error)
	Domain(ctx context.Context, p list.Point, name string) ([]fact.ListHit, error)
	Names(p list.Point, name string) []string
}

// Observer looks on. Message is called once for each message, when it is over:
// delivered, refused or given up. It must not block.
type Observer interface {
	Message(*Record)
	Check(name string, state fact.State, result string, took time.Duration)
}

// Config is all that an Engine needs. Members marked optional may be nil.
type Config struct {
	Policy   *policy.Policy
	Resolver dns.Resolver
	Lists    Lists      // optional
	Greylist Greylister // optional
	Rates    Rates      // optional
	Replays  Replays    // optional
	DNSBL    DNSBL      // optional
	Defers   *Defers    // memory of temporary errors; survives reloads

	Host           string         // names this filter in records
	Settings       string         // fingerprints of what the facts hang on, for records
	AuthservID     string         // "" takes the MTA's name
	Trusted        []netip.Prefix // networks whose mail is not checked
	TrustLogin     bool           // authenticated clients are trusted
	OnError        policy.Verdict // Tempfail or Accept, when the engine itself breaks
	OrgDomain      dmarc.Method
	TrustedSealers []string
	DKIMMax        int // signatures verified in a message
	Net4, Net6     int // greylist networks, prefix lengths
	HeaderBytes    int // limits of a header block
	HeaderFields   int
	CheckTimeout   time.Duration // of each check
	NoLinks        bool          // the body is not read, whatever rules ask for
	TraceHeader    bool
	ReceivedSPF    bool

	Now      func() time.Time
	NewRef   func() string
	Log      *slog.Logger
	Observer Observer
}

// Engine is the immutable set-up that sessions share. It is safe for concurrent
// use; a reload makes a new one, and sessions end with the one they began with.
type Engine struct{ Config }

// NewEngine checks nothing: the configuration has been validated.
func NewEngine(c Config) *Engine { return &Engine{c} }

// Failure is the answer when the engine itself breaks (on_error).
func (e *Engine) Failure() Answer {
	if e.OnError == policy.Accept {
		return Answer{Verdict: policy.Accept}
	}
	return Answer{Verdict: policy.Tempfail, Code: 451, Enhanced: "4.3.0", Text: "Filter failed, try again later"}
}

// Answer is what the MTA is to tell the client.
type Answer struct {
	Verdict  policy.Verdict
	Code     int    // SMTP reply, 0 for the verdict's default
	Enhanced string // RFC 3463
	Text     string // public, with the reference
}

// Deletion removes the Index-th field of that name (1-based, counted from the
// top as the milter saw them).
type Deletion struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
}

// Insertion puts a field at the top. Value has no leading blank; folds are
// "\r\n\t".
type Insertion struct {
	Name  string
	Value string
}

// Plan is the answer at the end of message with the edits that it needs.
// Delete is sorted highest index first; Insert is in the order in which the
// fields shall stand.
type Plan struct {
	Answer
	Delete []Deletion
	Insert []Insertion
	Hold   string // not "": put the message on hold, for this reason
}

// Envelope is what MAIL brings beside the path.
type Envelope struct {
	QueueID  string
	AuthUser string
	AuthType string
	Params   []string // ESMTP parameters
	TLS      mail.TLS
}

// Record is one message's whole story, as observers get it.
type Record struct {
	Ref        string         `json:"ref"`
	Host       string         `json:"host,omitempty"` // the filter that decided
	Start      time.Time      `json:"start"`
	Took       time.Duration  `json:"took"`
	Complete   bool           `json:"complete"` // the end of message was reached
	Facts      fact.Set       `json:"facts"`
	Early      *fact.Conn     `json:"early,omitempty"` // what the rules at connect and HELO saw of a client that logged in later
	Verdict    policy.Verdict `json:"verdict"`
	Rule       string         `json:"rule,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Decisions  []Decided      `json:"decisions"`
	Checks     []CheckRun     `json:"checks,omitempty"`
	DNS        []dns.Answer   `json:"dns,omitempty"`
	DNSDropped int            `json:"dns_dropped,omitempty"`
	Removed    []Deletion     `json:"removed,omitempty"`
	Degraded   []string       `json:"degraded,omitempty"`
	Settings   string         `json:"settings,omitempty"` // Config.Settings
	Redacted   bool           `json:"redacted,omitempty"`
}

// Decided is one decision and what it was about.
type Decided struct {
	policy.Decision
	Recipient string    `json:"recipient,omitempty"`
	Rcpt      fact.Rcpt `json:"rcpt,omitzero"`
	Reply     string    `json:"reply_text,omitempty"`
}

// CheckRun tells how long a check took and how it ended.
type CheckRun struct {
	Name  string        `json:"name"`
	State fact.State    `json:"state"`
	Took  time.Duration `json:"took"`
	Why   string        `json:"why,omitempty"`
}
