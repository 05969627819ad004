package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	shortConnect = 2 * time.Second
	progress     = 10 * time.Second // the pace of our progress packets at the end of a message
	protocol     = 6                // the first with exact header bytes
)

// mta compares the MTA's settings with ours.
func (x *examiner) mta() {
	if x.MTA == nil {
		if x.NoMTA != "" {
			x.unknownMTA(x.NoMTA)
		}
		return
	}
	if x.Settings == nil {
		return
	}
	m := x.MTA
	var ours []Filter
	for _, f := range m.Filters {
		if x.isOurs(f) {
			ours = append(ours, f)
		}
	}
	if len(ours) == 0 {
		x.unattached()
		return
	}
	for _, f := range ours {
		x.patience(f)
		x.away(f)
	}
	if m.Protocol > 0 && m.Protocol < protocol {
		x.add("mta-protocol", Finding{Summary: "Postfix speaks an old version of the milter protocol: DKIM signatures with c=simple fail",
			Evidence: []string{fmt.Sprintf("milter_protocol = %d (%s)", m.Protocol, m.Source)},
			Fix:      "take milter_protocol out, or write", Place: "main.cf", Lines: []string{"milter_protocol = 6"}})
	}
	for _, f := range m.Local {
		if x.isOurs(f) {
			x.add("mta-local-mail", Finding{Summary: "the filter is asked about mail of local programs: a refused recipient stays in the maildrop for ever",
				Evidence: []string{fmt.Sprintf("non_smtpd_milters has %s (%s)", f.Address, m.Source)},
				Fix:      "leave it empty", Place: "main.cf", Lines: []string{"non_smtpd_milters ="}})
			return
		}
	}
}

func (x *examiner) unknownMTA(why string) {
	x.add("mta-unknown", Finding{Summary: "the MTA's settings are not known: its time limits were not compared with ours", Evidence: []string{why},
		Fix: "run doctor on the MTA's machine, or name its file", Place: "the command line",
		Lines: []string{"mailwicket doctor --main-cf /etc/postfix/main.cf", "mailwicket doctor --sendmail-mc /etc/mail/sendmail.mc"}})
}

// unattached tells that the MTA does not ask us. Where mail comes nevertheless, and
// nobody said that this is the MTA, it is another one.
func (x *examiner) unattached() {
	m := x.MTA
	have := []string{}
	for _, f := range m.Filters {
		have = append(have, f.Address+" ("+f.Where+")")
	}
	seen := fmt.Sprintf("its milters are %s, ours are %s", strings.Join(have, ", "), strings.Join(x.Settings.Listen, ", "))
	if len(have) == 0 {
		seen = fmt.Sprintf("it has no milters; ours are %s", strings.Join(x.Settings.Listen, ", "))
	}
	if !m.Named && x.Traffic != nil && x.Traffic.Messages > 0 && !x.Traffic.FromDisk {
		x.unknownMTA("mail comes from an MTA that is not the " + m.Kind + " of this machine (" + m.Source + "): " + seen)
		return
	}
	f := Finding{Summary: "the MTA does not ask us: mail passes unfiltered", Evidence: []string{m.Source + ": " + seen}, Fix: "attach the filter"}
	if m.Kind == Postfix {
		f.Place, f.Lines = "main.cf", []string{"smtpd_milters = " + postfixAddress(x.Settings.Listen), "milter_default_action = tempfail"}
	} else {
		f.Place = "sendmail.mc"
		f.Lines = []string{fmt.Sprintf("INPUT_MAIL_FILTER(`mailwicket', `S=%s, F=T, T=C:10s;S:10s;R:30s;E:5m')dnl", sendmailAddress(x.Settings.Listen))}
	}
	x.add("mta-not-attached", f)
}

// budget is how long we may take for an answer, and why.
type budget struct {
	span time.Duration
	why  string
	key  string // that makes it so; "" where it is fixed
}

// headerBudget is that of the end of the header: message_timeout can only make it
// shorter.
func (s *Settings) headerBudget() budget {
	b := budget{span: s.Header, why: "the end of the header may take " + short(s.Header)}
	if s.Header == s.Message {
		b.key = "milter.message_timeout"
	}
	return b
}

// patience compares what the MTA waits for with what we may take.
func (x *examiner) patience(f Filter) {
	s, sendmail := x.Settings, x.MTA.Kind == Sendmail
	command := budget{s.Command, "milter.command_timeout is " + short(s.Command), "milter.command_timeout"}
	message := budget{s.Message, "milter.message_timeout is " + short(s.Message), "milter.message_timeout"}
	header := s.headerBudget()
	if sendmail && header.span > command.span { // its R: holds for all replies
		command = header
	}
	if f.Command.For <= command.span {
		x.add("mta-command-timeout", x.late(f, f.Command, "command", command))
	}
	switch {
	case sendmail && f.Content.For <= message.span: // its E: is for all of it
		x.add("mta-content-timeout", x.late(f, f.Content, "content", message))
	case !sendmail && f.Content.For <= max(header.span, progress):
		x.add("mta-content-timeout", x.late(f, f.Content, "content", header))
	case !sendmail && f.Content.For <= message.span:
		x.add("mta-content-short", x.late(f, f.Content, "content", message))
	}
	if f.Connect.For < shortConnect {
		found := x.late(f, f.Connect, "connect", budget{})
		found.Summary = "the MTA waits for a connection for " + short(f.Connect.For) + " only"
		x.add("mta-connect-timeout", found)
	}
}

// late tells that the MTA gives up too soon.
func (x *examiner) late(f Filter, p Patience, what string, ours budget) Finding {
	out := Finding{Summary: fmt.Sprintf("the MTA gives up after %s, we may take %s", short(p.For), short(ours.span)),
		Evidence: []string{fmt.Sprintf("%s: %s, for %s", x.MTA.Source, p.Given, f.Address)}, Key: ours.key, Fix: "let the MTA wait longer"}
	if ours.why != "" {
		out.Evidence = append(out.Evidence, ours.why)
	}
	if ours.key != "" {
		out.Fix += ", or lower " + ours.key
	}
	least := map[string]time.Duration{"connect": 30 * time.Second, "command": 30 * time.Second, "content": 300 * time.Second}[what]
	least = max(least, (ours.span + ours.span/2).Round(time.Second))
	switch {
	case x.MTA.Kind == Sendmail:
		letter := map[string]string{"connect": "C", "command": "R", "content": "E"}[what]
		out.Place, out.Lines = "sendmail.mc, in T= of INPUT_MAIL_FILTER", []string{letter + ":" + short(least)}
	case p.Own:
		out.Place, out.Lines = "main.cf, in the braces of "+f.Where, []string{what + "_timeout=" + short(least)}
	default:
		out.Place, out.Lines = "main.cf", []string{"milter_" + what + "_timeout = " + short(least)}
	}
	return out
}

// away looks at what happens while the filter is away.
func (x *examiner) away(f Filter) {
	why := map[string]string{"accept": "mail passes unfiltered", "reject": "mail is refused for good", "quarantine": "mail is put on hold",
		"": "mail passes unfiltered"}[f.Action.Word]
	if why == "" {
		return
	}
	out := Finding{Summary: "while the filter is away " + why, Evidence: []string{fmt.Sprintf("%s: %s, for %s", x.MTA.Source, f.Action.Given, f.Address)},
		Fix: "let it answer 451, so that senders come again", Place: "main.cf", Lines: []string{"milter_default_action = tempfail"}}
	switch {
	case x.MTA.Kind == Sendmail:
		out.Place, out.Lines = "sendmail.mc, in INPUT_MAIL_FILTER", []string{"F=T"}
	case f.Action.Own:
		out.Place, out.Lines = "main.cf, in the braces of "+f.Where, []string{"default_action=tempfail"}
	}
	x.add("mta-default-action", out)
}

// isOurs tells whether a milter is one of our sockets.
func (x *examiner) isOurs(f Filter) bool {
	for _, ours := range x.Settings.Listen {
		if sameSocket(ours, f.Address) {
			return true
		}
	}
	return false
}

// sameSocket compares an address that we listen on with one that an MTA asks.
func sameSocket(ours, theirs string) bool {
	kind, a, _ := strings.Cut(ours, ":")
	other, b, _ := strings.Cut(theirs, ":")
	if kind == "unix" || other == "unix" {
		// A chrooted smtpd, and paths below the queue directory, see the end of it.
		b = "/" + strings.TrimPrefix(b, "/")
		return kind == other && (a == b || strings.HasSuffix(a, b))
	}
	ourHost, ourPort, err := net.SplitHostPort(a)
	host, port, err2 := net.SplitHostPort(b)
	if err != nil || err2 != nil || port != ourPort {
		return false
	}
	x, err := netip.ParseAddr(ourHost)
	y, err2 := netip.ParseAddr(host)
	switch {
	case err != nil || err2 != nil: // a name: it may be ours
		return true
	case x.IsUnspecified():
		return true
	}
	return x == y
}

func postfixAddress(listen []string) string {
	if len(listen) == 0 {
		return "inet:127.0.0.1:8891"
	}
	kind, rest, _ := strings.Cut(listen[0], ":")
	if kind == "unix" {
		return listen[0]
	}
	return "inet:" + reachable(rest)
}

// sendmailAddress writes an address as Sendmail does: inet:PORT@HOST.
func sendmailAddress(listen []string) string {
	if len(listen) == 0 {
		return "inet:8891@127.0.0.1"
	}
	kind, rest, _ := strings.Cut(listen[0], ":")
	if kind == "unix" {
		return "local:" + rest
	}
	host, port, err := net.SplitHostPort(reachable(rest))
	if err != nil {
		return listen[0]
	}
	if strings.Contains(host, ":") {
		kind = "inet6"
	}
	return kind + ":" + port + "@" + host
}

// reachable puts loopback in place of all interfaces.
func reachable(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if a, bad := netip.ParseAddr(host); err == nil && (host == "" || bad == nil && a.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return hostPort
}

// short writes a time without needless zeros: 8s, 1m30s, 5m.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
