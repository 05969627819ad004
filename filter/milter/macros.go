package milter

import "mailwicket/filter/mail"

// expected names the macros that we read and that each MTA has by a stage, if it
// was told to send them.
func expected(stage mail.Stage) []string {
	switch stage {
	case mail.StageConnect:
		return []string{"j", "_", "v", "{client_ptr}", "{client_resolve}"}
	case mail.StageHeader:
		return []string{"i"}
	}
	return nil
}

// companions come together or not at all: with a login, and with TLS.
func companions() [][2]string {
	return [][2]string{{"{auth_type}", "{auth_authen}"}, {"{tls_version}", "{cipher}"}}
}

// missing names the macros that should have come by a stage and have not. Where
// nobody logs in and nobody uses TLS, theirs are not missed.
func (m *macros) missing(stage mail.Stage) []string {
	var out []string
	for _, name := range expected(stage) {
		if m.get(bare(name)) == "" {
			out = append(out, name)
		}
	}
	if stage != mail.StageMail {
		return out
	}
	for _, c := range companions() {
		if m.get(bare(c[0])) != "" && m.get(bare(c[1])) == "" {
			out = append(out, c[1])
		}
	}
	return out
}

// bare takes the braces off a name.
func bare(name string) string {
	if len(name) > 2 {
		return name[1 : len(name)-1]
	}
	return name
}
