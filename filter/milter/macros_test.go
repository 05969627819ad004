package milter

import (
	"strings"
	"testing"

	"mailwicket/filter/mail"
)

// What each MTA sends by default, and on request, is told of rightly (the maps are
// those of Postfix 3.7 and Sendmail 8.17).
func TestMissingMacros(t *testing.T) {
	connect := map[string]string{"j": "mx.example.org", "{daemon_name}": "mx", "v": "Postfix 3.7.11", "_": "h [192.0.2.1]"}
	asked := map[string]string{"j": "mx.example.org", "v": "8.17.1", "_": "h [192.0.2.1]", "{client_ptr}": "h", "{client_resolve}": "OK"}
	for _, c := range []struct {
		name                  string
		at                    mail.Stage
		connect, mail, header map[string]string
		want                  string
	}{
		{"nothing at connect", mail.StageConnect, nil, nil, nil, "j _ v {client_ptr} {client_resolve}"},
		{"Postfix' own list", mail.StageConnect, connect, nil, nil, "{client_ptr} {client_resolve}"},
		{"our list", mail.StageConnect, asked, nil, nil, ""},
		{"no login, no TLS", mail.StageMail, asked, nil, nil, ""},
		{"a login", mail.StageMail, asked, map[string]string{"{auth_type}": "PLAIN", "{auth_authen}": "alice"}, nil, ""},
		{"half a login", mail.StageMail, asked, map[string]string{"{auth_type}": "PLAIN"}, nil, "{auth_authen}"},
		{"half of both", mail.StageMail, asked, map[string]string{"{auth_type}": "PLAIN", "{tls_version}": "TLSv1.3"}, nil, "{auth_authen} {cipher}"},
		{"no queue id", mail.StageHeader, asked, nil, nil, "i"},
		{"the queue id of MAIL", mail.StageHeader, asked, map[string]string{"i": "4F2A1"}, nil, ""},
		{"the queue id", mail.StageHeader, asked, nil, map[string]string{"i": "4F2A1"}, ""},
	} {
		var m macros
		m.set(mail.StageConnect, c.connect)
		m.set(mail.StageMail, c.mail)
		m.set(mail.StageHeader, c.header)
		if got := strings.Join(m.missing(c.at), " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// What is expected is asked for where the MTA lets us.
func TestExpectedMacrosAreAskedFor(t *testing.T) {
	asked := map[string]bool{}
	for _, names := range symbols() {
		for _, n := range names {
			asked[n] = true
		}
	}
	want := append(expected(mail.StageConnect), expected(mail.StageHeader)...)
	for _, c := range companions() {
		want = append(want, c[:]...)
	}
	for _, n := range want {
		if !asked[n] {
			t.Errorf("%s is not asked for", n)
		}
	}
}
