// Package config is the one YAML file: its keys with their defaults, what they
// mean together, and the printing of it. It opens no file but the one it reads and
// those that hold secrets, and asks no DNS.
//
// Package keys reads the file along the struct tags, package manual makes the
// documents of them, and package ruleset the rules that the keys stand for.
package config

import (
	"net/netip"
	"time"

	"go.yaml.in/yaml/v4"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/limit"
	"mailwicket/filter/list"
	"mailwicket/filter/list/feed"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// Duration is written 240s, 5m, 48h, 36d or 2w.
type Duration = keys.Duration

// Size is a number of bytes that is written 512KiB, 10MiB or plainly.
type Size = keys.Size

// Secret is text that is never printed.
type Secret string

// String keeps secrets out of logs and of `config show`.
func (Secret) String() string { return "<secret>" }

// GoString does so for %#v.
func (Secret) GoString() string { return "<secret>" }

// MarshalText does so for JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte("<secret>"), nil }

// Config is the whole file, with defaults where a key is not given. It does not
// change once it is made.
type Config struct {
	Milter     Milter     `yaml:"milter" doc:"The socket that MTAs speak to."`
	Admin      Admin      `yaml:"admin" doc:"Metrics, health and the API of the command line, over HTTP."`
	AuthservID string     `yaml:"authserv_id" form:"^[A-Za-z0-9._-]*$" doc:"Name under which results are reported in Authentication-Results. Empty takes the MTA's own name (macro j)."`
	DataDir    string     `yaml:"data_dir" doc:"Directory for the greylist file, the journal and secrets that are made at the first start. Relative paths of other keys begin at the configuration file's directory." restart:"true"`
	Redis      Redis      `yaml:"redis" doc:"A store that several filters share. Without a URL the state is kept in a file below data_dir."`
	DNS        DNS        `yaml:"dns" doc:"Where names are looked up."`
	Trusted    Trusted    `yaml:"trusted" doc:"Clients that the checks of inbound mail are not made for."`
	Profile    string     `yaml:"profile" enum:"observe,standard,strict" doc:"The built-in rules: observe changes nothing but headers and metrics, standard refuses forgeries when more than one thing speaks against them, strict does what the sender's domain asks for."`
	OnError    string     `yaml:"on_error" enum:"tempfail,accept" doc:"The answer when the filter itself breaks."`
	Quarantine string     `yaml:"quarantine" enum:"tag,hold" doc:"What quarantine means: tag adds X-Mailwicket-Action, hold puts the message into the MTA's hold queue."`
	SPF        SPF        `yaml:"spf" doc:"Sender Policy Framework."`
	DKIM       DKIM       `yaml:"dkim" doc:"DomainKeys Identified Mail."`
	DMARC      DMARC      `yaml:"dmarc" doc:"Domain-based message authentication."`
	ARC        ARC        `yaml:"arc" doc:"Authenticated Received Chain."`
	Greylist   Greylist   `yaml:"greylist" doc:"Deferral of clients that are not known yet."`
	Lists      []List     `yaml:"lists" doc:"Lists of domains, networks and addresses. A hit is a rule named after the list and the point, such as harmful-helo."`
	DNSBL      []Zone     `yaml:"dnsbl" doc:"Lists in the DNS that name bad clients or domains; what they hold speaks against a message. A zone is asked only while its test entries answer as they should. A hit is a rule named dnsbl-NAME, or dnsbl-NAME-POINT of domain zones. Rules of your own can ask for dnsbl.score, the sum of the weights."`
	Content    Content    `yaml:"content" doc:"What is looked for in the body of a message."`
	Reputation Reputation `yaml:"reputation" doc:"How others see us."`
	Rates      []Rate     `yaml:"rates" doc:"Limits on how much mail comes in what time. They hold for trusted and authenticated clients too. Exceeding one is a rule named rate-NAME. Allow lists and rules of your own that accept go before it."`
	Rules      Rules      `yaml:"rules" doc:"Rules of your own. They are tried before the built-in ones, in this order; the first with a verdict that matches decides."`
	Journal    Journal    `yaml:"journal" doc:"Decisions with all their facts, kept so that they can be explained and judged again."`
	Log        Log        `yaml:"log" doc:"The program's own log, on standard error."`

	TraceHeader bool `yaml:"trace_header" doc:"Add X-Mailwicket-Trace with the reference to mail that is accepted."`

	File string `yaml:"-"` // where it was read from; "" for the defaults

	origin Origin                     // what the file was when it was read
	at     map[string]policy.Position // where each key stands that is given
	broken map[string]bool            // paths whose value could not be read
}

// Milter is the socket that MTAs speak to, and what one of them may cost.
type Milter struct {
	Listen         []string       `yaml:"listen" form:"^(inet:.+:[0-9]+|inet6:\\[.+\\]:[0-9]+|unix:/.+)$" doc:"Addresses: inet:HOST:PORT, inet6:[HOST]:PORT or unix:/path. Sockets given by a service manager take their place." restart:"true"`
	Allow          []netip.Prefix `yaml:"allow" doc:"Networks whose hosts may connect over TCP."`
	MaxConnections int            `yaml:"max_connections" min:"1" max:"1000000" doc:"SMTP sessions served at a time; more are answered 451." restart:"true"`
	SocketMode     string         `yaml:"socket_mode" form:"^0?[0-7]{1,3}$" doc:"Mode of unix sockets, in octal." restart:"true"`
	HeaderBytes    Size           `yaml:"header_bytes" min:"1024" max:"16777216" doc:"Longest header block that is read; the rest of a longer one is a fact that rules can ask for (header.defects)."`
	HeaderFields   int            `yaml:"header_fields" min:"10" max:"100000" doc:"Most header fields that are read."`
	IdleTimeout    Duration       `yaml:"idle_timeout" min:"1s" max:"24h" doc:"Longest silence of an MTA between two packets. It waits for its client's DATA meanwhile, so keep it long." restart:"true"`
	CommandTimeout Duration       `yaml:"command_timeout" min:"100ms" max:"30s" doc:"Longest time to answer CONNECT, HELO, MAIL and RCPT. Sendmail waits 10s by default." restart:"true"`
	MessageTimeout Duration       `yaml:"message_timeout" min:"1s" max:"10m" doc:"Longest time to answer the end of a message." restart:"true"`
	CheckTimeout   Duration       `yaml:"check_timeout" min:"100ms" max:"5m" doc:"Longest time of one check, such as SPF (RFC 7208 asks for 20s)."`
	DrainTimeout   Duration       `yaml:"drain_timeout" min:"0s" max:"10m" doc:"How long sessions may go on when the program is told to stop." restart:"true"`
}

// Admin is the HTTP side.
type Admin struct {
	Listen    string `yaml:"listen" form:"^(|.*:[0-9]+)$" doc:"Address HOST:PORT; empty switches it off." restart:"true"`
	TokenFile string `yaml:"token_file" doc:"File with a token that clients must send (Authorization: Bearer). Required where the address is not loopback." restart:"true"`
}

// Redis is the shared store.
type Redis struct {
	URL          string `yaml:"url" form:"^(|rediss?(\\+(sentinel|cluster))?://.+)$" doc:"redis://HOST:PORT/DB, rediss:// for TLS, redis+sentinel://HOST,HOST/MASTER or redis+cluster://HOST,HOST. The password may stand here, in password_file, or in the environment (MAILWICKET_REDIS_PASSWORD)." restart:"true"`
	Username     string `yaml:"username" doc:"ACL user." restart:"true"`
	PasswordFile string `yaml:"password_file" doc:"File with the password." restart:"true"`
	CAFile       string `yaml:"ca_file" doc:"PEM file of the authorities that may sign the server's certificate; empty takes the system's." restart:"true"`
}

// DNS says where names are looked up.
type DNS struct {
	Servers []string `yaml:"servers" doc:"Servers as HOST or HOST:PORT, asked in this order. Empty takes those of /etc/resolv.conf. DNS lists refuse questions of public resolvers: use one of your own." restart:"true"`
	Timeout Duration `yaml:"timeout" min:"50ms" max:"30s" doc:"Longest wait for one answer of one server." restart:"true"`
	Cache   DNSCache `yaml:"cache" doc:"Answers are kept as long as their records say."`
}

// DNSCache bounds the memory for answers.
type DNSCache struct {
	Size int `yaml:"size" min:"100" max:"10000000" doc:"Answers kept." restart:"true"`
}

// Trusted names clients that are not strangers.
type Trusted struct {
	Networks      []netip.Prefix `yaml:"networks" doc:"Networks of your own. Private addresses are strangers unless they stand here."`
	Authenticated bool           `yaml:"authenticated" doc:"Trust clients that have logged in."`
}

// SPF is about RFC 7208.
type SPF struct {
	ReceivedSPF bool `yaml:"received_spf" doc:"Add a Received-SPF field too."`
}

// DKIM is about RFC 6376.
type DKIM struct {
	MaxSignatures int      `yaml:"max_signatures" min:"1" max:"50" doc:"Signatures verified in one message, those of the author's domain first."`
	ReplayWindow  Duration `yaml:"replay_window" min:"0s" max:"30d" doc:"How long a signature that is not seen again is remembered, to count its clients and recipients (dkim.replay.clients, dkim.replay.recipients). 0s counts nothing: rules that ask for these fields then never match."`
}

// DMARC is about RFC 9989.
type DMARC struct {
	OrgDomain string `yaml:"org_domain" enum:"treewalk,psl" doc:"How the organizational domain is found: by the tree walk of RFC 9989, or by the public suffix list as in RFC 7489."`
}

// ARC is about RFC 8617.
type ARC struct {
	TrustedSealers []string `yaml:"trusted_sealers" doc:"Domains of forwarders and mailing lists whose word on authentication counts: a DMARC failure that they saw pass is not acted upon."`
}

// Greylist says who is deferred, and for how long.
type Greylist struct {
	Scope          string   `yaml:"scope" enum:"suspicious,all,off" doc:"suspicious: clients without a confirmed or with a dynamic-looking name, senders that SPF does not pass, hits of lists and DNS lists with do: suspicious. all: every stranger. off: nobody."`
	Delay          Duration `yaml:"delay" min:"1s" max:"24h" doc:"A retry after this time passes."`
	RetryWindow    Duration `yaml:"retry_window" min:"1m" max:"60d" doc:"A retry after this time is a first try again."`
	DoubtfulDelay  Duration `yaml:"doubtful_delay" min:"1s" max:"24h" doc:"The same of doubtful clients, where it is longer: SPF does not pass, and the address has no confirmed name or a dynamic-looking one. Bots try again after ten minutes."`
	DoubtfulWindow Duration `yaml:"doubtful_window" min:"1m" max:"60d" doc:"The same as retry_window of doubtful clients, where it is shorter. Bots come again after a day, queues within hours."`
	PassLifetime   Duration `yaml:"pass_lifetime" min:"1h" max:"400d" doc:"How long a pass is remembered; each message renews it."`
	AutoAllowAfter int      `yaml:"auto_allow_after" min:"0" max:"1000" doc:"After so many passes, at least one hour apart, all mail of that client passes. 0 switches this off."`
	Net4           int      `yaml:"net4" min:"8" max:"32" doc:"IPv4 clients without a name are taken by networks of this prefix length."`
	Net6           int      `yaml:"net6" min:"16" max:"128" doc:"The same for IPv6."`
	SkipRecipients []string `yaml:"skip_recipients" doc:"Recipients that are never kept waiting: addresses, or domains with all below them. Bounces (null sender), of which the greylist is asked at the end of the header for all recipients at once, are not spared."`
	SkipSenders    []string `yaml:"skip_senders" doc:"Envelope senders that are never kept waiting: addresses, or domains with all below them. The name must be authenticated: SPF must pass."`
}

// List is a list of domains, networks or addresses, and what a hit does.
type List struct {
	Name     string       `yaml:"name" form:"^[a-z0-9-]{1,64}$" required:"true" doc:"Its name in rules, replies, logs and metrics."`
	Type     list.Kind    `yaml:"type" required:"true" enum:"domain,ip,address" doc:"What its entries are. A domain stands for all below it."`
	File     string       `yaml:"file" doc:"File with one entry a line: plain, hosts file, RPZ zone, wildcard or network. It is read again when it changes. Each list has one of file, url and redis."`
	URL      string       `yaml:"url" form:"^(|https?://[^#]+)$" doc:"Feed at http:// or https:// of the same forms. What it says is believed only if it looks like a list; else the last good copy stays in force. A password or parameters in it are never printed."`
	Redis    bool         `yaml:"redis" doc:"Keep the entries in redis.url, where mailwicket list add and remove change them for all filters at once."`
	Every    Duration     `yaml:"every" min:"5m" max:"30d" sparse:"true" preset:"1h" doc:"With url: how often it is asked whether it has changed."`
	MaxBytes Size         `yaml:"max_bytes" min:"1024" max:"2147483648" sparse:"true" preset:"256MiB" doc:"With url: more than this, unpacked, is refused."`
	Guard    feed.Guard   `yaml:"guard" enum:"all,size,off" sparse:"true" preset:"all" doc:"With url: what else is refused. size: less than half or more than twice as many entries as before. all: that, and lists that hold a large mail provider or one of canaries. off: nothing."`
	Canaries []string     `yaml:"canaries" doc:"With url and guard all: domains, addresses or networks of your own and of your partners, which a list must never hold."`
	Apply    []list.Point `yaml:"apply" enum:"client,helo,ptr,mail_from,rcpt,header_from,dkim,links" preset:"all that fit" doc:"Where it is looked up: client, helo, ptr, mail_from, rcpt, header_from, dkim, links (hosts that the body leads to). Empty takes all that fit type and do, but for rcpt."`
	Do       string       `yaml:"do" default:"reject" enum:"reject,tempfail,quarantine,discard,accept,suspicious,tag,none" doc:"What a hit does. accept holds only for names that are authenticated. suspicious leaves it to greylisting, tag adds X-Mailwicket-Tags, none leaves it to your rules."`
	Mode     string       `yaml:"mode" default:"enforce" enum:"enforce,observe,off" doc:"observe only tells what would have been done; off does not read it."`
}

// Zone is a list in the DNS, and what a hit does.
type Zone struct {
	Zone    string            `yaml:"zone" required:"true" doc:"Its domain, such as zen.spamhaus.org, without a key."`
	Name    string            `yaml:"name" preset:"the zone" doc:"Its name in rules, tags, logs and metrics. A zone that is given twice, with other codes, needs two."`
	Type    dnsbl.Type        `yaml:"type" required:"true" enum:"ip,domain" doc:"What it lists: addresses of clients, or domains."`
	Codes   map[string]string `yaml:"codes" required:"true" doc:"Answers that are hits, and what they are called: 127.0.0.2, 127.0.0.2-11, 127.0.0.0/24, or 127.0.0.0&4 for one bit. The operator's manual tells them. Other answers are no hits."`
	Apply   []list.Point      `yaml:"apply" enum:"helo,ptr,mail_from,header_from,dkim,links" preset:"all that fit" doc:"Of domain zones: the names that it is asked for, helo, ptr, mail_from, header_from, dkim, links (hosts that the body leads to). Empty takes all that fit do."`
	Weight  float64           `yaml:"weight" default:"1" min:"0.01" max:"1000" doc:"What a hit adds to dnsbl.score."`
	KeyFile string            `yaml:"key_file" doc:"File with the key, for operators that want one in front of the zone. The key may also be given by MAILWICKET_DNSBL_KEY_NAME in the environment, NAME in capitals and with _ for hyphens and dots."`
	Ask     dnsbl.Form        `yaml:"ask" enum:"registered,name" sparse:"true" preset:"registered" doc:"Of domain zones: ask for the registered domain (example.co.uk for mail.example.co.uk), or for the name as it is."`
	Test    string            `yaml:"test" doc:"Entry that the zone lists at all times, if it is not 127.0.0.2 or test (RFC 5782)."`
	Do      string            `yaml:"do" default:"reject" enum:"reject,tempfail,quarantine,suspicious,tag,none" doc:"What a hit does. suspicious leaves it to greylisting, tag adds X-Mailwicket-Tags, none leaves it to your rules."`
	Mode    string            `yaml:"mode" default:"enforce" enum:"enforce,observe,off" doc:"observe only tells what would have been done; off does not ask."`
}

// Content says what is looked for in bodies.
type Content struct {
	Links bool `yaml:"links" doc:"Find the hosts that links lead to, where a list, a DNS list or a rule of yours asks for them (apply: links, links.host and its like). It costs nothing where none does. false reads no body at all."`
}

// Reputation is how others see us.
type Reputation struct {
	OwnIPs []netip.Addr `yaml:"own_ips" doc:"Addresses that our mail leaves from. They are looked up in all zones of type ip, and the result is in the metrics."`
	Every  Duration     `yaml:"every" min:"5m" max:"7d" doc:"How often."`
}

// Rate is a limit on how much mail comes, and what exceeding it does.
type Rate struct {
	Name  string      `yaml:"name" form:"^[a-z0-9-]{1,64}$" required:"true" doc:"Its name in rules (rates.exceeded, rates.size_exceeded), tags, logs and metrics."`
	Key   []limit.Key `yaml:"key" required:"true" enum:"client,net,sender,sender_domain,rcpt,rcpt_domain,auth_user" doc:"What is counted by: client, net (the client's /24 or /64), sender, sender_domain, rcpt, rcpt_domain, auth_user (the login). Of several each combination has its own count. Mail without a value is not counted: auth_user leaves out who has not logged in, sender the null sender."`
	Limit string      `yaml:"limit" form:"^ *[0-9]+(KiB|MiB|GiB)? */.+$" required:"true" doc:"How much in what time, such as 200/1h, 1000/1d or 10MiB/1d."`
	Unit  limit.Unit  `yaml:"unit" enum:"messages,recipients,bytes" sparse:"true" preset:"messages, or bytes where limit is a size" doc:"What is counted. bytes are known at the end of a message."`
	Burst string      `yaml:"burst" default:"0" doc:"How much may come at once after a rest, such as 50 or 1MiB. 0 takes as much as limit."`
	Do    string      `yaml:"do" default:"tempfail" enum:"tempfail,reject,quarantine,tag,none" doc:"What exceeding it does. quarantine is possible for bytes only, tag adds X-Mailwicket-Tags, none leaves it to your rules."`
	Mode  string      `yaml:"mode" default:"enforce" enum:"enforce,observe,off" doc:"observe only tells what would have been done; off does not count."`
}

// Rules are the user's own. They have a form of their own.
type Rules []policy.Rule

// Read implements keys.Own.
func (r *Rules) Read(file string, n *yaml.Node, path string) []policy.Problem {
	rules, problems := rulefile.Node(file, n, path)
	*r = rules
	return problems
}

// Journal is where decisions are kept.
type Journal struct {
	Keep    Duration `yaml:"keep" min:"0s" max:"400d" doc:"How long. 0s keeps none." restart:"true"`
	MaxSize Size     `yaml:"max_size" min:"1048576" max:"1099511627776" doc:"Most bytes of all files; the oldest go first." restart:"true"`
	Redact  bool     `yaml:"redact" doc:"Keep hashes in place of addresses and subjects."`

	Share    bool `yaml:"share" doc:"Keep the latest decisions in Redis too, so that every filter there can explain those of the others." restart:"true"`
	ShareMax int  `yaml:"share_max" min:"100" max:"1000000" doc:"About how many, of all filters together; each takes about 1 KiB of Redis." restart:"true"`
}

// Log is the program's own log.
type Log struct {
	Format string `yaml:"format" enum:"text,json" doc:"text for people, json for machines." restart:"true"`
	Level  string `yaml:"level" enum:"debug,info,warn,error" doc:"Least severity that is written."`
}

// Default gives the configuration of an empty file.
func Default() *Config {
	return &Config{
		Milter: Milter{
			Listen:         []string{"inet:127.0.0.1:8891"},
			Allow:          []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			MaxConnections: 10000, SocketMode: "0660", HeaderBytes: 512 << 10, HeaderFields: 2000,
			IdleTimeout: Duration(2 * time.Hour), CommandTimeout: Duration(8 * time.Second),
			MessageTimeout: Duration(45 * time.Second), CheckTimeout: Duration(20 * time.Second),
			DrainTimeout: Duration(30 * time.Second),
		},
		Admin:   Admin{Listen: "127.0.0.1:9891"},
		DataDir: "/var/lib/mailwicket",
		DNS:     DNS{Timeout: Duration(2 * time.Second), Cache: DNSCache{Size: 100_000}},
		Trusted: Trusted{Authenticated: true,
			Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}},
		Profile: "standard", OnError: "tempfail", Quarantine: "tag",
		DKIM:  DKIM{MaxSignatures: 8, ReplayWindow: Duration(limit.DefaultWindow)},
		DMARC: DMARC{OrgDomain: "treewalk"},
		Greylist: Greylist{Scope: "suspicious", Delay: Duration(240 * time.Second), RetryWindow: Duration(48 * time.Hour),
			DoubtfulDelay: Duration(30 * time.Minute), DoubtfulWindow: Duration(12 * time.Hour),
			PassLifetime: Duration(36 * 24 * time.Hour), AutoAllowAfter: 2, Net4: 24, Net6: 64},
		Content:     Content{Links: true},
		Reputation:  Reputation{Every: Duration(time.Hour)},
		Journal:     Journal{Keep: Duration(14 * 24 * time.Hour), MaxSize: 2 << 30, ShareMax: 10_000},
		Log:         Log{Format: "text", Level: "info"},
		TraceHeader: true,
	}
}
