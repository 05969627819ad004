package journal

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const manual = "../../../deploy/docs/journal.md"

// section is what the manual tells of one kind of object.
type section struct {
	name string
	rows map[string]string // by key, its kind
	keys []string
}

// walker finds all kinds of object in a line.
type walker struct {
	seen     map[reflect.Type]bool
	sections []section
}

// kind names a type as the manual does, and walks what is new.
func (w *walker) kind(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[time.Duration]():
		return "nanoseconds"
	case reflect.TypeFor[netip.Addr]():
		return "IP address"
	}
	if _, ok := reflect.New(t).Interface().(interface{ UnmarshalText([]byte) error }); ok {
		return "word"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + w.kind(t.Elem())
	case reflect.Pointer:
		return w.kind(t.Elem())
	case reflect.Struct:
		if f, ok := t.FieldByName("Value"); ok && strings.HasPrefix(t.Name(), "Fact[") {
			return "fact of " + w.kind(f.Type)
		}
		w.object(t)
		return strings.ToLower(t.Name())
	}
	panic(fmt.Sprint("no kind for ", t))
}

func (w *walker) object(t reflect.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	at := len(w.sections)
	w.sections = append(w.sections, section{name: strings.ToLower(t.Name()), rows: map[string]string{}})
	s := section{name: strings.ToLower(t.Name()), rows: map[string]string{}}
	w.members(t, &s)
	w.sections[at] = s
}

func (w *walker) members(t reflect.Type, s *section) {
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && key == "" {
			of := f.Type
			if of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
			w.members(of, s)
			continue
		}
		if key == "" {
			key = f.Name
		}
		s.rows[key] = w.kind(f.Type)
		s.keys = append(s.keys, key)
	}
}

// TestManual holds deploy/docs/journal.md to the code: each kind of object has its
// section, with exactly the keys that it has.
func TestManual(t *testing.T) {
	w := walker{seen: map[reflect.Type]bool{}}
	w.object(reflect.TypeFor[Line]())
	text, err := os.ReadFile(manual)
	check(t, err)
	told := map[string]map[string]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			section = strings.Trim(name, "`")
			told[section] = map[string]string{}
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		key, meaning := strings.Trim(cells[1], " `"), strings.TrimSpace(cells[3])
		if meaning == "" {
			t.Errorf("%s.%s has no meaning", section, key)
		}
		if told[section][key] != "" {
			t.Errorf("%s.%s is told twice", section, key)
		}
		told[section][key] = strings.TrimSpace(cells[2])
	}
	delete(told, "fact") // is no object of its own
	for _, s := range w.sections {
		for _, key := range s.keys {
			if got := told[s.name][key]; got != s.rows[key] {
				t.Errorf("section %s: want the line\n| `%s` | %s | ... |\nhave kind %q", s.name, key, s.rows[key], got)
			}
			delete(told[s.name], key)
		}
		for key := range told[s.name] {
			t.Errorf("section %s: there is no key %s", s.name, key)
		}
		delete(told, s.name)
	}
	for name, rows := range told {
		if len(rows) > 0 {
			t.Errorf("there is no object %s", name)
		}
	}
}
