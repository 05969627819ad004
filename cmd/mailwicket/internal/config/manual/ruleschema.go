package manual

import (
	"cmp"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// ruleSchemas gives the schemas that rules are made of. The words and their
// meanings are those of the reference.
func ruleSchemas() obj {
	none := obj{"anyOf": []obj{{"type": "null"}, {"const": ""}, {"type": "array", "maxItems": 0},
		{"type": "object", "additionalProperties": obj{"$ref": ref("vacant")}}}}
	out := obj{"vacant": none, "texts": several(text()), "rule": mapping(described(ruleKeys(), ruleKeySchema), "name", "do")}
	conditions := obj{"type": "array", "minItems": 1, "items": obj{"$ref": ref("condition")}}
	fields := obj{"all": conditions, "any": conditions, "not": obj{"$ref": ref("condition")},
		"tags":   field("Words that rules before this one have added.", "text", fact.Text, nil, out),
		"points": field("Sum of the points that rules before this one have added.", "number", fact.Number, nil, out)}
	named := map[string]string{} // fields with the same words share a definition
	for _, f := range fact.Fields() {
		name, words := strings.ReplaceAll(f.Kind.String(), "/", "-"), strings.Join(f.Words, ",")
		if words != "" {
			name = cmp.Or(named[words], f.Name)
			named[words] = name
		}
		fields[f.Name] = field(f.Doc+".", name, f.Kind, f.Words, out)
	}
	out["condition"] = mapping(fields)
	return out
}

// field gives the schema of a condition on a field, whose comparisons are put
// among the definitions.
func field(doc, name string, k fact.Kind, words []string, definitions obj) obj {
	name = "is-" + name
	definitions[name] = comparison(k, words, ref(name))
	// Beside a $ref draft 7 reads no description.
	return obj{"allOf": []obj{{"$ref": ref(name)}}, "description": doc}
}

// comparison gives the schema of what a field is compared with: a bare value, or
// operators with theirs.
func comparison(k fact.Kind, words []string, self string) obj {
	bare := bareValue(k, words)
	values := map[policy.Op]obj{policy.State: several(enum([]string{"absent", "known", "skipped", "failed"})), "not": {"$ref": self}, policy.Equals: bare}
	switch k {
	case fact.Text:
		for _, op := range []policy.Op{policy.Prefix, policy.Suffix, policy.Contains, policy.Under} {
			values[op] = obj{"$ref": ref("texts")}
		}
		one := text()
		values[policy.Regex] = obj{"anyOf": []obj{one, {"type": "array", "minItems": 1, "maxItems": 1, "items": one}}}
		values[policy.Empty] = obj{"type": "boolean"}
	case fact.Number, fact.Duration:
		for _, op := range []policy.Op{policy.Less, policy.AtMost, policy.Greater, policy.AtLeast} {
			values[op] = bare
		}
	case fact.Bool:
		values[policy.Is] = bare
	case fact.Addr:
		values[policy.In] = bare
	}
	told := obj{}
	for _, row := range operators() {
		op := strings.Trim(row[0], "`")
		if v, ok := values[policy.Op(op)]; ok {
			told[op] = obj{"allOf": []obj{v}, "description": "Holds when the field " + strings.ReplaceAll(row[1], "`", "") + "."}
		}
	}
	operators := mapping(told)
	operators["minProperties"] = 1
	return obj{"anyOf": []obj{bare, operators}}
}

// bareValue gives the schema of a value of a field's kind.
func bareValue(k fact.Kind, words []string) obj {
	switch {
	case len(words) > 0:
		return several(enum(words))
	case k == fact.Number:
		return obj{"type": []string{"number", "string"}, "pattern": numberPattern}
	case k == fact.Duration:
		return obj{"type": []string{"string", "integer"}, "pattern": durationPattern, "minimum": 0, "maximum": 0}
	case k == fact.Bool:
		return obj{"type": "boolean"}
	case k == fact.Addr:
		return several(obj{"type": "string", "pattern": networkPattern})
	}
	return obj{"$ref": ref("texts")}
}

// ruleKeySchema gives the schema of a rule's key.
func ruleKeySchema(key string) obj {
	switch key {
	case "when":
		return obj{"allOf": []obj{{"$ref": ref("condition")}}}
	case "do":
		return doSchema()
	case "mode":
		return enum([]string{policy.Enforce.String(), policy.Observe.String(), policy.Off.String()})
	case "stage":
		var stages []string
		for _, s := range mail.Stages() {
			stages = append(stages, s.String())
		}
		return enum(stages)
	}
	return text()
}

// doSchema gives the schema of what follows: a word, or several with their values.
func doSchema() obj {
	var alone []string
	told := [][]string{}
	for _, row := range actions() {
		switch word := strings.Trim(row[0], "`"); word {
		case "tag", "points", "header":
			told = append(told, row)
		case policy.Continue.String():
			alone = append(alone, word)
		default:
			alone, told = append(alone, word), append(told, row)
		}
	}
	values := mapping(described(told, actionSchema))
	values["minProperties"] = 1
	return obj{"anyOf": []obj{enum(alone), values}}
}

// actionSchema gives the schema of an action's value.
func actionSchema(word string) obj {
	plain := []obj{{"type": "null"}, {"const": true}}
	switch word {
	case "greylist":
		return obj{"type": "boolean"}
	case "tag":
		return obj{"$ref": ref("texts")}
	case "points":
		return bareValue(fact.Number, nil)
	case "header":
		name := obj{"type": "string", "pattern": `^[!-9;-~]{1,76}$`} // RFC 5322, 3.6.8
		return several(mapping(obj{"name": name, "value": text()}, "name"))
	case policy.Tempfail.String():
		return obj{"anyOf": append(plain, reply("4"))}
	case policy.Reject.String():
		return obj{"anyOf": append(plain, reply("5"))}
	}
	return obj{"anyOf": plain}
}

// reply gives the schema of a reply whose codes are of a class.
func reply(class string) obj {
	code := obj{"type": []string{"integer", "string"}, "pattern": "^" + class + "[0-9][0-9]$", "minimum": 400, "maximum": 499}
	if class == "5" {
		code["minimum"], code["maximum"] = 500, 599
	}
	return mapping(obj{"code": code, "enhanced": obj{"type": "string", "pattern": "^" + class + `\.[0-9]{1,3}\.[0-9]{1,3}$`}, "text": text()})
}
