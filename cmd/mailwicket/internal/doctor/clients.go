package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	// enoughMessages are needed to say anything about the mix of clients.
	enoughMessages = 20
	// enoughStages are needed to say that a macro is missing.
	enoughStages = 10
)

// IsPrivate tells addresses that no sender on the internet has.
func IsPrivate(a netip.Addr) bool {
	a = a.Unmap()
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

// clients looks for one private address in place of the senders'.
func (x *examiner) clients() {
	t := x.Traffic
	if t == nil {
		return
	}
	x.authserv(t)
	// Programs of our own, which we trust, may send much; a gateway stands for all.
	share := 2 * t.TopCount
	if t.Trusted != "" {
		share = t.TopCount * 10 / 9
	}
	if t.Messages < enoughMessages || !t.Top.IsValid() || share < t.Messages {
		return
	}
	where := ""
	if t.FromDisk {
		where = ", by the journal"
	}
	seen := []string{fmt.Sprintf("%d of %d messages of clients without login since %s come from %s (%d addresses in all%s)",
		t.TopCount, t.Messages, t.Since.UTC().Format("2006-01-02 15:04 UTC"), t.Top, t.Clients, where)}
	f := Finding{Evidence: seen, Place: "the MTA and its network; see the address of the client in docker.md",
		Summary: fmt.Sprintf("%s stands in place of the real clients: SPF, greylisting and DNS lists judge a gateway", t.Top),
		Fix:     "let the MTA see the real addresses: give its container the host's network, or switch Docker's userland proxy off; behind a proxy use the PROXY protocol",
		Lines:   []string{`network_mode: host`, `{"userland-proxy": false}`, `smtpd_upstream_proxy_protocol = haproxy`}}
	if t.Trusted != "" {
		f.Key = "trusted.networks"
		f.Evidence = append(f.Evidence, "it is trusted ("+t.Trusted+"), so inbound checks are not made at all")
		f.Fix += "; if these are programs of your own, give the filter to the MTA's port 25 alone"
	}
	x.add("client-nat", f)
}

// authserv looks at the name under which results are reported.
func (x *examiner) authserv(t *Traffic) {
	if x.Settings == nil || x.Settings.AuthservID != "" || t.Messages == 0 || strings.Contains(t.MTAName, ".") {
		return
	}
	seen := "the MTA sends no macro j"
	if t.MTAName != "" {
		seen = fmt.Sprintf("macro j is %q", t.MTAName)
	}
	x.add("authserv-id", Finding{Summary: "results are reported under a name that is not a full host name", Evidence: []string{seen},
		Fix: "set it to the MTA's host name", Key: "authserv_id", Lines: []string{"authserv_id: mx.example.org"}})
}

// macros looks for what the MTA does not tell.
func (x *examiner) macros() {
	var seen, names []string
	for _, m := range x.Macros {
		if m.Seen < enoughStages {
			continue
		}
		for name, n := range m.Missing {
			if 2*n > m.Seen {
				seen = append(seen, fmt.Sprintf("%s: not there in %d of %d (%s)", name, n, m.Seen, m.Stage))
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(seen)
	slices.Sort(names)
	place, lines := x.macroLines(names)
	x.add("macros-missing", Finding{Summary: "the MTA does not send " + strings.Join(slices.Compact(names), ", "), Evidence: seen,
		Fix: "name them in its configuration", Place: place, Lines: lines})
}

// macroLines are the settings that bring macros, for the MTA that is known to be
// there, or for both.
func (x *examiner) macroLines(names []string) (place string, lines []string) {
	has := func(all ...string) bool {
		return slices.ContainsFunc(all, func(n string) bool { return slices.Contains(names, n) })
	}
	connect, login, queue := has("j", "_", "v", "{client_ptr}", "{client_resolve}"), has("{auth_authen}"), has("i")
	var postfix, sendmail []string
	if connect {
		postfix = append(postfix, "milter_connect_macros = j {daemon_name} {daemon_addr} v _ {client_addr} {client_name} {client_ptr} {client_resolve} {client_port}")
		sendmail = append(sendmail, "define(`confMILTER_MACROS_CONNECT', `j, _, {daemon_name}, {if_name}, {if_addr}, {client_addr}, {client_name}, {client_ptr}, {client_resolve}, v')dnl")
	}
	if has("{cipher}") {
		postfix = append(postfix, "milter_helo_macros = {tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}")
		sendmail = append(sendmail, "define(`confMILTER_MACROS_HELO', `{tls_version}, {cipher}, {cipher_bits}, {cert_subject}, {cert_issuer}')dnl")
	}
	if login {
		postfix = append(postfix, "milter_mail_macros = i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}")
		sendmail = append(sendmail, "define(`confMILTER_MACROS_ENVFROM', `i, {auth_type}, {auth_authen}, {auth_ssf}, {auth_author}, {mail_mailer}, {mail_host}, {mail_addr}')dnl")
	}
	if queue {
		postfix = append(postfix, "milter_end_of_header_macros = i", "milter_end_of_data_macros = i")
		sendmail = append(sendmail, "define(`confMILTER_MACROS_EOH', `i, {auth_authen}')dnl", "define(`confMILTER_MACROS_EOM', `i, {auth_authen}')dnl")
	}
	switch x.mtaKind() {
	case Postfix:
		return "main.cf", postfix
	case Sendmail:
		return "sendmail.mc", sendmail
	}
	return "main.cf (Postfix) or sendmail.mc (Sendmail)", append(postfix, sendmail...)
}

// mtaKind tells which MTA is there, by its settings or by what it says of itself;
// "" where neither tells.
func (x *examiner) mtaKind() string {
	switch {
	case x.MTA != nil:
		return x.MTA.Kind
	case x.Traffic == nil || x.Traffic.Version == "":
		return ""
	case strings.HasPrefix(x.Traffic.Version, "Postfix"):
		return Postfix
	}
	return Sendmail
}
