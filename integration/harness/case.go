package harness

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Case is one file of integration/cases; integration/README.md tells the form.
type Case struct {
	Name    string
	Comment string
	MTAs    []string // "postfix", "sendmail"
	Redis   bool

	config, zone, sign   string
	dialogue, delivered  string
	log, mtaLog, metrics string
	lists, messages      map[string]string

	walk  bool        // made of a howto
	files [][2]string // its further configurations: name, text
}

var tagLine = regexp.MustCompile(`(?m)^(mta|needs): (.*)$`)

// ReadCase reads and checks a case file.
func ReadCase(path string) (*Case, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := parseCase(strings.TrimSuffix(filepath.Base(path), ".txtar"), b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseCase(name string, b []byte) (*Case, error) {
	ar := txtar.Parse(b)
	c := &Case{Name: name, Comment: strings.TrimSpace(string(ar.Comment)), MTAs: []string{"postfix", "sendmail"},
		lists: map[string]string{}, messages: map[string]string{}}
	for _, m := range tagLine.FindAllStringSubmatch(c.Comment, -1) {
		words := strings.Fields(m[2])
		if m[1] == "mta" {
			c.MTAs = words
		} else {
			c.Redis = slices.Contains(words, "redis")
		}
	}
	parts := map[string]*string{"config": &c.config, "zone": &c.zone, "sign": &c.sign, "dialogue": &c.dialogue,
		"delivered": &c.delivered, "log": &c.log, "mtalog": &c.mtaLog, "metrics": &c.metrics}
	for _, f := range ar.Files {
		switch list, isList := strings.CutPrefix(f.Name, "lists/"); {
		case isList:
			c.lists[list] = string(f.Data)
		case strings.HasSuffix(f.Name, ".eml"):
			c.messages[f.Name] = string(f.Data)
		case parts[f.Name] != nil:
			*parts[f.Name] = string(f.Data)
		default:
			return nil, fmt.Errorf("unknown part %q", f.Name)
		}
	}
	switch {
	case c.Comment == "":
		return nil, fmt.Errorf("no comment that says what the case shows")
	case c.dialogue == "":
		return nil, fmt.Errorf("no dialogue")
	}
	return c, nil
}

var (
	escape = regexp.MustCompile(`\\x[0-9a-fA-F]{2}`)
	repeat = regexp.MustCompile(`(?m)^\{repeat ([0-9]+)\} (.*)\n`)
)

// message gives the bytes to send: repeated lines written out, LF made CRLF,
// then \xNN made the byte.
func message(text string) []byte {
	text = repeat.ReplaceAllStringFunc(text, func(s string) string {
		m := repeat.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return s
		}
		return strings.Repeat(m[2]+"\n", n)
	})
	b := bytes.ReplaceAll([]byte(text), []byte("\n"), []byte("\r\n"))
	return escape.ReplaceAllFunc(b, func(s []byte) []byte {
		out, err := hex.DecodeString(string(s[2:]))
		if err != nil {
			return s
		}
		return out
	})
}

// lines gives the lines of a part that hold for an MTA: blank ones and those
// that begin with "#" are left out, "@postfix " in front means Postfix alone.
func lines(part, mta string) []string {
	var out []string
	for line := range strings.Lines(part) {
		line = strings.TrimRight(line, "\r\n")
		for _, kind := range []string{"postfix", "sendmail"} {
			if rest, ok := strings.CutPrefix(line, "@"+kind+" "); ok {
				line = ""
				if kind == mta {
					line = rest
				}
			}
		}
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}
