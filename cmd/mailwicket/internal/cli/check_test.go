package cli

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailwicket/cmd/mailwicket/internal/golden"
	"mailwicket/filter/casefile"
)

// noCheck are cases that the command line cannot tell: it always has a client
// and a HELO name.
var noCheck = map[string]bool{"no-client-address": true, "no-client-address-unsigned": true, "no-helo": true, "no-helo-null-sender": true}

var statusOf = map[string]int{"accept": 0, "reject": 1, "discard": 1, "tempfail": 3, "quarantine": 4}

// temporary is the directory in the name of a file.
var temporary = regexp.MustCompile(`/\S*/Test\w+/\d+/`)

// TestCheckExplains plays the cases of messages through the command: it ends as
// each case wants, and says why in the words of testdata/explained.txt: all that
// it says under standard, and what is different under strict.
func TestCheckExplains(t *testing.T) {
	files, err := filepath.Glob("../../../../filter/testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var b strings.Builder
	for _, file := range files {
		c := casefile.Read(t, file)
		if noCheck[c.Name] {
			continue
		}
		fmt.Fprintf(&b, "== %s\n# %s\n", c.Name, c.Why)
		standard, strict := explained(t, c, "standard"), explained(t, c, "strict")
		fmt.Fprintf(&b, "%s\nstrict:\n", strings.Join(standard, "\n"))
		if slices.Equal(standard, strict) {
			b.WriteString("  The same.\n")
		}
		for _, l := range strict {
			if !slices.Contains(standard, l) {
				fmt.Fprintln(&b, l)
			}
		}
		b.WriteString("\n")
	}
	golden.Compare(t, "testdata/explained.txt", b.String())
}

// explained gives the sentences that check prints, and sees to the exit status.
func explained(t *testing.T, c *casefile.Case, profile string) []string {
	t.Helper()
	s := c.Session
	zone := c.Zone
	conf := "profile: " + profile + "\nauthserv_id: mx.our.example\ngreylist: {scope: \"off\"}\n"
	if len(s.Sealers) > 0 {
		conf += "arc: {trusted_sealers: [" + strings.Join(s.Sealers, ", ") + "]}\n"
	}
	if len(s.Trusted) > 0 {
		conf += "trusted: {networks: [" + s.Trusted[0].String() + "]}\n"
	}
	if s.DNSBL != "" {
		conf += "dnsbl: [{zone: " + s.DNSBL + ".example, type: ip, codes: {\"127.0.0.2\": listed}}]\n"
		zone += "1.2.0.192." + s.DNSBL + ".example A 127.0.0.2\n2.0.0.127." + s.DNSBL + ".example A 127.0.0.2\n"
	}
	if s.Links != "" {
		conf += "lists: [{name: harmful, type: domain, file: " + write(t, "harmful.txt", strings.ReplaceAll(s.Links, " ", "\n")) + ", apply: [links]}]\n"
	}
	config := write(t, "c.yaml", conf)
	args := []string{"check", write(t, "m.eml", c.Message), "--ip", s.Client, "--helo", s.Helo, "--ptr", s.Name, "--auth", s.Auth,
		"--from", s.MailFrom, "--zone", write(t, "zone", zone), "--config", config}
	for _, r := range s.Rcpts {
		args = append(args, "--rcpt", r)
	}
	status, out, errs := run(args...)
	if tries := c.Tries(t, profile); len(tries) > 0 {
		want, _, _ := strings.Cut(tries[0].Want, " ")
		if wanted, known := statusOf[want]; !known || status != wanted {
			t.Errorf("%s, %s: status %d, want %s\n%s%s", c.Name, profile, status, want, out, errs)
		}
	}
	_, words, _ := strings.Cut(out, "\nin short\n")
	words, _, _ = strings.Cut(words, "\n\n")
	words = temporary.ReplaceAllString(words, "")
	return strings.Split(reference.ReplaceAllString(words, "REF"), "\n")
}
