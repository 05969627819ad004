package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/story"
	"mailwicket/filter"
	"mailwicket/filter/dns"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/mail"
	"mailwicket/filter/milter/client"
	"mailwicket/policy"
)

type checkCmd struct {
	File     string   `arg:"" help:"Message file, or - for standard input."`
	IP       string   `name:"ip" required:"" help:"Client address."`
	Helo     string   `required:"" help:"Name given with HELO or EHLO."`
	From     string   `required:"" help:"Envelope sender; '<>' for the null sender."`
	Rcpt     []string `required:"" help:"Envelope recipient; may be repeated."`
	PTR      string   `name:"ptr" help:"Client's verified host name, as the MTA would tell it."`
	Auth     string   `help:"Login name of an authenticated client."`
	Zone     string   `type:"existingfile" help:"Zone file that answers all DNS questions."`
	Config   string   `short:"c" help:"Configuration file."`
	Greylist bool     `help:"Ask an empty greylist too: suspicious clients are then deferred."`
	JSON     bool     `name:"json" help:"Print data instead of words."`
}

// Exit statuses of check (SPEC: accept 0, reject or discard 1, tempfail 3,
// quarantine 4).
const (
	exitTempfail   = 3
	exitQuarantine = 4
)

// Run judges the message with the engine that serve uses.
func (c checkCmd) Run(s Streams) error {
	addr, err := netip.ParseAddr(c.IP)
	if err != nil {
		return exitError{exitUsage, fmt.Sprintf("--ip %q: %v", c.IP, err)}
	}
	if len(c.Rcpt) == 0 || slices.Contains(c.Rcpt, "") {
		return exitError{exitUsage, "--rcpt is empty; name an address"}
	}
	raw, err := c.read(s.In)
	if err != nil {
		return exitError{exitUsage, err.Error()}
	}
	cfg, err := loadConfig(c.Config, s)
	if err != nil {
		return err
	}
	var resolver dns.Resolver
	if c.Zone != "" {
		if resolver, err = zoneResolver(c.Zone); err != nil {
			return exitError{exitUsage, err.Error()}
		}
	}
	ctx, stop := s.context()
	defer stop()
	last := &lastRecord{}
	eng, closeEngine, err := app.Offline(ctx, cfg, app.OfflineOptions{Resolver: resolver, Env: os.Getenv, Observer: last, Greylist: c.Greylist,
		Warn: func(err error) { fmt.Fprintln(s.Err, "mailwicket: warning:", err) }})
	if err != nil {
		return exitError{exitUsage, err.Error()}
	}
	defer closeEngine()
	name := mail.CanonicalDomain(c.PTR)
	plan := c.play(ctx, eng, mail.Conn{Addr: addr, Port: 25000, HostName: name, PTRName: name, MTAName: cmp.Or(cfg.AuthservID, hostName())}, raw)
	return c.print(s.Out, last.r, plan)
}

// maxCheckFile bounds what is read into memory here; the server streams.
const maxCheckFile = 100 << 20

func (c checkCmd) read(stdin io.Reader) ([]byte, error) {
	in := stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxCheckFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxCheckFile {
		return nil, fmt.Errorf("%s: message is larger than 100 MiB", c.File)
	}
	return crlf(raw), nil
}

// crlf gives the line ends of the wire: message files often have bare LF.
func crlf(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

func zoneResolver(path string) (dns.Resolver, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := dnstest.Parse(path, f)
	if err != nil {
		return nil, err
	}
	return z.Resolver(), nil
}

// play drives one session through all stages, as the MTA would: a refused
// recipient ends there, the others go on. One for whom the mail is discarded ends
// it for all.
func (c checkCmd) play(ctx context.Context, eng *filter.Engine, conn mail.Conn, raw []byte) filter.Plan {
	sess := eng.Open(ctx)
	defer sess.Close()
	over := func(a filter.Answer) bool { return a.Verdict >= policy.Discard }
	a := sess.Connect(ctx, conn)
	if over(a) {
		return filter.Plan{Answer: a}
	}
	if a = sess.Helo(ctx, c.Helo, mail.TLS{}); over(a) {
		return filter.Plan{Answer: a}
	}
	if a = sess.Mail(ctx, c.From, filter.Envelope{AuthUser: c.Auth}); over(a) {
		return filter.Plan{Answer: a}
	}
	accepted := 0
	for _, to := range c.Rcpt {
		if a = sess.Rcpt(ctx, to); a.Verdict == policy.Discard {
			return filter.Plan{Answer: a}
		} else if !over(a) {
			accepted++
		}
	}
	if accepted == 0 {
		return filter.Plan{Answer: a}
	}
	// The first empty line ends the header, the first of all included.
	head, body, _ := bytes.Cut(append([]byte("\r\n"), raw...), []byte("\r\n\r\n"))
	head = bytes.TrimPrefix(head, []byte("\r\n"))
	for _, f := range client.Fields(string(head)) {
		sess.Header(f[0], strings.ReplaceAll(f[1], "\n", "\r\n"))
	}
	if a = sess.EndOfHeader(ctx, ""); over(a) {
		return filter.Plan{Answer: a}
	}
	sess.Body(ctx, body)
	return sess.EndOfMessage(ctx, "")
}

func hostName() string {
	if n, err := os.Hostname(); err == nil && n != "" {
		return n
	}
	return "localhost"
}

func (c checkCmd) print(w io.Writer, r *filter.Record, plan filter.Plan) error {
	var headers []string
	for _, h := range plan.Insert {
		headers = append(headers, h.Name+": "+h.Value)
	}
	if r == nil {
		return fmt.Errorf("the engine made no decision")
	}
	if c.JSON {
		out := struct {
			*filter.Record
			Headers []string `json:"headers"`
			Hold    string   `json:"hold,omitempty"`
			Reply   string   `json:"reply,omitempty"`
		}{r, headers, plan.Hold, plan.Text}
		if err := printJSON(w, out); err != nil {
			return err
		}
	} else if err := tell(w, r, story.Options{Headers: headers}); err != nil {
		return err
	}
	switch r.Verdict {
	case policy.Reject, policy.Discard:
		return exitError{status: exitFailed}
	case policy.Tempfail:
		return exitError{status: exitTempfail}
	case policy.Quarantine, policy.Hold:
		return exitError{status: exitQuarantine}
	}
	return nil
}
