// Package manual makes the documents of the configuration out of what its keys say
// of themselves: the example, the reference and the schema for editors.
package manual

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/limit"
	"mailwicket/filter/list"
)

const exampleHead = `# Mailwicket's configuration, with every key and its default. Keys may be left out.
# Lines with no blank after the "#", or with two, are samples: take the "#" away to use them.
`

// rulesSample holds rules as they may stand in a file.
const rulesSample = `# Mail that claims to come from us and does not: watched before it is refused.
- name: own-domain-spoof
  when: {header_from.domain: [example.com], dmarc.result: {not: pass}}
  do: reject
  mode: observe
# Mail of a partner is marked (X-Mailwicket-Tags).
- name: partner
  when: {client.ip: [192.0.2.0/24], mail_from.domain: {under: example.net}}
  do: {tag: partner}
# A reply with words of your own.
- name: no-bulk
  when: {header.list_id: {state: known}, mail_from.domain: {not: {under: [example.com, example.net]}}}
  do: {reject: {code: 550, enhanced: 5.7.1, text: "No list mail from {mail_from.domain}, please"}}
  reason: "list {header.list_id}"
`

// Example gives the configuration that equals the defaults, with the manual as
// its comments.
func Example() []byte {
	var e example
	e.b.WriteString(exampleHead)
	e.section(reflect.ValueOf(config.Default()).Elem(), 0)
	return []byte(e.b.String())
}

type example struct{ b strings.Builder }

func (e *example) section(v reflect.Value, depth int) {
	for _, f := range keys.Of(v) {
		if depth == 0 {
			e.b.WriteString("\n")
		}
		pad := strings.Repeat("  ", depth)
		e.comment(pad, f)
		switch {
		case keys.IsSections(f.Value.Type()):
			e.b.WriteString(pad + f.Name + ":\n")
			e.items(itemSamples(f.Name))
		case f.Name == "rules":
			e.b.WriteString(pad + "rules:\n")
			e.sample(rulesSample)
		case keys.IsSection(f.Value.Type()):
			e.b.WriteString(pad + f.Name + ":\n")
			e.section(f.Value, depth+1)
		default:
			e.b.WriteString(pad + f.Name + ": " + oneLine(f.Value) + "\n")
		}
	}
}

// oneLine prints a value as it may stand after a key.
func oneLine(v reflect.Value) string { return strings.TrimSpace(string(keys.Dump(keys.Encode(v)))) }

// comment prints what a key is for, and what it takes.
func (e *example) comment(pad string, f keys.Field) {
	doc := f.Doc()
	all := keys.Words(f.Tag)
	told := !slices.ContainsFunc(all, func(w string) bool { return !strings.Contains(doc, w) })
	if !told {
		doc += " One of: " + strings.Join(all, ", ") + "."
	}
	for _, line := range wrap(doc, 96-len(pad)) {
		e.b.WriteString(pad + "# " + line + "\n")
	}
}

// itemSamples are items as they may stand in a list of sections; together they
// have every key.
func itemSamples(name string) []reflect.Value {
	lists := []config.List{
		{Name: "harmful", Type: list.Domain, File: "harmful.txt", Do: "reject", Mode: "enforce"},
		{Name: "bad-nets", Type: list.IP, URL: "https://lists.example.org/bad-nets.txt", Canaries: []string{"192.0.2.0/24"}, Do: "tempfail", Mode: "observe"},
	}
	zones := []config.Zone{
		{Zone: "zen.spamhaus.org", Name: "zen", Type: dnsbl.IP, Codes: map[string]string{"127.0.0.2-11": "listed"}, Weight: 1, Do: "reject", Mode: "enforce"},
		{Zone: "dbl.spamhaus.org", Name: "dbl", Type: dnsbl.Domain, Codes: map[string]string{"127.0.1.2-6": "listed"}, Weight: 1.5, Do: "reject", Mode: "observe"},
	}
	rates := []config.Rate{
		{Name: "per-user", Key: []limit.Key{limit.AuthUser}, Limit: "200/1h", Burst: "0", Do: "tempfail", Mode: "enforce"},
		{Name: "net-bytes", Key: []limit.Key{limit.Net}, Limit: "1GiB/1d", Burst: "100MiB", Do: "tag", Mode: "observe"},
	}
	var out []reflect.Value
	switch name {
	case "lists":
		for i := range lists {
			lists[i].Fill(true)
			out = append(out, reflect.ValueOf(lists[i]))
		}
	case "dnsbl":
		for i := range zones {
			zones[i].Fill(true)
			out = append(out, reflect.ValueOf(zones[i]))
		}
	case "rates":
		for i := range rates {
			rates[i].Fill()
			out = append(out, reflect.ValueOf(rates[i]))
		}
	}
	return out
}

// items prints samples, each key's manual where it stands for the first time.
func (e *example) items(samples []reflect.Value) {
	told := map[string]bool{}
	for _, v := range samples {
		lead := "  #- "
		for _, f := range keys.Shown(v) {
			if !told[f.Name] {
				told[f.Name] = true
				e.comment("  ", f)
			}
			e.b.WriteString(lead + f.Name + ": " + oneLine(f.Value) + "\n")
			lead = "  #  "
		}
	}
}

// sample prints lines that hold after their "#" is taken away.
func (e *example) sample(text string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# ") {
			e.b.WriteString("  " + line)
			continue
		}
		e.b.WriteString("  #" + line)
	}
}

// wrap breaks text between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(fmt.Sprintf("%s %s", line, word), " ")
	}
	return append(lines, line)
}
