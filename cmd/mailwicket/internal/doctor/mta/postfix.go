// Package mta reads how the mail server beside us is set up: Postfix by postconf or
// main.cf, Sendmail by sendmail.mc or sendmail.cf. It gathers evidence for doctor
// and decides nothing. What it cannot read it does not make up.
package mta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mailwicket/cmd/mailwicket/internal/doctor"
)

// ErrNone says that there is no MTA on this machine that could be asked.
var ErrNone = errors.New("neither postconf nor /etc/mail/sendmail.cf is on this machine")

// ErrSetting is a value that cannot be read.
var ErrSetting = errors.New("cannot be read")

const maxFile = 4 << 20

// Local asks the MTA of this machine, Postfix before Sendmail.
func Local(ctx context.Context) (*doctor.MTA, error) {
	if path, err := exec.LookPath("postconf"); err == nil {
		return postconf(ctx, path)
	}
	const cf = "/etc/mail/sendmail.cf"
	if _, err := os.Stat(cf); err == nil {
		return SendmailFile(cf)
	}
	return nil, ErrNone
}

// settings are Postfix' parameters that matter, with its defaults (3.5 to 3.9).
func settings() map[string]string {
	return map[string]string{
		"smtpd_milters": "", "non_smtpd_milters": "", "milter_protocol": "6", "milter_default_action": "tempfail",
		"milter_connect_timeout": "30s", "milter_command_timeout": "30s", "milter_content_timeout": "300s",
	}
}

// postconf asks Postfix itself, so that all its rules of reading hold.
func postconf(ctx context.Context, path string) (*doctor.MTA, error) {
	args := []string{"-x"}
	for name := range settings() {
		args = append(args, name)
	}
	out, err := exec.CommandContext(ctx, path, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return nil, fmt.Errorf("postconf: %s", firstLine(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("postconf: %w", err)
	}
	services := ""
	if dir, err := exec.CommandContext(ctx, path, "-h", "config_directory").Output(); err == nil {
		text, _ := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "master.cf")) // without it there are no overrides
		services = string(text)
	}
	return postfix("postconf", parseMain(string(out)), services)
}

// MainCf reads a main.cf, and the master.cf beside it if there is one.
func MainCf(file string) (*doctor.MTA, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	services, _ := readFile(filepath.Join(filepath.Dir(file), "master.cf")) // without it there are no overrides
	m, err := postfix(file, parseMain(text), services)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	m.Named = true
	return m, nil
}

func readFile(file string) (string, error) {
	st, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return "", fmt.Errorf("%s is no configuration file", file)
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// parseMain reads "name = value" lines; a line that begins with a blank goes on
// with the one before (postconf(5)). Of a name that comes twice the last counts.
func parseMain(text string) map[string]string {
	out := map[string]string{}
	last := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				out[last] = strings.TrimSpace(out[last] + " " + trimmed)
			}
		default:
			name, value, ok := strings.Cut(trimmed, "=")
			if last = strings.TrimSpace(name); ok && last != "" {
				out[last] = strings.TrimSpace(value)
			} else {
				last = ""
			}
		}
	}
	return out
}

// variable is $name, ${name} or $(name). Conditions (${name?value}) are left as
// they stand.
var variable = regexp.MustCompile(`\$(?:(\w+)|\{\s*(\w+)\s*\}|\((\w+)\))`)

// maxValue is far above any parameter, and bounds what parameters that stand for
// themselves blow up to.
const maxValue = 64 << 10

// expand puts the values of parameters in their places.
func expand(value string, all map[string]string) string {
	room := maxValue
	for range 10 { // parameters may stand for parameters
		next := variable.ReplaceAllStringFunc(value, func(s string) string {
			name := strings.Trim(s, "${}() ")
			v, ok := all[name]
			if !ok {
				v, ok = settings()[name]
			}
			if room -= len(v); !ok || room < 0 {
				return s
			}
			return v
		})
		if next == value {
			break
		}
		value = next
	}
	return value
}

// postfix makes evidence of parameters and of master.cf.
func postfix(source string, all map[string]string, services string) (*doctor.MTA, error) {
	get := func(name string) string {
		v, ok := all[name]
		if !ok {
			v = settings()[name]
		}
		return expand(v, all)
	}
	m := &doctor.MTA{Kind: doctor.Postfix, Source: source}
	protocol, err := strconv.Atoi(get("milter_protocol"))
	if err == nil { // "2+" and the like are old forms of lists of words
		m.Protocol = protocol
	}
	d := defaults{get: get}
	if m.Filters, err = d.filters(get("smtpd_milters"), "smtpd_milters"); err != nil {
		return nil, err
	}
	if m.Local, err = d.filters(get("non_smtpd_milters"), "non_smtpd_milters"); err != nil {
		return nil, err
	}
	for i, o := range overrides(services) {
		if i == maxFilters {
			return nil, fmt.Errorf("master.cf: more than %d services with milters %w", maxFilters, ErrSetting)
		}
		more, err := d.filters(expand(o.value, all), "smtpd_milters of "+o.service+" in master.cf")
		if err != nil {
			return nil, err
		}
		m.Filters = append(m.Filters, more...)
	}
	return m, nil
}

// defaults gives milters what they do not say.
type defaults struct{ get func(string) string }

// maxFilters is more milters than any MTA asks.
const maxFilters = 100

// filters reads a list of milters: addresses, or {address, name=value ...}.
func (d defaults) filters(list, where string) ([]doctor.Filter, error) {
	var out []doctor.Filter
	for _, part := range split(list) {
		if len(out) == maxFilters {
			return nil, fmt.Errorf("%s: more than %d milters %w", where, maxFilters, ErrSetting)
		}
		f, err := d.filter(part, where)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// split cuts a list at commas and blanks, outside of braces.
func split(list string) []string {
	var out []string
	depth, start := 0, -1
	for i := 0; i <= len(list); i++ {
		end := i == len(list) || depth == 0 && strings.IndexByte(", \t\n", list[i]) >= 0
		switch {
		case end && start >= 0:
			out = append(out, list[start:i])
			start = -1
		case !end && start < 0:
			start = i
		}
		if i < len(list) {
			switch list[i] {
			case '{':
				depth++
			case '}':
				depth = max(depth-1, 0)
			}
		}
	}
	return out
}

func (d defaults) filter(part, where string) (f doctor.Filter, err error) {
	own := map[string]string{}
	if inner, ok := strings.CutPrefix(part, "{"); ok {
		words := split(strings.TrimSuffix(inner, "}"))
		if len(words) == 0 {
			return f, fmt.Errorf("%q %w", part, ErrSetting)
		}
		part = words[0]
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "{") { // a value with blanks
				w = strings.TrimSuffix(w[1:], "}")
			}
			name, value, _ := strings.Cut(w, "=")
			own[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	f.Address, f.Where = part, where
	for _, p := range []struct {
		name string
		to   *doctor.Patience
	}{{"connect", &f.Connect}, {"command", &f.Command}, {"content", &f.Content}} {
		if *p.to, err = d.patience(p.name+"_timeout", own); err != nil {
			return f, err
		}
	}
	f.Action = doctor.Action{Word: d.get("milter_default_action"), Given: "milter_default_action = " + d.get("milter_default_action")}
	if v, ok := own["default_action"]; ok {
		f.Action = doctor.Action{Word: v, Given: "default_action=" + v, Own: true}
	}
	return f, nil
}

func (d defaults) patience(name string, own map[string]string) (p doctor.Patience, err error) {
	value, mine := own[name]
	if p.Own = mine; mine {
		p.Given = name + "=" + value
	} else {
		value = d.get("milter_" + name)
		p.Given = "milter_" + name + " = " + value
	}
	if p.For, err = span(value); err != nil {
		return p, fmt.Errorf("%s: %w", p.Given, err)
	}
	return p, nil
}

// span reads a time as both MTAs write it: 30s, 5m, 1h, 1d, 1w; seconds without a
// unit.
func span(s string) (time.Duration, error) {
	unit := time.Second
	digits := strings.TrimRight(s, "smhdwSMHDW")
	if tail := strings.ToLower(s[len(digits):]); tail != "" {
		unit = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[tail]
	}
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 31)
	if err != nil || unit == 0 {
		return 0, fmt.Errorf("time %q %w", s, ErrSetting)
	}
	return time.Duration(n) * unit, nil
}

// override is a service of master.cf with milters of its own.
type override struct{ service, value string }

// ownMilters is "-o smtpd_milters=..." or "-o { smtpd_milters = ... }".
var ownMilters = regexp.MustCompile(`[ \t]-o[ \t]*(?:\{[ \t]*smtpd_milters[ \t]*=([^}]*)\}|smtpd_milters=(\S*))`)

// overrides finds the milters of single services of master.cf (master(5)).
func overrides(text string) []override {
	var lines []string
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && len(lines) > 0:
			lines[len(lines)-1] += " " + trimmed
		default:
			lines = append(lines, trimmed)
		}
	}
	var out []override
	for _, line := range lines {
		for _, found := range ownMilters.FindAllStringSubmatch(line, -1) {
			service, _, _ := strings.Cut(line, " ")
			service, _, _ = strings.Cut(service, "\t")
			out = append(out, override{service, strings.TrimSpace(found[1] + found[2])})
		}
	}
	return out
}
