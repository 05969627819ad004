package doctor

import (
	"net/netip"
	"time"

	"mailwicket/filter/dnsbl"
	"mailwicket/policy"
)

// Evidence is what was seen of an installation. A part that is nil was not looked
// at, which is no sign of anything.
type Evidence struct {
	Now      time.Time   `json:"now"`
	Settings *Settings   `json:"settings,omitempty"`
	Problems []string    `json:"problems,omitempty"` // of the configuration file
	Server   *Server     `json:"server,omitempty"`
	Asked    string      `json:"-"`                   // the address of the running server
	NoServer string      `json:"no_server,omitempty"` // why the running server was not asked
	Traffic  *Traffic    `json:"traffic,omitempty"`
	Macros   []Macros    `json:"macros,omitempty"`
	MTA      *MTA        `json:"mta,omitempty"`
	NoMTA    string      `json:"no_mta,omitempty"` // why the MTA's settings are not known
	Redis    *Redis      `json:"redis,omitempty"`
	DNS      []DNSServer `json:"dns,omitempty"`
	Zones    []Zone      `json:"zones,omitempty"`
	Lists    []List      `json:"lists,omitempty"`
	Feeds    []Feed      `json:"feeds,omitempty"`
	Disk     *Disk       `json:"disk,omitempty"`
}

// Settings are what findings need of our configuration.
type Settings struct {
	File       string                     `json:"file,omitempty"`
	At         map[string]policy.Position `json:"at,omitempty"` // where keys stand
	Listen     []string                   `json:"listen"`       // as inet:HOST:PORT or unix:PATH
	Command    time.Duration              `json:"command"`      // longest time to answer connect, HELO, MAIL, RCPT
	Header     time.Duration              `json:"header"`       // the end of the header
	Message    time.Duration              `json:"message"`      // the end of the message
	AuthservID string                     `json:"authserv_id,omitempty"`
}

// Server is what the running server knows of itself.
type Server struct {
	Version   string       `json:"version"`
	Reload    string       `json:"reload,omitempty"`  // why the last reload failed
	Pending   []string     `json:"pending,omitempty"` // changed keys that wait for a restart
	Degraded  []Dependency `json:"degraded,omitempty"`
	Fallback  string       `json:"fallback,omitempty"`   // why greylisting is decided from memory
	Journal   Journal      `json:"journal"`              // since the start
	AdminOpen string       `json:"admin_open,omitempty"` // address that others reach without a token
}

// Dependency is one that does not work.
type Dependency struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// Journal counts decisions.
type Journal struct {
	Written uint64    `json:"written"`
	Lost    uint64    `json:"lost"`
	LastAt  time.Time `json:"last_at,omitzero"` // when the last one was lost
}

// Traffic is about recent messages of clients that have not logged in.
type Traffic struct {
	Messages int        `json:"messages"`
	Since    time.Time  `json:"since,omitzero"`
	Clients  int        `json:"clients"`     // distinct addresses
	Top      netip.Addr `json:"top"`         // the private address with the most messages
	TopCount int        `json:"top_count"`   // of its messages
	Trusted  string     `json:"trusted"`     // why we trust it; "" for a stranger
	MTAName  string     `json:"mta_name"`    // macro j of the latest
	Version  string     `json:"mta_version"` // macro v of the latest
	FromDisk bool       `json:"from_disk,omitempty"`
}

// Macros counts what the MTA told by a stage.
type Macros struct {
	Stage   string         `json:"stage"` // connect, mail, header
	Seen    int            `json:"seen"`  // how often the stage was reached
	Missing map[string]int `json:"missing,omitempty"`
}

// MTA is how the mail server beside us is set up.
type MTA struct {
	Kind     string   `json:"kind"`   // postfix or sendmail
	Source   string   `json:"source"` // postconf, or the file
	Named    bool     `json:"named"`  // somebody said that this is the one
	Filters  []Filter `json:"filters,omitempty"`
	Local    []Filter `json:"local,omitempty"`    // for mail that local programs submit
	Protocol int      `json:"protocol,omitempty"` // version of the milter protocol; 0: not told
}

// The kinds of MTA.
const (
	Postfix  = "postfix"
	Sendmail = "sendmail"
)

// Filter is one milter that an MTA asks, with its patience.
type Filter struct {
	Address string   `json:"address"` // inet:HOST:PORT or unix:PATH
	Where   string   `json:"where"`   // such as smtpd_milters
	Connect Patience `json:"connect"`
	Command Patience `json:"command"` // of a reply to a command; Sendmail: of every reply
	Content Patience `json:"content"` // Postfix: of each reply to content; Sendmail: of the end of the message as a whole
	Action  Action   `json:"action"`
}

// Patience is how long an MTA waits.
type Patience struct {
	For   time.Duration `json:"for"`
	Given string        `json:"given"` // as it stands there, or "default"
	Own   bool          `json:"own,omitempty"`
}

// Action is what an MTA does while the filter is away.
type Action struct {
	Word  string `json:"word"` // tempfail, accept, reject, quarantine, shutdown
	Given string `json:"given"`
	Own   bool   `json:"own,omitempty"`
}

// Redis is what came of asking it.
type Redis struct {
	Err   string      `json:"err,omitempty"`  // it cannot be reached at all
	Auth  bool        `json:"auth,omitempty"` // it refuses our login
	Nodes []RedisNode `json:"nodes,omitempty"`
}

// RedisNode is one server of it that we write to.
type RedisNode struct {
	Addr      string        `json:"addr"`
	Hidden    string        `json:"hidden,omitempty"` // why its settings are not known
	Version   string        `json:"version,omitempty"`
	Role      string        `json:"role,omitempty"` // master or slave
	MaxMemory int64         `json:"max_memory,omitempty"`
	Policy    string        `json:"policy,omitempty"`
	AOF       bool          `json:"aof,omitempty"`
	Save      *string       `json:"save,omitempty"`        // when snapshots are made; nil: not known
	SaveError string        `json:"save_error,omitempty"`  // of the last snapshot or append
	Skew      time.Duration `json:"skew,omitempty"`        // its clock less ours
	Blur      time.Duration `json:"blur,omitempty"`        // how wrong Skew may be
	Clock     bool          `json:"clock_known,omitempty"` // Skew is known
}

// DNSServer is what came of asking one.
type DNSServer struct {
	Addr       string        `json:"addr"`
	Key        string        `json:"key"`
	Public     bool          `json:"public,omitempty"` // everybody uses it
	Configured bool          `json:"configured,omitempty"`
	Asked      bool          `json:"asked,omitempty"`
	Took       time.Duration `json:"took,omitempty"`
	Err        string        `json:"err,omitempty"`
}

// Zone is how a DNS list stands.
type Zone struct {
	Name  string      `json:"name"`
	Key   string      `json:"key"` // in the configuration
	OK    bool        `json:"ok"`
	Fault dnsbl.Fault `json:"fault,omitempty"` // "" while it has not been asked
	Why   string      `json:"why,omitempty"`
	Since time.Time   `json:"since,omitzero"`
}

// List is how a list stands.
type List struct {
	Name        string        `json:"name"`
	Key         string        `json:"key"`
	Source      string        `json:"source"`
	Feed        bool          `json:"feed,omitempty"`
	Every       time.Duration `json:"every,omitempty"` // of feeds
	Entries     int           `json:"entries"`
	Loaded      time.Time     `json:"loaded,omitzero"`
	Err         string        `json:"err,omitempty"`
	LastSuccess time.Time     `json:"last_success,omitzero"`
	LastTry     time.Time     `json:"last_try,omitzero"`
	LastError   string        `json:"last_error,omitempty"`
}

// Feed is what its server said when it was asked without loading.
type Feed struct {
	List string        `json:"list"`
	Key  string        `json:"key"`
	Err  string        `json:"err,omitempty"`
	Date time.Time     `json:"date,omitzero"` // its clock
	At   time.Time     `json:"at"`            // ours at that moment
	Took time.Duration `json:"took"`
}

// Disk is the place of data_dir.
type Disk struct {
	Dir        string `json:"dir"`
	Free       int64  `json:"free"` // for us, in bytes
	Total      int64  `json:"total"`
	Unwritable string `json:"unwritable,omitempty"` // why nothing can be written there
	Full       bool   `json:"full,omitempty"`       // nothing can, for lack of room or of quota
}
