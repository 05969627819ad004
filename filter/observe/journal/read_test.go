package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwicket/filter"
	"mailwicket/policy"
)

// lineOf gives a record's line.
func lineOf(tb testing.TB, ref string) string {
	tb.Helper()
	b, err := Encode(nil, record(ref, noon))
	check(tb, err)
	return string(b)
}

// file writes a journal file.
func file(tb testing.TB, dir string, begun time.Time, text ...string) string {
	tb.Helper()
	name := fileName(dir, begun)
	check(tb, os.WriteFile(name, []byte(strings.Join(text, "")), 0o600))
	return name
}

func TestReadSkipsWhatIsNoRecord(t *testing.T) {
	whole := lineOf(t, "r1")
	for name, c := range map[string]struct {
		text    []string
		refs    []string
		skipped int
	}{
		"empty":            {nil, nil, 0},
		"one":              {[]string{whole}, []string{"r1"}, 0},
		"torn at the end":  {[]string{whole, lineOf(t, "r2")[:200]}, []string{"r1"}, 1},
		"torn by a byte":   {[]string{strings.TrimSuffix(whole, "\n")}, nil, 1},
		"torn within":      {[]string{whole[:200], "\n", whole}, []string{"r1"}, 1},
		"two in one line":  {[]string{whole[:200], whole, whole}, []string{"r1"}, 1},
		"empty lines":      {[]string{"\n\n", whole}, []string{"r1"}, 2},
		"other text":       {[]string{"hello\n{}\n[]\nnull\n{\"v\":\"1\"}\n", whole}, []string{"r1"}, 5},
		"without version":  {[]string{strings.Replace(whole, `"v":1,`, "", 1)}, nil, 1},
		"unknown verdict":  {[]string{strings.Replace(whole, `"verdict":"tempfail"`, `"verdict":"burn"`, 1), whole}, []string{"r1"}, 1},
		"NUL bytes":        {[]string{whole, strings.Repeat("\x00", 5000), "\n", whole}, []string{"r1", "r1"}, 1},
		"written with jq":  {[]string{strings.Replace(whole, `{"v":1,`, `{ "v": 1, `, 1)}, []string{"r1"}, 0},
		"too long":         {[]string{`{"v":1,"ref":"`, strings.Repeat("x", maxLine+1<<20), "\"}\n", whole}, []string{"r1"}, 1},
		"long but allowed": {[]string{strings.Replace(whole, `"rule":"`, `"rule":"`+strings.Repeat("x", 1<<20), 1), whole}, []string{"r1", "r1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := file(t, t.TempDir(), noon, c.text...)
			for how, read := range map[string]func([]string, time.Time, func(*filter.Record) error) (int, error){"Read": Read, "ReadFacts": ReadFacts} {
				if how == "ReadFacts" && name == "two in one line" {
					continue // what it steps over it does not check
				}
				var got []string
				skipped, err := read([]string{f}, time.Time{}, func(r *filter.Record) error {
					got = append(got, r.Ref)
					return nil
				})
				if err != nil || !slices.Equal(got, c.refs) || skipped != c.skipped {
					t.Errorf("%s: %v, %d skipped, %v", how, got, skipped, err)
				}
			}
		})
	}
}

// A later format is passed over, whatever else changed in it, and told apart from a
// torn line.
func TestLaterVersion(t *testing.T) {
	dir := t.TempDir()
	f := file(t, dir, noon, lineOf(t, "r1"), `{"v":2,"ref":["r2"],"facts":7}`, "\n", lineOf(t, "r3"))
	var got []string
	skipped, err := Read([]string{f, f}, time.Time{}, func(r *filter.Record) error {
		got = append(got, r.Ref)
		return nil
	})
	if !errors.Is(err, ErrVersion) || !slices.Equal(got, []string{"r1", "r3", "r1", "r3"}) || skipped != 0 || !strings.HasPrefix(err.Error(), "2 lines") {
		t.Errorf("read %v, %d skipped, %v", got, skipped, err)
	}
	if _, err := ReadFacts([]string{f}, time.Time{}, func(*filter.Record) error { return nil }); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	for ref, found := range map[string]bool{"r1": true, "r3": true, "r2": false, "none": false} {
		if r, err := Find(dir, ref); (r != nil) != found || errors.Is(err, ErrVersion) == found {
			t.Errorf("%s: %v, %v", ref, r, err)
		}
	}
}

func TestSince(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: noon}
	for i := range 5 {
		put(t, config(dir, c, &counter{}), numbered(1, 5)[i])
		c.forward(12 * time.Hour)
	}
	files, err := Files(dir)
	check(t, err)
	for since, want := range map[time.Duration][]string{0: numbered(1, 5), 12*time.Hour + 1: numbered(3, 5), 48 * time.Hour: {"r5"}, 49 * time.Hour: nil} {
		for how, read := range map[string]func([]string, time.Time, func(*filter.Record) error) (int, error){"Read": Read, "ReadFacts": ReadFacts} {
			var got []string
			_, err := read(files, noon.Add(since), func(r *filter.Record) error {
				got = append(got, r.Ref)
				return nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s since %s: %v, %v", how, since, got, err)
			}
		}
	}
	// Files of earlier days are not even opened.
	check(t, os.Chmod(files[0], 0))
	check(t, os.Remove(files[1]))
	check(t, os.Symlink("nowhere", files[1]))
	if _, err := Read(files, noon.Add(48*time.Hour), func(*filter.Record) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestEachEndsTheReading(t *testing.T) {
	f := file(t, t.TempDir(), noon, lineOf(t, "r1"), lineOf(t, "r2"))
	stop, n := errors.New("enough"), 0
	_, err := Read([]string{f, f}, time.Time{}, func(*filter.Record) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
}

// Files may be swept between listing and reading.
func TestReadWithoutTheFile(t *testing.T) {
	dir := t.TempDir()
	gone := fileName(dir, noon.Add(-time.Hour))
	n := 0
	_, err := Read([]string{gone, file(t, dir, noon, lineOf(t, "r1"))}, time.Time{}, func(*filter.Record) error { n++; return nil })
	if err != nil || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
	if files, err := Files(filepath.Join(dir, "none")); err != nil || files != nil {
		t.Errorf("of no directory: %v, %v", files, err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	same := func(ref, rule string, at time.Time) string {
		r := record(ref, at)
		r.Rule = rule
		b, err := Encode(nil, r)
		check(t, err)
		return string(b)
	}
	file(t, dir, noon, same("AAA-1", "old", noon), same("AAA-2", "old", noon), "torn")
	file(t, dir, noon.Add(time.Hour), same("AAA-2", "new", noon), same("BBB-1", "first", noon), same("BBB-1", "second", noon),
		strings.Replace(same("CCC-1", "jq", noon), "<CCC", `\u003cCCC`, 1))
	for ref, want := range map[string]string{
		"AAA-1": "old", "aaa-1": "old", "AAA-2": "new", "BBB-1": "second", "QAAA-2": "new", "qbbb-1": "second",
		"<BBB-1@b.example>": "second", "S-AAA-1": "old", "<CCC-1@b.example>": "jq",
		"BBB-1@b.example": "second", " (ref AAA-1) ": "old", "ref=BBB-1": "second", "Ref: aaa-2": "new",
		"<bbb-1@b.example>": "", "": "", "AAA": "", "()": "", "ref": "", "<>": "", "*": "", "new": "", "...": "",
	} {
		r, err := Find(dir, ref)
		check(t, err)
		got := ""
		if r != nil {
			got = r.Rule
		}
		if got != want {
			t.Errorf("%q finds %q, want %q", ref, got, want)
		}
	}
}

// TestFindAsSaid: a reference that was read aloud or pasted.
func TestFindAsSaid(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, noon, lineOf(t, "4JZRZ-63WQR"), lineOf(t, "XQZTV-64QYC"))
	for _, said := range []string{"4JZRZ-63WQR", "4jzrz-63wqr", "4JZRZ63WQR", "4JZRZ 63WQR", "4jz-rz6-3wqr", "(ref 4JZRZ-63WQR)", "ref 4JZRZ63WQR", "\tREF=4JZRZ-63WQR\n"} {
		if r, err := Find(dir, said); err != nil || r == nil || r.Ref != "4JZRZ-63WQR" {
			t.Errorf("%q finds %+v, %v", said, r, err)
		}
	}
}

// Records are read while others are written.
func TestReadWhileWriting(t *testing.T) {
	dir := t.TempDir()
	conf := config(dir, &clock{t: noon}, &counter{})
	conf.MaxFile = 20 * lineLen(t)
	j, err := New(conf)
	check(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			for range 50 {
				j.Message(record("r1", noon))
			}
			flush(j)
		}
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		got, skipped := refs(t, dir)
		for _, ref := range got {
			if ref != "r1" {
				t.Fatalf("read %q", ref)
			}
		}
		if skipped > 1 {
			t.Fatalf("%d lines skipped", skipped)
		}
	}
	if got, skipped := refs(t, dir); len(got) != 500 || skipped != 0 {
		t.Errorf("%d records, %d skipped", len(got), skipped)
	}
}

// facts is what ReadFacts keeps of a record.
func facts(r filter.Record) filter.Record {
	out := filter.Record{Ref: r.Ref, Start: r.Start, Facts: r.Facts, Early: r.Early, Verdict: r.Verdict, Settings: r.Settings, Redacted: r.Redacted}
	for _, d := range r.Decisions {
		if d.Recipient != "" {
			out.Decisions = append(out.Decisions, filter.Decided{Decision: policy.Decision{Verdict: d.Verdict}, Recipient: d.Recipient, Rcpt: d.Rcpt})
		}
	}
	return out
}

// FuzzScan holds the readers to: no panic, nothing but ErrVersion as an error, no
// more records than lines, and what is read can be written and read again, by
// either reader, to the same end.
func FuzzScan(f *testing.F) {
	whole := lineOf(f, "r1")
	for _, s := range []string{"", whole, whole[:300], whole + whole[:7], `{"v":2}` + "\n", `{"v":1,"decisions":[null,{}]}` + "\n",
		`{"v":1,"ref":"\\\"","decisions":null}` + "\n", `{"v":1,"ref":"a","x":[{"]":"}"}],}` + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		skipped, err := scan(bytes.NewReader(data), func(b []byte) error {
			n++
			var quick filter.Record
			_ = decodeFacts(b, &quick)
			var r filter.Record
			if json.Unmarshal(b, &r) != nil {
				return errForeign
			}
			again, err := Encode(nil, &r)
			if err != nil {
				return nil // years that have no text
			}
			holdAgain(t, again)
			return nil
		})
		if err != nil && !errors.Is(err, ErrVersion) {
			t.Fatal(err)
		}
		if all := bytes.Count(data, []byte("\n")) + 1; n > all || skipped > all {
			t.Fatalf("%d records and %d skipped of %d lines", n, skipped, all)
		}
	})
}

func holdAgain(t *testing.T, line []byte) {
	var slow, quick filter.Record
	check(t, json.Unmarshal(line, &slow))
	check(t, decodeFacts(bytes.TrimSpace(line), &quick))
	if want := facts(slow); !reflect.DeepEqual(want, quick) {
		t.Fatalf("read slowly %+v\nread quickly %+v", want, quick)
	}
	back, err := Encode(nil, &slow)
	check(t, err)
	if !bytes.Equal(line, back) {
		t.Fatalf("wrote %s\nthen %s", line, back)
	}
}
