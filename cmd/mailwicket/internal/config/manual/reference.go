package manual

import (
	"net/netip"
	"reflect"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

const referenceHead = `# Configuration reference

Written by ` + "`mailwicket config reference`" + `. The configuration is one YAML file, and every key may be left out.

- Unknown keys, wrong types and impossible values are errors, each with line, column and path.
- Durations are written ` + "`240s`, `5m`, `48h`, `36d` or `2w`" + `, sizes ` + "`512KiB`, `10MiB`, `2GiB`" + ` or as plain bytes,
  networks ` + "`192.0.2.0/24` or `2001:db8::/32`" + `; an address is the network of itself.
- Relative paths of files begin at the directory of the configuration file.
- Secrets stand in files of their own (` + "`*_file`" + `) or in the environment (` + "`" + config.PasswordVariable + "`" + `), and are never printed.
  ` + "`mailwicket serve` and `mailwicket config check`" + ` want to read these files; commands that only look at messages or keys do without.
- ` + "`mailwicket config schema > mailwicket.schema.json`" + ` writes a JSON Schema, also shipped as [mailwicket.schema.json](../mailwicket.schema.json).
  Editors then complete keys and mark mistakes, with this as the first line of the configuration:
  ` + "`# yaml-language-server: $schema=mailwicket.schema.json`" + ` (a path from the configuration's directory). What keys mean together is
  told by ` + "`mailwicket config check`" + ` alone.
- A changed file is read again within two seconds, once it has stood still for one; SIGHUP reads it at once. Where anything is wrong
  with it, or nothing is left of it, the old configuration stays in force. Keys marked "restart" count from the next start on.
`

// Reference gives the manual of all keys, and of what rules are made of, as
// Markdown.
func Reference() []byte {
	var r reference
	r.b.WriteString(referenceHead)
	r.keys()
	r.rules()
	r.fields()
	return []byte(r.b.String())
}

type reference struct{ b strings.Builder }

// table prints rows; bars in cells would end them.
func (r *reference) table(head []string, rows [][]string) {
	r.row(head)
	r.b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, row := range rows {
		r.row(row)
	}
}

func (r *reference) row(cells []string) {
	for _, c := range cells {
		r.b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	r.b.WriteString("|\n")
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// keys prints one table for each section, and one for the keys outside of any.
func (r *reference) keys() {
	var single [][]string
	sections := map[string][][]string{}
	var order []keys.Field
	for _, f := range keys.All(config.Default()) {
		section, _, inside := strings.Cut(strings.ReplaceAll(f.Path, "[]", ""), ".")
		switch {
		case inside:
			sections[section] = append(sections[section], keyRow(f))
		case keys.IsSection(f.Value.Type()) || keys.IsSections(f.Value.Type()):
			order = append(order, f)
		default:
			single = append(single, keyRow(f))
		}
	}
	head := []string{"Key", "Takes", "Default", "Meaning"}
	r.b.WriteString("\n## Keys outside of sections\n\n")
	r.table(head, single)
	for _, f := range order {
		r.b.WriteString("\n## " + code(f.Name) + "\n\n" + f.Doc() + "\n\n")
		r.table(head, sections[f.Name])
	}
}

func keyRow(f keys.Field) []string {
	doc := f.Doc()
	if f.Tag.Get("restart") != "" {
		doc += " (restart)"
	}
	if keys.IsSection(f.Value.Type()) {
		return []string{code(f.Path), "section", "", doc}
	}
	preset := code(oneLine(f.Value))
	switch {
	case f.Tag.Get("required") != "":
		preset = "required"
	case f.Tag.Get("preset") != "":
		preset = f.Tag.Get("preset")
	}
	return []string{code(f.Path), takes(f), preset, doc}
}

// takes tells a key's type, with its words or range.
func takes(f keys.Field) string {
	t := f.Value.Type()
	switch {
	case t == reflect.TypeFor[config.Rules]():
		return "list of [rules](#rules)"
	case t.Kind() == reflect.Slice && t.Elem() == reflect.TypeFor[netip.Prefix]():
		return "list of networks"
	case t.Kind() == reflect.Slice && t.Elem() == reflect.TypeFor[netip.Addr]():
		return "list of IP addresses"
	case t.Kind() == reflect.Slice && len(keys.Words(f.Tag)) > 0:
		return "list of " + codes(keys.Words(f.Tag))
	case t.Kind() == reflect.Slice:
		return "list of texts"
	case len(keys.Words(f.Tag)) > 0:
		return codes(keys.Words(f.Tag))
	}
	name := strings.TrimPrefix(strings.TrimPrefix(keys.TypeName(t), "an "), "a ")
	if limit := keys.Limits(t, f.Tag); limit != "" {
		name += ", " + limit
	}
	return name
}

func codes(all []string) string {
	out := make([]string, 0, len(all))
	for _, w := range all {
		if w == "" {
			w = `""`
		}
		out = append(out, code(w))
	}
	return strings.Join(out, ", ")
}

// ruleKeys, operators and actions are the words of rules.
func ruleKeys() [][]string {
	var stages []string
	for _, s := range mail.Stages() {
		stages = append(stages, s.String())
	}
	return [][]string{
		{"`name`", "Its name in logs, metrics, replies and traces. Required."},
		{"`when`", "Conditions on fields, all of which must hold. Without it the rule always matches."},
		{"`do`", "What follows, see below. Required."},
		{"`mode`", "`enforce` (default), `observe`: only told, or `off`."},
		{"`stage`", "One of " + codes(stages) + ". Left out, it is the first at which all fields are known, from `rcpt` on."},
		{"`reason`", "Words for the log. `{field.name}` stands for the field's value, here and in replies and header fields."},
	}
}

func operators() [][]string {
	op := func(o policy.Op, meaning string) []string { return []string{code(string(o)), meaning} }
	return [][]string{
		op(policy.Equals, "any of the values; what a bare value means, too"),
		{"`not`", "the contrary of a value or of a comparison"},
		op(policy.Prefix, "begins with any of the texts"),
		op(policy.Suffix, "ends with any of the texts"),
		op(policy.Contains, "holds any of the texts"),
		op(policy.Regex, "matches the regular expression (RE2) anywhere"),
		op(policy.Under, "is any of the domains, or below one"),
		op(policy.In, "an address in any of the networks; what a bare value means for addresses"),
		op(policy.Less, "less than the number or duration"),
		op(policy.AtMost, "at most"),
		op(policy.Greater, "greater than"),
		op(policy.AtLeast, "at least"),
		op(policy.Is, "`true` or `false`; what a bare value means for yes/no"),
		op(policy.Empty, "`true`: there is no value, or only empty ones; `false`: there is one"),
		op(policy.State, "any of `absent`, `known`, `skipped`, `failed`: whether the fact was found"),
	}
}

func actions() [][]string {
	verdict := func(v policy.Verdict, meaning string) []string { return []string{code(v.String()), meaning} }
	return [][]string{
		verdict(policy.Accept, "No further rules are tried."),
		verdict(policy.Quarantine, "Delivered with a mark, or held: see `quarantine` above."),
		verdict(policy.Hold, "Put into the MTA's hold queue."),
		verdict(policy.Discard, "Accepted and thrown away."),
		verdict(policy.Tempfail, "Refused for now. Takes `{code:, enhanced:, text:}`."),
		verdict(policy.Reject, "Refused. Takes `{code:, enhanced:, text:}`."),
		{"`greylist`", "Refused for now while the greylist says so, else the next rule is tried."},
		verdict(policy.Continue, "Nothing; the next rule is tried."),
		{"`tag`", "Adds a word, or a list of them, to the field `tags`. The next rule is tried."},
		{"`points`", "Adds a number to the field `points`. The next rule is tried."},
		{"`header`", "Adds a header field `{name:, value:}`, or a list of them. The next rule is tried."},
	}
}

func (r *reference) rules() {
	r.b.WriteString("\n## Rules\n\nRules are tried in their order, and the first with a verdict decides. For example:\n\n```yaml\nrules:\n")
	for line := range strings.Lines(rulesSample) {
		r.b.WriteString("  " + line)
	}
	r.b.WriteString("```\n\n")
	r.table([]string{"Key", "Meaning"}, ruleKeys())
	r.b.WriteString("\n### Conditions\n\n`field: value`, `field: [value, value]` (any of them) or `field: {comparison: value}`. " +
		"`all: [...]`, `any: [...]` and `not: {...}` combine them.\nA condition on a field that is not known is neither true nor false, " +
		"and so is its contrary: such a rule does not match. Only `state` can ask for that.\nTexts are compared without regard to case.\n\n")
	r.table([]string{"Comparison", "Holds when the field"}, operators())
	r.b.WriteString("\n### Actions\n\n`do: word`, or `do: {word: value, word: value}` for several.\n\n")
	r.table([]string{"Action", "Meaning"}, actions())
}

// fields prints the facts that rules can ask for.
func (r *reference) fields() {
	r.b.WriteString("\n## Fields\n\nA field is known from its stage on, where the message gives it anything to work on. " +
		"Those of one recipient (`rcpt.address`,\n`rcpt.domain`, `rcpt.lists`, `rates.exceeded`) are known at stage `rcpt` only: a message may have many.\n\n")
	var rows [][]string
	for _, f := range fact.Fields() {
		meaning := f.Doc
		if len(f.Words) > 0 {
			meaning += ": " + codes(f.Words)
		}
		rows = append(rows, []string{code(f.Name), f.Kind.String(), f.Stage.String(), meaning})
	}
	rows = append(rows,
		[]string{"`tags`", fact.Text.String(), "any", "words that rules before this one have added, at this stage or an earlier one"},
		[]string{"`points`", fact.Number.String(), "any", "sum of the points that rules before this one have added, at this stage or an earlier one"})
	r.table([]string{"Field", "Kind", "From stage", "Meaning"}, rows)
}
