package cli

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// explainSoon waits for the journal, which is written beside the mail.
func (s *served) explainSoon(ref string) string {
	s.t.Helper()
	for range 100 {
		if status, out, _ := run("explain", ref, "--admin", s.admin); status == 0 {
			return out
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("%q is not explained", ref)
	return ""
}

// TestExplainRecipients: one reference is given to all recipients of a mail. Who
// was refused learns that, whatever became of the others.
func TestExplainRecipients(t *testing.T) {
	s := serve(t, withZone(t, serveConf)+`  - {name: no-kim, when: {rcpt.address: kim@home.example}, do: {reject: {text: "{rcpt.address} wants no mail"}}}
  - {name: no-pat, when: {rcpt.address: pat@home.example}, do: {tempfail: {text: "{rcpt.address} is away"}}}
  - {name: pat-only, when: {rcpt.address: sam@home.example}, do: {tag: sams}}
  - {name: sams, stage: message, when: {tags: sams, spf.result: fail}, do: reject}
`)
	for name, c := range map[string]struct {
		to   []string
		want []string
	}{
		"one of two": {[]string{"lou@home.example", "kim@home.example"},
			[]string{"  accepted for lou@home.example; refused for kim@home.example by rule no-kim (", "was told: for kim@home.example: kim@home.example wants no mail"}},
		"the first": {[]string{"kim@home.example", "lou@home.example"},
			[]string{"  accepted for lou@home.example; refused for kim@home.example by rule no-kim ("}},
		"one later": {[]string{"lou@home.example", "sam@home.example"},
			[]string{"  accepted for lou@home.example; deferred for sam@home.example by rule recipients-differ", "again by itself for sam@home.example."}},
		"all, each by a rule": {[]string{"kim@home.example", "pat@home.example"},
			[]string{"  refused for kim@home.example by rule no-kim (", "deferred for pat@home.example by rule no-pat ("}},
		"many": {[]string{"a@home.example", "b@home.example", "c@home.example", "d@home.example", "kim@home.example"},
			[]string{"  accepted for 4 recipients; refused for kim@home.example by rule no-kim ("}},
	} {
		t.Run(name, func(t *testing.T) {
			ref := ""
			for _, r := range s.messageTo("x@shop.example", c.to...) {
				if found := reference.FindString(r.Text); found != "" {
					ref = found
				}
			}
			story := s.explainSoon(ref)
			head, _, _ := strings.Cut(story, "\n")
			if !strings.Contains(head, c.want[0]) {
				t.Errorf("head %q", head)
			}
			for _, want := range c.want {
				if strings.Contains(story, "No rule spoke against it") || !strings.Contains(story, strings.TrimSpace(want)) {
					t.Errorf("explain lacks %q:\n%s", want, story)
				}
			}
		})
	}
}

// TestExplainAsSaid: a reference or Message-ID is found as people hand it on.
func TestExplainAsSaid(t *testing.T) {
	s := serve(t, withZone(t, serveConf))
	ref := reference.FindString(s.message("x@refused.example").Text)
	s.explainSoon(ref)
	bare := strings.ReplaceAll(ref, "-", "")
	for _, said := range []string{bare, strings.ToLower(bare), bare[:5] + " " + bare[5:], "(ref " + ref + ")", "ref " + bare, "REF " + ref, "\t" + ref + " \n"} {
		for _, where := range [][]string{{"--admin", s.admin}, {"--journal", filepath.Join(s.dir, "data", "journal")}} {
			status, out, errs := run(append([]string{"explain", said}, where...)...)
			if status != 0 || !strings.HasPrefix(out, ref+"  refused by rule no-shop") {
				t.Errorf("%q, %s: status %d\n%s%s", said, where[0], status, out, errs)
			}
		}
	}
}
