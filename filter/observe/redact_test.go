package observe

import (
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mailwicket/filter"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// kept are the texts that stay as they are: names of hosts and domains, words of
// fixed tables, and what the configuration names.
var kept = regexp.MustCompile(`^(Ref|Host|Rule|Degraded` +
	`|Facts\.Conn\.(Session|Name\.Value|PTR\.Value|Trusted\.Value|Helo\.Value|HeloIs\.Value|HeloDNS\.Value|MTA\.(Name|Version))` +
	`|Facts\.Conn\.TLS\.Value\.(Version|Cipher|CertIssuer)|Facts\.Conn\.Iprev\.Value\.Names` +
	`|Facts\.Txn\.(QueueID|AuthType|Defects\.Value|Rates\.Value|ListID\.Value|Content\.Value\.(Hosts|Defects)|From\.Value\.(Domains|Defect))` +
	`|Facts\.Txn\.DKIM\.Value\.(Selector|Algorithm|Signature)|Facts\.Txn\.ARC\.Value\.(Sealers|Trusted|Pending)` +
	`|Facts\.Txn\.DMARC\.Value\.(Policy|Record|Org|Aligned)` +
	`|.*\.(Result|Domain|List|Source)|.*Rates\.Value|.*Greylist\.Value\.(Identity|Kind)` +
	`|Decisions\..*\.File|Decisions\.Decision\.(Rule|Tags|Reply\.Enhanced|Headers\.Name|Would\.Rule|Trace\.(Rule|Field))` +
	`|Checks\.Name|DNS\.(Type|Server)|Removed\.Name)$`)

// personal are the fields that hold what is hidden, with the values that they get.
type personal struct {
	locals                   []string // sender, recipient, author, signer, listed, login
	subject, messageID, cert string
}

func (p personal) all() []string {
	return append(slices.Clone(p.locals), p.subject, p.messageID, p.cert)
}

// text quotes everything that is hidden, as texts may.
func (p personal) text() string {
	var b strings.Builder
	for _, s := range p.all() {
		fmt.Fprintf(&b, "a %s, %q (%s) %s; %s. %s", s, s, strings.ToUpper(s), fact.Clean(s), strconv.QuoteToGraphic(s), s[:min(len(s), 100)]+"...")
	}
	for _, l := range p.locals {
		parts := strings.Split(l, ".")
		slices.Reverse(parts)
		fmt.Fprintf(&b, " <%s@host.example>: %s._spf.host.example %s.x", l, strings.Join(parts, "."), l)
	}
	return b.String()
}

// plant fills every text of a record. What is neither kept nor made for a purpose
// gets all that must be hidden: a field that is added and forgotten fails here.
func (p personal) plant(v reflect.Value, path string) {
	switch v.Interface().(type) {
	case mail.Address:
		l := p.locals[1]
		if strings.Contains(path, "MailFrom") {
			l = p.locals[0]
		}
		v.Set(reflect.ValueOf(mail.ParsePath("<" + l + "@Kept.example>")))
		return
	case fact.State:
		v.Set(reflect.ValueOf(fact.Known))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(p.value(path))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			p.plant(v.Index(i), path)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		p.plant(v.Elem(), strings.Replace(path, "Early", "Facts.Conn", 1))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				p.plant(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."))
			}
		}
	}
}

func (p personal) value(path string) string {
	last := path[strings.LastIndexByte(path, '.')+1:]
	switch {
	case kept.MatchString(path):
		return "kept.example"
	case last == "Recipient":
		return p.locals[1] + "@kept.example"
	case strings.HasSuffix(path, "From.Value.Addresses"):
		return p.locals[2] + "@kept.example"
	case last == "Identity":
		return p.locals[3] + "@kept.example"
	case strings.HasSuffix(path, "Value.Subject") || strings.HasSuffix(path, "Value.Entry"):
		return p.locals[4] + "@kept.example"
	case strings.HasSuffix(path, "AuthUser.Value"):
		return p.locals[5]
	case strings.HasSuffix(path, "Subject.Value"):
		return p.subject
	case strings.HasSuffix(path, "MessageID.Value"):
		return p.messageID
	case last == "CertSubject":
		return p.cert
	case path == "Settings":
		return "trusted=1a2b3c4d"
	case path == "DNS.Name":
		return strings.ToLower(p.locals[0]) + "._spf." + "kept.example"
	}
	return p.text()
}

// core is found in no other text.
var core = regexp.MustCompile(`(?i)zq[0-9]+[a-z]`)

// odd draws a value made of cores and what may stand between them.
func odd(t *rapid.T, n int, between []string, label string) string {
	var b strings.Builder
	for i := range rapid.IntRange(1, 3).Draw(t, label) {
		if i > 0 {
			b.WriteString(rapid.SampledFrom(between).Draw(t, label))
		}
		fmt.Fprintf(&b, "Zq%d%c%s", n, 'a'+i, rapid.SampledFrom([]string{"", "X", "longer", strings.Repeat("y", 90)}).Draw(t, label))
	}
	return b.String()
}

func TestRedactedRecordsTellNobody(t *testing.T) {
	_ = flag.Set("rapid.nofailfile", "true") // the seed is told anyway
	_ = flag.Set("rapid.checks", "30")
	rapid.Check(t, func(t *rapid.T) {
		p := personal{cert: "CN=Zq90a"}
		for i := range 6 {
			p.locals = append(p.locals, odd(t, 10+i, []string{".", "+", "-", "_"}, "local"))
		}
		p.subject = odd(t, 20, []string{" ", ` "`, "\t", "é ", "\\", "<&> ", "\x1b[2J", "\u202e"}, "subject")
		p.messageID = "<" + odd(t, 30, []string{".", "$", "/"}, "id") + "@kept.example>"
		var r filter.Record
		p.plant(reflect.ValueOf(&r).Elem(), "")
		before, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out := Redactor([]byte("secret"))(&r)
		after, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if at := core.FindIndex(after); at != nil {
			t.Fatalf("%s is left in ...%s...", after[at[0]:at[1]], after[max(0, at[0]-150):min(len(after), at[1]+100)])
		}
		if unchanged, _ := json.Marshal(r); string(unchanged) != string(before) {
			t.Fatal("the record itself was changed")
		}
		for _, f := range fact.Fields() {
			switch f.Name {
			case "links.listed", "dnsbl.links_listed", "dmarc.override":
				continue // hosts and words, whatever was drawn for them here
			}
			if f.Get != nil && !f.Personal && !reflect.DeepEqual(f.Get(&r.Facts).Text, f.Get(&out.Facts).Text) {
				t.Fatalf("%s is hidden: fact.Fields must call it personal", f.Name)
			}
		}
		if n := strings.Count(string(after), "kept.example"); n < 100 {
			t.Fatalf("of the domains %d are left", n)
		}
	})
}

// What is hidden stays recognizable by its hash, and only by who has the secret.
func TestEqualValuesEqualHashes(t *testing.T) {
	r := &filter.Record{}
	r.Facts.Txn.MailFrom = fact.Is(mail.ParsePath("<Ann@a.example>"))
	r.Facts.Txn.AuthUser = fact.Is("ann@b.example")
	r.Facts.Txn.From = fact.Is(fact.From{Addresses: []string{"ann@a.example"}, Domains: []string{"a.example"}})
	r.Facts.Txn.Subject = fact.Is("Ann")
	r.Decisions = []filter.Decided{{Recipient: "ann", Rcpt: fact.Rcpt{To: fact.Is(mail.ParsePath("<ann>"))}}, {Recipient: "<>"}}
	one, two := Redactor([]byte("1"))(r), Redactor([]byte("2"))(r)
	ann := one.Facts.Txn.MailFrom.Value.Local
	for what, got := range map[string][2]string{
		"raw":             {one.Facts.Txn.MailFrom.Value.Raw, "<" + ann + "@a.example>"},
		"login":           {one.Facts.Txn.AuthUser.Value, ann + "@b.example"},
		"author":          {one.Facts.Txn.From.Value.Addresses[0], ann + "@a.example"},
		"without domain":  {one.Decisions[0].Recipient, ann},
		"and its mailbox": {one.Decisions[0].Rcpt.To.Value.Local, ann},
		"null":            {one.Decisions[1].Recipient, "<>"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %q, want %q", what, got[0], got[1])
		}
	}
	if !regexp.MustCompile(`^h[0-9a-f]{12}$`).MatchString(ann) || ann == two.Facts.Txn.MailFrom.Value.Local || one.Facts.Txn.Subject.Value == ann {
		t.Errorf("hashes are %q, %q, of the subject %q", ann, two.Facts.Txn.MailFrom.Value.Local, one.Facts.Txn.Subject.Value)
	}
}

// What need not be hidden is not harmed by the search for what must.
func TestRedactedTexts(t *testing.T) {
	r := &filter.Record{Reason: "Alias of al: list al@a.example <al@a.example> is an alias; AL, xal al2 al.a.example"}
	r.Facts.Txn.MailFrom = fact.Is(mail.ParsePath("<al@a.example>"))
	r.Facts.Txn.AuthUser = fact.Is("john.smith")
	r.Facts.Txn.DKIM = fact.Is([]fact.DKIM{{Identity: "@a.example", Domain: "a.example"}, {Identity: "al@a.example"}})
	r.Facts.Conn.ListIP = fact.Is([]fact.ListHit{{Subject: "192.0.2.1", Entry: "192.0.2.0/24"}})
	r.Facts.Txn.SPF = fact.Fail[fact.SPF]("lookup smith.john._spf.a.example: timeout")
	r.DNS = []dns.Answer{{Name: "smith.l._spf.a.example", Type: "TXT", Result: "ok", Data: []string{"v=spf1 -all"}}}
	r.Decisions = []filter.Decided{{Decision: policy.Decision{Trace: []policy.Step{{Rule: "al", Got: `"al@a.example"`}}}}}
	out := Redactor([]byte("1"))(r)
	al := out.Facts.Txn.MailFrom.Value.Local
	john := out.Facts.Txn.AuthUser.Value
	got := []any{out.Reason, out.Facts.Txn.DKIM.Value, out.Facts.Conn.ListIP, out.Facts.Txn.SPF.Why, out.DNS[0].Name, out.Decisions[0].Trace[0]}
	want := []any{"Alias of " + al + ": list " + al + "@a.example <" + al + "@a.example> is an alias; " + al + ", xal al2 " + al + ".a.example",
		[]fact.DKIM{{Identity: "@a.example", Domain: "a.example"}, {Identity: al + "@a.example"}}, r.Facts.Conn.ListIP,
		"lookup " + john + "._spf.a.example: timeout", john + ".l._spf.a.example", policy.Step{Rule: "al", Got: `"` + al + `@a.example"`}}
	for i := range want {
		if diff := cmp.Diff(want[i], got[i], cmp.Comparer(func(a, b fact.Fact[[]fact.ListHit]) bool { return reflect.DeepEqual(a, b) })); diff != "" {
			t.Errorf("(-want, +got)\n%s", diff)
		}
	}
}

// TestPolicyTexts: the texts that rules make of what must be hidden.
func TestPolicyTexts(t *testing.T) {
	var r filter.Record
	r.Facts.Stage = mail.StageMessage
	r.Facts.Txn.Subject = fact.Is("Zq1a " + strings.Repeat(`é"`, 60) + " Zq1b")
	r.Facts.Txn.From = fact.Is(fact.From{Addresses: []string{"Zq2a" + strings.Repeat("x", 80) + "@a.example", "Zq3a." + strings.Repeat("Zq3b", 20) + "@b.example"}})
	r.Facts.Txn.MailFrom = fact.Is(mail.ParsePath(`<"Zq4a\" Zq4b"@c.example>`))
	text := "Hi{header.subject}and{header_from.address}and{mail_from.address}!"
	p, problems := policy.Compile([]policy.Rule{
		{Name: "no", Stage: mail.StageMessage, Do: policy.Action{Verdict: policy.Reject}, Mode: policy.Enforce,
			When: policy.Cond{Leaf: &policy.Leaf{Field: "header_from.address", Match: policy.Match{Op: policy.Equals, Text: []string{`"Zq4a\" Zq4b"@c.example`}}}}},
		{Name: "yes", Stage: mail.StageMessage, Reason: text, Do: policy.Action{Verdict: policy.Reject, Reply: policy.Reply{Text: text},
			Headers: []policy.HeaderEdit{{Name: "X-A", Value: text}}}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r.Decisions = []filter.Decided{{Decision: p.Decide(&r.Facts)}}
	out, err := json.Marshal(Redactor([]byte("1"))(&r).Decisions)
	if err != nil {
		t.Fatal(err)
	}
	if core.Match(out) || !strings.Contains(string(out), "Hih") {
		t.Errorf("%s", out)
	}
}

// A message to very many recipients is hidden in bearable time: the number of
// texts times the number of recipients must not matter.
func TestRedactManyRecipients(t *testing.T) {
	r := &filter.Record{}
	for i := range 3000 {
		to := mail.ParsePath(fmt.Sprintf("<user.of.ours%d@our.example>", i))
		d := filter.Decided{Recipient: to.String(), Rcpt: fact.Rcpt{To: fact.Is(to)}}
		for range 20 {
			d.Trace = append(d.Trace, policy.Step{Rule: "rule", Got: strconv.Quote(to.String())})
		}
		r.Facts.Txn.Rcpts = append(r.Facts.Txn.Rcpts, to)
		r.Decisions = append(r.Decisions, d)
	}
	out, err := json.Marshal(Redactor([]byte("1"))(r))
	if err != nil || strings.Contains(string(out), "ours") {
		t.Error("a recipient is left", err)
	}
}
