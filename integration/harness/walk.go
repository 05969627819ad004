package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ReadWalk makes a case of a howto whose blocks can be carried out:
//
//	yaml      a configuration; its first line is a comment with the file's name
//	eml       message.eml
//	smtp      lines of a dialogue
//	console   "$ command" and what it prints; "..." stands for anything
//
// home.example is the recipients' domain. The first reference on the page stands
// for the one that the filter gives.
func ReadWalk(path string) (*Case, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Case{Name: filepath.Base(path), Comment: "a howto does what it says", MTAs: []string{"postfix"}, walk: true,
		lists: map[string]string{}, messages: map[string]string{}, delivered: "count 1\n"}
	var script strings.Builder
	for i, part := range strings.Split(string(b), "\n```") {
		kind, text, _ := strings.Cut(part, "\n")
		if i%2 == 0 {
			continue
		}
		switch kind {
		case "eml":
			c.messages["message.eml"] = text + "\n"
		case "smtp":
			script.WriteString(text + "\n")
		case "yaml":
			head, _, _ := strings.Cut(text, "\n")
			name := strings.TrimPrefix(head, "# ")
			if c.config == "" {
				c.config = text
				continue
			}
			c.files = append(c.files, [2]string{name, text})
		case "console":
			for line := range strings.Lines(text + "\n") {
				if command, ok := strings.CutPrefix(line, "$ "); ok {
					script.WriteString("RUN " + command)
				} else {
					script.WriteString("OUT: " + line)
				}
			}
		default:
			return nil, fmt.Errorf("%s: a block of kind %q cannot be tried", path, kind)
		}
	}
	c.dialogue = script.String()
	return c, nil
}

var anyReference = regexp.MustCompile(`\b[0-9A-Z]{5}-[0-9A-Z]{5}\b`)

// here gives a line of a howto the names of this run.
func (p *player) here(line string) string {
	if !p.c.walk {
		return line
	}
	line = strings.ReplaceAll(line, "home.example", p.domain)
	line = strings.ReplaceAll(line, "/etc/mailwicket/", p.dir+"/")
	line = strings.ReplaceAll(line, "/var/lib/mailwicket/", p.dir+"/data/")
	if p.ref != "" {
		line = anyReference.ReplaceAllString(line, p.ref)
	}
	return line
}

// run carries out a command until it prints what is wanted: the journal is
// written beside the mail, and a reload takes a moment.
func (p *player) run(command string, want []string) error {
	if command == "systemctl reload mailwicket" {
		return p.reload()
	}
	var out []byte
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		cmd := exec.Command("sh", "-c", `mailwicket() { "$MAILWICKET_BIN" "$@"; }; `+command) // as who reads the howto
		cmd.Dir, cmd.Env = p.dir, append(os.Environ(), "MAILWICKET_ADMIN="+p.filter.Admin, "MAILWICKET_BIN="+p.world.bin)
		if out, err = cmd.CombinedOutput(); err == nil {
			err = printed(string(out), want)
		}
		if err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%w\nprinted:\n%s", err, out)
	}
	return nil
}

// reload does what the unit file makes of systemctl reload, and waits until the
// filter has taken the file.
func (p *player) reload() error {
	before := strings.Count(p.filter.Output(), "configuration taken")
	if err := p.filter.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if strings.Count(p.filter.Output(), "configuration taken") > before {
			return nil
		}
	}
	return fmt.Errorf("the configuration is not taken")
}

// printed tells whether a text has the lines wanted, one after another, with
// nothing between them but where "..." is.
func printed(text string, want []string) error {
	var re strings.Builder
	re.WriteString(`(?s)^`)
	for _, line := range want {
		if line == "..." {
			re.WriteString(`.*?`)
			continue
		}
		parts := strings.Split(line, "...")
		for i, s := range parts {
			parts[i] = regexp.QuoteMeta(s)
		}
		re.WriteString(strings.Join(parts, `[^\n]*`) + `\n`)
	}
	if !regexp.MustCompile(re.String()).MatchString(text) {
		return fmt.Errorf("it does not print what the howto shows: %q", want)
	}
	return nil
}

// outputs takes the lines of a console block that follow a command.
func outputs(script []string) []string {
	n := slices.IndexFunc(script, func(l string) bool { return !strings.HasPrefix(l, "OUT: ") })
	if n < 0 {
		n = len(script)
	}
	var out []string
	for _, l := range script[:n] {
		out = append(out, strings.TrimPrefix(l, "OUT: "))
	}
	return out
}
