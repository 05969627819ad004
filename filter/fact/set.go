package fact

import (
	"net/netip"
	"time"

	"mailwicket/filter/mail"
)

// Set is all that is known when a decision is made. The three parts live as
// long as the connection, the message and the recipient: forgetting one is
// assigning its zero value.
type Set struct {
	Stage mail.Stage `json:"stage"`
	Now   time.Time  `json:"now"` // drawn once for each decision by the session
	Conn  Conn       `json:"conn"`
	Txn   Txn        `json:"txn"`
	Rcpt  Rcpt       `json:"rcpt"` // the recipient in question; zero after RCPT
}

// Conn holds what is true for the SMTP session.
type Conn struct {
	Session string           `json:"session,omitempty"` // our identifier of the SMTP session
	IP      Fact[netip.Addr] `json:"ip"`
	Name    Fact[string]     `json:"name"`    // host name verified by the MTA
	PTR     Fact[string]     `json:"ptr"`     // reverse name, unverified
	Trusted Fact[string]     `json:"trusted"` // "" for strangers, else why the client is trusted
	Iprev   Fact[Iprev]      `json:"iprev"`
	Dynamic Fact[bool]       `json:"dynamic"` // the name looks like that of a dial-up address
	Helo    Fact[string]     `json:"helo"`
	HeloIs  Fact[string]     `json:"helo_is"`  // ok, literal, unqualified, invalid, own
	HeloDNS Fact[string]     `json:"helo_dns"` // forward (an address of it is the client's), other, none
	TLS     Fact[mail.TLS]   `json:"tls"`      // absent on plaintext
	MTA     MTA              `json:"mta"`

	SPFHelo   Fact[SPF]       `json:"spf_helo"`
	ListIP    Fact[[]ListHit] `json:"list_ip"`
	ListName  Fact[[]ListHit] `json:"list_name"` // verified client name and iprev names
	ListHelo  Fact[[]ListHit] `json:"list_helo"`
	DNSBL     Fact[[]ListHit] `json:"dnsbl"` // zones that list the address
	DNSBLName Fact[[]ListHit] `json:"dnsbl_name"`
	DNSBLHelo Fact[[]ListHit] `json:"dnsbl_helo"`
	AuthFails Fact[int]       `json:"auth_failures"`
}

// MTA names the mail server beside us.
type MTA struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// Iprev is RFC 8601, 3.
type Iprev struct {
	Result string   `json:"result"` // pass, fail, temperror, permerror
	Names  []string `json:"names,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// SPF is the finding of RFC 7208 for one identity.
type SPF struct {
	Result      string `json:"result"`
	Domain      string `json:"domain,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Explanation string `json:"explanation,omitempty"` // the domain owner's words, never trusted
	Lookups     int    `json:"lookups,omitempty"`
}

// DKIM is the finding for one signature.
type DKIM struct {
	Result    string `json:"result"` // words of RFC 8601, 2.7.1
	Reason    string `json:"reason,omitempty"`
	Domain    string `json:"domain,omitempty"`
	Identity  string `json:"identity,omitempty"`
	Selector  string `json:"selector,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	KeyBits   int    `json:"key_bits,omitempty"`
	Signature string `json:"signature,omitempty"` // the first characters of b=
	Testing   bool   `json:"testing,omitempty"`   // key flag t=y
}

// DMARC is the finding of RFC 9989.
type DMARC struct {
	Result   string   `json:"result"`           // pass, fail, none, temperror, permerror
	Policy   string   `json:"policy,omitempty"` // evaluated: none, quarantine, reject; "" where not known
	Domain   string   `json:"domain,omitempty"` // the Author Domain
	Record   string   `json:"record,omitempty"` // name where the policy was found
	Org      string   `json:"org,omitempty"`    // organizational domain
	Aligned  []string `json:"aligned,omitempty"`
	Testing  bool     `json:"testing,omitempty"`
	Differs  bool     `json:"differs,omitempty"`  // the public suffix list gives another organizational domain
	Override string   `json:"override,omitempty"` // why the policy is not applied, such as a trusted ARC chain
	Reason   string   `json:"reason,omitempty"`
}

// ARC is the finding of RFC 8617.
type ARC struct {
	Result  string   `json:"result"` // none, pass, fail
	Sealers []string `json:"sealers,omitempty"`
	Oldest  int      `json:"oldest_pass"`
	Trusted string   `json:"trusted,omitempty"` // the trusted sealer relied upon
	Pending string   `json:"pending,omitempty"` // the one to rely upon should a key that cannot be had now say yes
	Reason  string   `json:"reason,omitempty"`
}

// ListHit says which entry of which list matched what, or that a list did not
// answer, which is no hit.
type ListHit struct {
	List    string  `json:"list"`
	Subject string  `json:"subject"`          // what was looked up
	Entry   string  `json:"entry"`            // the matching entry
	Source  string  `json:"source,omitempty"` // file, feed or zone
	Line    int     `json:"line,omitempty"`
	Comment string  `json:"comment,omitempty"` // the list's own words, such as a DNSBL's code
	Weight  float64 `json:"weight,omitempty"`  // of a DNS list's code
	Silent  string  `json:"silent,omitempty"`  // why the list did not answer: only List counts then
}

// From is the finding on the author header fields.
type From struct {
	Addresses []string `json:"addresses,omitempty"`
	Domains   []string `json:"domains,omitempty"` // distinct, canonical
	Defect    string   `json:"defect,omitempty"`  // "" when the From field is usable
	Detail    string   `json:"detail,omitempty"`
}

// Content is what was found in the body.
type Content struct {
	Hosts   []string     `json:"hosts,omitempty"` // of links, distinct, canonical
	Addrs   []netip.Addr `json:"addrs,omitempty"` // that links lead to without a name
	Defects []string     `json:"defects,omitempty"`
	Over    bool         `json:"over,omitempty"` // something was over a bound, and not read
}

// Txn holds what is true for one message.
type Txn struct {
	QueueID  string             `json:"queue_id,omitempty"`
	AuthUser Fact[string]       `json:"auth_user"`
	AuthType string             `json:"auth_type,omitempty"`
	MailFrom Fact[mail.Address] `json:"mail_from"`
	SPF      Fact[SPF]          `json:"spf"` // MAIL FROM identity
	ListFrom Fact[[]ListHit]    `json:"list_mail_from"`
	Rcpts    []mail.Address     `json:"rcpts,omitempty"`  // accepted so far
	First    Rcpt               `json:"first,omitzero"`   // the first of them, as at its RCPT
	Unlike   []Rcpt             `json:"unlike,omitempty"` // one of each kind of those who differ from it
	Apart    int                `json:"apart,omitempty"`  // how many were asked for in another message

	From        Fact[From]      `json:"from"`
	Subject     Fact[string]    `json:"subject"`
	MessageID   Fact[string]    `json:"message_id"`
	ListID      Fact[string]    `json:"list_id"`
	Fields      Fact[int]       `json:"header_fields"`
	HeaderBytes Fact[int]       `json:"header_bytes"`
	Defects     Fact[[]string]  `json:"header_defects"` // what RFC 5322 forbids, in words of a fixed table
	ListHeader  Fact[[]ListHit] `json:"list_header_from"`

	DKIM     Fact[[]DKIM]    `json:"dkim"`
	ListDKIM Fact[[]ListHit] `json:"list_dkim"`

	DNSBLFrom   Fact[[]ListHit] `json:"dnsbl_mail_from"`
	DNSBLHeader Fact[[]ListHit] `json:"dnsbl_header_from"`
	DNSBLDKIM   Fact[[]ListHit] `json:"dnsbl_dkim"`

	Content    Fact[Content]   `json:"content"`
	ListLinks  Fact[[]ListHit] `json:"list_links"`
	DNSBLLinks Fact[[]ListHit] `json:"dnsbl_links"`
	LinksLeft  Fact[int]       `json:"links_left"` // names that DNS lists were not asked for: there were too many

	ARC   Fact[ARC]   `json:"arc"`
	DMARC Fact[DMARC] `json:"dmarc"`
	Size  Fact[int64] `json:"size"` // bytes of header and body

	ReplayClients    Fact[int]           `json:"replay_clients"`    // distinct clients that brought a signature
	ReplayRecipients Fact[int]           `json:"replay_recipients"` // and recipients
	DeferAge         Fact[time.Duration] `json:"defer_age"`         // how long this sender meets our temporary errors
	Rates            Fact[[]string]      `json:"rates"`             // limits that the message\'s size exceeds
	Greylist         Fact[Greylist]      `json:"greylist"`          // of null senders, settled at the end of header
}

// Rcpt holds what is true for one recipient.
type Rcpt struct {
	To       Fact[mail.Address] `json:"to"`
	ListTo   Fact[[]ListHit]    `json:"list_rcpt"`
	Rates    Fact[[]string]     `json:"rates"` // names of the limits that are exceeded
	Greylist Fact[Greylist]     `json:"greylist"`
}

// Greylist is what the greylist store said when it was asked.
type Greylist struct {
	Result    string        `json:"result"` // defer, pass, known (identity allowed), opted_out
	Identity  string        `json:"identity,omitempty"`
	Kind      string        `json:"kind,omitempty"` // spf, host, net, addr
	FirstSeen time.Time     `json:"first_seen,omitzero"`
	Remaining time.Duration `json:"remaining,omitempty"` // until a retry passes
	Delayed   time.Duration `json:"delayed,omitempty"`   // what the greylist cost, of pass
	Attempts  int           `json:"attempts,omitempty"`
	Doubtful  bool          `json:"doubtful,omitempty"` // nobody answers for the client: it waits longer
	Degraded  bool          `json:"degraded,omitempty"` // decided by the in-process fallback
}
