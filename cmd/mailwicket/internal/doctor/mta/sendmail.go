package mta

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/doctor"
)

// The lines that name a milter in sendmail.mc and in sendmail.cf.
var (
	mcFilter = regexp.MustCompile("(?m)^[ \t]*(INPUT_MAIL_FILTER|MAIL_FILTER)\\([ \t]*`([^']*)'[ \t]*,[ \t]*`([^']*)'")
	cfFilter = regexp.MustCompile(`(?m)^X([^,\s]+)[ \t]*,[ \t]*(.*)$`)
	mcInput  = regexp.MustCompile("(?m)^[ \t]*define\\([ \t]*`confINPUT_MAIL_FILTERS'[ \t]*,[ \t]*`([^']*)'")
	cfInput  = regexp.MustCompile(`(?m)^O[ \t]*InputMailFilters[ \t]*=[ \t]*(.*)$`)
)

// SendmailFile reads a sendmail.mc or a sendmail.cf.
func SendmailFile(file string) (*doctor.MTA, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	m, err := sendmail(file, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	m.Named = true
	return m, nil
}

// sendmail makes evidence of either form. Filters that are defined but not asked
// are left out.
func sendmail(source, text string) (*doctor.MTA, error) {
	m := &doctor.MTA{Kind: doctor.Sendmail, Source: source}
	asked := map[string]bool{}
	for _, re := range []*regexp.Regexp{mcInput, cfInput} {
		for _, found := range re.FindAllStringSubmatch(text, -1) {
			for _, name := range strings.FieldsFunc(found[1], func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' }) {
				asked[name] = true
			}
		}
	}
	take := func(name, settings string) error {
		f, err := sendmailFilter(name, settings)
		if err == nil {
			m.Filters = append(m.Filters, f)
		}
		return err
	}
	for _, found := range mcFilter.FindAllStringSubmatch(text, -1) {
		if found[1] == "INPUT_MAIL_FILTER" && len(asked) == 0 || asked[found[2]] {
			if err := take(found[2], found[3]); err != nil {
				return nil, err
			}
		}
	}
	for _, found := range cfFilter.FindAllStringSubmatch(text, -1) {
		if asked[found[1]] {
			if err := take(found[1], found[2]); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// sendmailFilter reads S=address, F=flags, T=times.
func sendmailFilter(name, settings string) (doctor.Filter, error) {
	f := doctor.Filter{Where: "the filter " + name, Action: doctor.Action{Word: "accept", Given: "no F="}}
	defaultOf := func(d time.Duration, letter string) doctor.Patience {
		return doctor.Patience{For: d, Given: "default " + letter + " of " + d.String()}
	}
	f.Connect, f.Command, f.Content = defaultOf(5*time.Minute, "C:"), defaultOf(10*time.Second, "R:"), defaultOf(5*time.Minute, "E:")
	for part := range strings.SplitSeq(settings, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.TrimSpace(value)
		switch key {
		case "S":
			f.Address = sendmailAddress(value)
		case "F":
			word := map[string]string{"R": "reject", "T": "tempfail", "4": "shutdown"}[value]
			f.Action = doctor.Action{Word: word, Given: "F=" + value}
		case "T":
			if err := times(value, &f); err != nil {
				return f, fmt.Errorf("%s: %w", f.Where, err)
			}
		}
	}
	if f.Address == "" {
		return f, fmt.Errorf("%s: no address S= %w", f.Where, ErrSetting)
	}
	return f, nil
}

// times reads C:10s;S:10s;R:30s;E:5m.
func times(text string, f *doctor.Filter) error {
	for part := range strings.SplitSeq(text, ";") {
		letter, value, _ := strings.Cut(strings.TrimSpace(part), ":")
		to := map[string]*doctor.Patience{"C": &f.Connect, "R": &f.Command, "E": &f.Content}[letter]
		if to == nil {
			continue // S: is about sending
		}
		d, err := span(strings.TrimSpace(value))
		if err != nil {
			return err
		}
		*to = doctor.Patience{For: d, Given: "T=" + letter + ":" + value}
	}
	return nil
}

// sendmailAddress writes inet:PORT@HOST as inet:HOST:PORT, local:PATH as unix:PATH.
func sendmailAddress(s string) string {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "unix:" + s // a bare path
	}
	switch kind {
	case "inet", "inet6":
		port, host, ok := strings.Cut(rest, "@")
		if !ok {
			host = "localhost"
		}
		if strings.Contains(host, ":") {
			host = "[" + strings.Trim(host, "[]") + "]"
		}
		return "inet:" + host + ":" + port
	case "local":
		return "unix:" + rest
	}
	return s
}
