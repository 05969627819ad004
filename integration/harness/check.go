package harness

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// field is one header field of a delivered message, unfolded.
type field struct{ name, value string }

// header splits a message; the fold's line ends are taken out, all other bytes
// stay.
func header(msg []byte) ([]field, []byte) {
	head, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	var fs []field
	for _, line := range strings.Split(string(head), "\r\n") {
		if line != "" && (line[0] == ' ' || line[0] == '\t') && len(fs) > 0 {
			fs[len(fs)-1].value += line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fs = append(fs, field{name, strings.TrimSpace(value)})
	}
	return fs, body
}

// wanted is the part "delivered" in order: first what counts messages, then
// what is wanted of each.
func (s *stage) checkDelivered() error {
	count, held := 0, 0
	var each []string
	if s.c.delivered != "" {
		count = 1
	}
	for _, line := range lines(s.vars.Replace(s.c.delivered), s.mta.Kind) {
		word, arg, _ := strings.Cut(line, " ")
		var err error
		switch word {
		case "count":
			count, err = strconv.Atoi(arg)
		case "held":
			held, err = strconv.Atoi(arg)
		default:
			each = append(each, line)
		}
		if err != nil {
			return fmt.Errorf("delivered: %q: %w", line, err)
		}
	}
	wait := 15 * time.Second
	if count == 0 {
		wait = 100 * time.Millisecond
	}
	mails := s.world.Sink.For(s.domain, count, wait)
	if len(mails) != count {
		return fmt.Errorf("delivered: want %d messages, got %d", count, len(mails))
	}
	if n, err := s.mta.Held(s.domain); err != nil {
		return err
	} else if n != held {
		return fmt.Errorf("delivered: want %d on hold, got %d", held, n)
	}
	var errs []error
	for i, m := range mails {
		for _, want := range each {
			// "2> line" is of the second message.
			if n, line, only := strings.Cut(want, "> "); only && len(n) == 1 && n[0] >= '0' && n[0] <= '9' {
				if n != strconv.Itoa(i+1) {
					continue
				}
				want = line
			}
			if err := s.checkMail(m, want); err != nil {
				errs = append(errs, fmt.Errorf("delivered: message %d: %q: %w\n%s", i+1, want, err, firstBytes(m.Data)))
			}
		}
	}
	return errors.Join(errs...)
}

func firstBytes(b []byte) []byte { return b[:min(len(b), 2500)] }

func (s *stage) checkMail(m Mail, want string) error {
	fields, body := header(m.Data)
	word, arg, _ := strings.Cut(want, " ")
	switch word {
	case "bytes":
		return s.checkBytes(m.Data, body, arg)
	case "rcpt":
		if got := strings.Join(m.Rcpts, " "); strings.Count(got, "<") != len(strings.Fields(arg)) || !containsAll(got, strings.Fields(arg)) {
			return fmt.Errorf("got %s", got)
		}
		return nil
	case "top":
		if len(fields) == 0 || !strings.EqualFold(fields[0].name, arg) {
			return fmt.Errorf("got %q first", fields[0].name)
		}
		return nil
	case "times":
		n, name, _ := strings.Cut(arg, " ")
		if got := len(values(fields, name)); fmt.Sprint(got) != n {
			return fmt.Errorf("got %d", got)
		}
		return nil
	}
	return checkField(fields, want)
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, "<"+p+">") {
			return false
		}
	}
	return true
}

// checkBytes compares with what was sent, byte for byte: "exact" wants it
// whole below the added fields, "body" the body alone.
func (s *stage) checkBytes(data, body []byte, what string) error {
	for _, sent := range s.sent {
		_, sentBody, _ := bytes.Cut(sent, []byte("\r\n\r\n"))
		if what == "exact" && bytes.HasSuffix(data, append([]byte("\r\n"), sent...)) {
			return nil
		}
		if what == "body" && bytes.Equal(body, sentBody) {
			return nil
		}
	}
	return errors.New("not what was sent")
}

// checkField tries "Name: regexp" (some field of that name matches), "!Name"
// (there is none) and "!Name: regexp" (none matches).
func checkField(fields []field, want string) error {
	not := strings.HasPrefix(want, "!")
	name, pattern, _ := strings.Cut(strings.TrimPrefix(want, "!"), ":")
	re, err := regexp.Compile("(?s)" + strings.TrimSpace(pattern))
	if err != nil {
		return err
	}
	vs := values(fields, name)
	for _, v := range vs {
		if re.MatchString(v) {
			if not {
				return fmt.Errorf("is there: %q", v)
			}
			return nil
		}
	}
	if not {
		return nil
	}
	return fmt.Errorf("not found; there is %q", vs)
}

func values(fields []field, name string) []string {
	var vs []string
	for _, f := range fields {
		if strings.EqualFold(strings.TrimSpace(f.name), name) {
			vs = append(vs, f.value)
		}
	}
	return vs
}

// checkLogs wants a line for each regexp, in the filter's log and the MTA's.
func (s *stage) checkLogs() error {
	return errors.Join(
		grep("log", lines(s.vars.Replace(s.c.log), s.mta.Kind), s.filter.Output),
		grep("mtalog", lines(s.vars.Replace(s.c.mtaLog), s.mta.Kind), s.mtaLog))
}

func grep(part string, wants []string, text func() string) error {
	var errs []error
	for _, want := range wants {
		re, err := regexp.Compile("(?m)" + strings.TrimPrefix(want, "!"))
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		wantFound := !strings.HasPrefix(want, "!")
		found := re.MatchString(text())
		for end := time.Now().Add(3 * time.Second); wantFound && !found && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
			found = re.MatchString(text())
		}
		if found != wantFound {
			errs = append(errs, fmt.Errorf("%s: want %q", part, want))
		}
	}
	return errors.Join(errs...)
}

func (s *stage) checkMetrics() error {
	wants := lines(s.vars.Replace(s.c.metrics), s.mta.Kind)
	if len(wants) == 0 {
		return nil
	}
	var errs []error
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		page, err := s.filter.Metrics()
		if err != nil {
			return err
		}
		errs = nil
		for _, want := range wants {
			if err := checkMetric(page, want); err != nil {
				errs = append(errs, err)
			}
		}
		if len(errs) == 0 || time.Now().After(end) {
			return errors.Join(errs...)
		}
	}
}
