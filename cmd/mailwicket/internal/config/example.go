package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

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
	e.section(reflect.ValueOf(Default()).Elem(), 0)
	return []byte(e.b.String())
}

type example struct{ b strings.Builder }

func (e *example) section(v reflect.Value, depth int) {
	for _, f := range fields(v) {
		if depth == 0 {
			e.b.WriteString("\n")
		}
		pad := strings.Repeat("  ", depth)
		e.comment(pad, f)
		switch {
		case f.name == "lists":
			e.b.WriteString(pad + "lists:\n")
			e.list()
		case f.name == "rules":
			e.b.WriteString(pad + "rules:\n")
			e.sample(rulesSample)
		case isSection(f.value.Type()):
			e.b.WriteString(pad + f.name + ":\n")
			e.section(f.value, depth+1)
		default:
			e.b.WriteString(pad + f.name + ": " + oneLine(f.value) + "\n")
		}
	}
}

// oneLine prints a value as it may stand after a key.
func oneLine(v reflect.Value) string { return strings.TrimSpace(string(dump(encode(v)))) }

// comment prints what a key is for, and what it takes.
func (e *example) comment(pad string, f field) {
	doc := f.tag.Get("doc")
	all := words(f.value.Type(), f.tag)
	told := !slices.ContainsFunc(all, func(w string) bool { return !strings.Contains(doc, w) })
	if !told {
		doc += " One of: " + strings.Join(all, ", ") + "."
	}
	for _, line := range wrap(doc, 96-len(pad)) {
		e.b.WriteString(pad + "# " + line + "\n")
	}
}

// list prints one list as a sample, with every key.
func (e *example) list() {
	l := List{Name: "harmful", Type: list.Domain, File: "harmful.txt", Do: "reject", Mode: "enforce"}
	l.fill()
	for i, f := range fields(reflect.ValueOf(&l).Elem()) {
		e.comment("  ", f)
		lead := "  #  "
		if i == 0 {
			lead = "  #- "
		}
		e.b.WriteString(lead + f.name + ": " + oneLine(f.value) + "\n")
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
