package spf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/mail"
)

// The suites are not in the repository. The library's module has them.
func suiteDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "testdata")
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		t.Skipf("the module of the SPF library is not at hand: %v", err)
	}
	return dir
}

// list takes a scalar for a list of one.
type list []string

func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = list{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

type suite struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom string
		Result               list
		Explanation          *string
		Skip                 string
	}
	ZoneData map[string][]map[string]list `yaml:"zonedata"`
}

func loadSuites(t *testing.T, file string) []suite {
	t.Helper()
	f, err := os.Open(filepath.Join(suiteDir(t), file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []suite
	for d := yaml.NewDecoder(f); ; {
		var s suite
		switch err := d.Decode(&s); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// zone turns a suite's data into a zone file. Names with spaces get underscores
// (see spaceless); records of type SPF count as TXT where there is no TXT, as the
// suite has it. A fault is of the types that are not there.
func (s suite) zone(t *testing.T) *dnstest.Zone {
	var b strings.Builder
	for name, records := range s.ZoneData {
		name = strings.ReplaceAll(name, " ", "_")
		text := slices.ContainsFunc(records, func(r map[string]list) bool { return r["TXT"] != nil })
		has, fault := map[string]bool{}, ""
		for _, r := range records {
			for kind, data := range r {
				switch kind {
				case "TIMEOUT":
					fault = "TIMEOUT"
				case "SERVFAIL", "CNAMELOOP":
					fault = "TEMPERROR"
				case "SPF":
					if text {
						continue
					}
					kind = "TXT"
					fallthrough
				default:
					for _, value := range values(t, kind, data) {
						has[kind] = true
						fmt.Fprintf(&b, "%s. %s %s\n", name, kind, value)
					}
				}
			}
		}
		for _, kind := range []string{"TXT", "A", "AAAA", "MX", "PTR"} {
			if fault != "" && !has[kind] {
				fmt.Fprintf(&b, "%s. %s %s\n", name, kind, fault)
			}
		}
	}
	z, err := dnstest.Parse(s.Description, strings.NewReader(b.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return z
}

// values gives the records that an entry of a suite stands for, as zone files
// have them.
func values(t *testing.T, kind string, data list) (out []string) {
	switch text := strings.Join(data, ""); {
	case kind == "A" || kind == "AAAA":
		return data
	case kind == "MX":
		return []string{data[0] + " " + strings.TrimSuffix(data[1], ".") + "."}
	case kind == "TXT" && text != "NONE":
		return []string{escaped(text)}
	case kind == "PTR" || kind == "CNAME":
		for _, name := range data {
			if name != "" {
				out = append(out, strings.TrimSuffix(name, ".")+".")
			}
		}
	case kind != "TXT":
		t.Fatalf("unknown record type %q", kind)
	}
	return out
}

// escaped gives a text as the character-strings of a zone file.
func escaped(s string) string {
	var out []string
	for {
		n := min(len(s), 255)
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `\%03d`, s[i])
		}
		out = append(out, `"`+b.String()+`"`)
		if s = s[n:]; s == "" {
			return strings.Join(out, " ")
		}
	}
}

// qualified gives single labels of a suite a parent. RFC 7208 knows no domain of
// one label (4.3) and no domain-spec (7.1), but the library's own tests are full
// of them; what they test holds with a parent as well.
func (s suite) qualified() suite {
	spec := regexp.MustCompile(`(?i)\b(a|mx|include|exists|ptr|redirect)([:=])([a-z0-9-]+)(\s|/|$)`)
	full := func(name string) string {
		if !strings.Contains(name, ".") && name != "" {
			return name + ".test"
		}
		return name
	}
	zone := map[string][]map[string]list{}
	for name, records := range s.ZoneData {
		for _, r := range records {
			for kind, data := range r {
				for i := range data {
					switch {
					case kind == "TXT" || kind == "SPF":
						data[i] = spec.ReplaceAllString(data[i], "${1}${2}${3}.test${4}")
					case kind == "MX" && i == 1:
						data[i] = full(data[i])
					}
				}
			}
		}
		zone[full(name)] = records
	}
	s.ZoneData = zone
	for name, c := range s.Tests {
		if local, domain, ok := strings.Cut(c.MailFrom, "@"); ok {
			c.MailFrom = local + "@" + full(domain)
			s.Tests[name] = c
		}
	}
	return s
}

// differ are cases of the suites where RFC 7208 says otherwise, with its result.
var differ = map[string]struct {
	result Result
	why    string
}{
	"default-modifier":       {Neutral, "pyspf kept default= of old drafts; unknown modifiers are ignored (RFC 7208, 6)"},
	"default-modifier-harsh": {Neutral, "ambiguous is no result of RFC 7208, and default= is ignored (6)"},
}

// runSuites checks all cases of a file, those that the library's own tests skip too.
func runSuites(t *testing.T, file string, atLeast int, change func(suite) suite) {
	cases, passed, skipped, other := 0, 0, 0, 0
	for _, s := range loadSuites(t, file) {
		if change != nil {
			s = change(s)
		}
		r := spaceless{s.zone(t).Resolver()}
		for name, c := range s.Tests {
			cases++
			f := Check(t.Context(), r, Input{IP: netip.MustParseAddr(c.Host), Helo: c.Helo, MailFrom: mail.ParsePath(c.MailFrom)})
			want := c.Result
			if d, ok := differ[name]; ok {
				other++
				want = list{string(d.result)}
			}
			ok := slices.Contains(want, string(f.Result))
			if c.Explanation != nil {
				text := *c.Explanation
				if text == "DEFAULT" { // the receiver's own, that is, none of the domain's
					text = ""
				}
				ok = ok && strings.EqualFold(f.Explanation, text)
			}
			if !ok {
				t.Errorf("%s: %s: got %+v, want %v", s.Description, name, f, c)
				continue
			}
			if f.Reason == "" {
				t.Errorf("%s: %s: no reason: %+v", s.Description, name, f)
			}
			passed++
			if c.Skip != "" {
				skipped++
			}
			t.Logf("%-40s %-9s %2d %s", name, f.Result, f.Lookups, f.Reason)
		}
	}
	t.Logf("%s: %d cases, %d passed (%d of them skipped by the library's own tests, %d judged against the suite)",
		file, cases, passed, skipped, other)
	if cases < atLeast {
		t.Errorf("%s: only %d cases were read", file, cases)
	}
}

func TestSuiteRFC7208(t *testing.T) { runSuites(t, "rfc7208-tests.yml", 203, nil) }
func TestSuiteLibrary(t *testing.T) { runSuites(t, "blitirispf-tests.yml", 83, suite.qualified) }
func TestSuitePySPF(t *testing.T)   { runSuites(t, "pyspf-tests.yml", 16, nil) }
