package list

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"mailwicket/filter/fact"
	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/scan"
	"mailwicket/filter/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put writes a file in one step, as careful programs do.
func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// book makes a loaded Book of one list that is applied everywhere.
func book(t testing.TB, k Kind, text string) (b *Book, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "list")
	put(t, path, text)
	b = New([]Config{{Name: "l", Kind: k, File: path, Apply: Points()}}, Options{})
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, path
}

func TestHits(t *testing.T) {
	cfgs := []Config{
		{Name: "names", Kind: Domain, File: "testdata/names.txt", Apply: []Point{PointHelo, PointMailFrom, PointHelo}},
		{Name: "zone", Kind: Domain, File: "testdata/rpz.zone", Apply: []Point{PointHelo}},
		{Name: "nets", Kind: IP, File: "testdata/nets.txt", Apply: []Point{PointClient}},
		{Name: "people", Kind: Address, File: "testdata/addresses.txt", Apply: []Point{PointMailFrom}},
	}
	b := New(cfgs, Options{})
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	hit := func(list int, subject, entry string, line int, comment string) []fact.ListHit {
		return []fact.ListHit{{List: cfgs[list].Name, Subject: subject, Entry: entry, Source: cfgs[list].File, Line: line, Comment: comment}}
	}
	from := func(s string) []fact.ListHit { return b.Address(PointMailFrom, mail.ParsePath(s)) }
	ip := func(s string) []fact.ListHit { return b.IP(PointClient, netip.MustParseAddr(s)) }
	for _, c := range []struct {
		name      string
		got, want []fact.ListHit
	}{
		{"equal", b.Domain(PointHelo, "plain.example.com"), hit(0, "plain.example.com", "plain.example.com", 2, "")},
		{"below", b.Domain(PointHelo, "a.b.plain.example.com"), hit(0, "a.b.plain.example.com", "plain.example.com", 2, "")},
		{"above", b.Domain(PointHelo, "example.com"), nil},
		{"beside", b.Domain(PointHelo, "xplain.example.com"), nil},
		{"case and dot", b.Domain(PointHelo, "Plain.Example.com."), hit(0, "Plain.Example.com.", "plain.example.com", 2, "")},
		{"wildcard below", b.Domain(PointHelo, "x.wild.example"), hit(0, "x.wild.example", "wild.example", 3, "")},
		{"wildcard itself", b.Domain(PointHelo, "wild.example"), hit(0, "wild.example", "wild.example", 3, "")},
		{"u-label", b.Domain(PointHelo, "bücher.example"), hit(0, "bücher.example", "xn--bcher-kva.example", 5, "written as a U-label")},
		{"a meant top level", b.Domain(PointHelo, "a.zip"), hit(0, "a.zip", "zip", 9, "")},
		{"a refused top level", b.Domain(PointHelo, "a.com"), nil},
		{"empty", b.Domain(PointHelo, ""), nil},
		{"literal", b.Domain(PointHelo, "[192.0.2.1]"), nil},
		{"zone", b.Domain(PointHelo, "x.listed.example"), hit(1, "x.listed.example", "listed.example", 14, "")},
		{"zone's exception", b.Domain(PointHelo, "x.good.listed.example"), nil},
		{"other point", b.Domain(PointDKIM, "plain.example.com"), nil},

		{"net", ip("192.0.2.77"), hit(2, "192.0.2.77", "192.0.2.0/24", 2, "SBL1")},
		{"host", ip("198.51.100.7"), hit(2, "198.51.100.7", "198.51.100.7", 3, "a host")},
		{"mapped", ip("::ffff:198.51.100.7"), hit(2, "198.51.100.7", "198.51.100.7", 3, "a host")},
		{"range", ip("203.0.113.20"), hit(2, "203.0.113.20", "203.0.113.20", 5, "")},
		{"after the range", ip("203.0.113.21"), nil},
		{"v6", ip("2001:db8::1%eth0"), hit(2, "2001:db8::1", "2001:db8::/32", 7, "")},
		{"no address", b.IP(PointClient, netip.Addr{}), nil},
		{"not an IP list", b.IP(PointHelo, netip.MustParseAddr("192.0.2.77")), nil},

		{"address", from("<John.Doe@example.com>"), hit(3, "John.Doe@example.com", "john.doe@example.com", 2, "the boss")},
		{"quoted", from(`"john.doe"@example.com`), hit(3, `"john.doe"@example.com`, "john.doe@example.com", 2, "the boss")},
		{"other address", from("jane@example.com"), nil},
		{"at domain", from("any@partner.example"), hit(3, "any@partner.example", "@partner.example", 3, "")},
		{"at domain, below", from("any@sub.partner.example"), nil},
		{"domain of addresses", from("any@sub.whole.example"), hit(3, "any@sub.whole.example", "whole.example", 9, "")},
		{"domain list", from("any@x.dot.example"), hit(0, "any@x.dot.example", "dot.example", 4, "")},
		{"null sender", from("<>"), nil},
		{"no domain", from("postmaster"), nil},

		{"lookup of a name", b.Lookup(" x.listed.example "), hit(1, "x.listed.example", "listed.example", 14, "")},
		{"lookup of a name in addresses", b.Lookup("partner.example"), hit(3, "partner.example", "@partner.example", 3, "")},
		{"lookup of an address", b.Lookup("john.doe@example.com"), hit(3, "john.doe@example.com", "john.doe@example.com", 2, "the boss")},
		{"lookup of a domain's addresses", b.Lookup("@partner.example"), hit(3, "partner.example", "@partner.example", 3, "")},
		{"lookup of an IP", b.Lookup("192.0.2.1"), hit(2, "192.0.2.1", "192.0.2.0/24", 2, "SBL1")},
		{"lookup of a literal", b.Lookup("[192.0.2.1]"), hit(2, "192.0.2.1", "192.0.2.0/24", 2, "SBL1")},
		{"lookup of a net", b.Lookup("192.0.2.0/25"), hit(2, "192.0.2.0/25", "192.0.2.0/24", 2, "SBL1")},
		{"lookup of a larger net", b.Lookup("192.0.0.0/16"), nil},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	if n := len(b.Lookup("203.0.113.30")); n != 1 {
		t.Error(n, " hits of a range")
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	var told []string
	b := New([]Config{{Name: "n", Kind: Domain, File: "testdata/names.txt"}, {Name: "gone", Kind: IP, File: "testdata/gone"}},
		Options{Now: func() time.Time { return now }, Observer: Observer{
			Loaded: func(l string, entries, bad int, at time.Time) {
				told = append(told, fmt.Sprintf("%s %d %d %d", l, entries, bad, at.Unix()))
			},
			Failed: func(l string, err error) { told = append(told, l+" failed") },
		}})
	for range 2 { // the second time nothing is new
		if err := b.Load(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{fmt.Sprintf("n 9 6 %d", now.Unix()), "gone failed"}, told); d != "" {
		t.Error(d)
	}
	s := b.Status()
	if s[0].Entries != 9 || s[0].Bad != 6 || !s[0].Loaded.Equal(now) || s[0].Err != "" || len(s[0].BadLines) != 6 {
		t.Errorf("%+v", s[0])
	}
	want := BadLine{Number: 10, Text: "co.uk", Why: "a public suffix (write =co.uk to list all of it)"}
	if s[0].BadLines[0] != want {
		t.Errorf("%+v", s[0].BadLines[0])
	}
	wantErr := `list "gone": testdata/gone: no such file or directory: create the file or correct its path in the configuration; it is empty until then`
	if s[1].Err != wantErr || !s[1].Loaded.IsZero() {
		t.Errorf("%+v", s[1])
	}
}

// What is not to be believed leaves the old entries in force.
func TestRefused(t *testing.T) {
	good := "one.example\ntwo.example\n"
	for _, c := range []struct {
		name  string
		wreck func(t *testing.T, path string)
		kind  error
		text  string
	}{
		{"gone", func(t *testing.T, p string) { os.Remove(p) }, fs.ErrNotExist, "create the file"},
		{"directory", func(t *testing.T, p string) { os.Remove(p); os.Mkdir(p, 0o700) }, errNotRegular, "name a file"},
		{"mostly bad", func(t *testing.T, p string) { put(t, p, "three.example\n<html>\n<p>\n") }, ErrMostlyBad, `line 2: "<html>" is not a domain name`},
		{"emptied", func(t *testing.T, p string) { put(t, p, "") }, ErrEmptied, "leave a comment"},
		{"blank", func(t *testing.T, p string) { put(t, p, "\n \r\n") }, ErrEmptied, "leave a comment"},
		{"too large", func(t *testing.T, p string) { put(t, p, strings.Repeat("#\n", 600)) }, ErrTooLarge, "split"},
		{"bomb", func(t *testing.T, p string) { put(t, p, zipped(t, strings.Repeat("#\n", 600))) }, ErrTooLarge, "split"},
		{"cut gzip", func(t *testing.T, p string) { z := zipped(t, "three.example\n"); put(t, p, z[:len(z)-9]) }, nil, "whole"},
		{"gzip header alone", func(t *testing.T, p string) { put(t, p, "\x1f\x8b") }, nil, "whole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, path := book(t, Domain, good)
			failures := 0
			b := New([]Config{{Name: "l", Kind: Domain, File: path, Apply: Points()}},
				Options{MaxBytes: 1000, Observer: Observer{Failed: func(string, error) { failures++ }}})
			if err := b.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.wreck(t, path)
			err := b.Load(t.Context())
			if err == nil || c.kind != nil && !errors.Is(err, c.kind) {
				t.Fatal(err)
			}
			for _, part := range []string{`list "l"`, path, c.text, "2 entries"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
			if b.Domain(PointHelo, "one.example") == nil || b.Status()[0].Err != err.Error() {
				t.Errorf("status %+v", b.Status())
			}
			_ = b.Load(t.Context())
			if failures != 1 {
				t.Error(failures, " failures told")
			}
			os.Remove(path)
			put(t, path, good+"three.example\n")
			if err := b.Load(t.Context()); err != nil || b.Status()[0].Err != "" || b.Domain(PointHelo, "three.example") == nil {
				t.Error("not mended: ", err)
			}
		})
	}
}

func zipped(t testing.TB, s string) string {
	var b strings.Builder
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	return b.String()
}

func TestAccepted(t *testing.T) {
	long := strings.Repeat("x", 3*scan.MaxLine)
	for _, c := range []struct {
		name, text   string
		entries, bad int
	}{
		{"empty from the start", "", 0, 0},
		{"comments alone", "# nothing yet\n", 0, 0},
		{"half bad", "one.example\n<p>\n", 1, 1},
		{"gzip", zipped(t, "one.example\ntwo.example"), 2, 0},
		{"long lines", "one.example\n" + long + "\ntwo.example\n" + long, 2, 2},
		{"a line as long as the buffer", "one.example\n#" + strings.Repeat("x", scan.MaxLine-2) + "\ntwo.example", 2, 0},
		{"repeated", "one.example\nONE.example\n*.one.example", 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := book(t, Domain, c.text)
			if s := b.Status()[0]; s.Entries != c.entries || s.Bad != c.bad {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestEmptyOnPurpose(t *testing.T) {
	b, path := book(t, Domain, "one.example\n")
	put(t, path, "# none\n")
	if err := b.Load(t.Context()); err != nil || b.Domain(PointHelo, "one.example") != nil {
		t.Error(err, b.Status())
	}
}

// writing is a source that changes while it is read.
type writing struct {
	file
	opened int
}

func (w *writing) open() (snapshot, error) {
	s, err := w.file.open()
	w.opened++
	return changing{s, new(int)}, err
}

type changing struct {
	snapshot
	asked *int
}

func (c changing) version() (version, error) {
	*c.asked++
	return version(fmt.Sprint(*c.asked)), nil
}

func TestChangedWhileRead(t *testing.T) {
	b, path := book(t, Domain, "one.example\n")
	put(t, path, "two.example\n")
	w := &writing{file: file(path)}
	b.lists[0].src = w
	if err := b.Load(t.Context()); !errors.Is(err, ErrChanging) || b.Domain(PointHelo, "one.example") == nil {
		t.Fatal(err)
	}
	if _ = b.load(t.Context(), false); w.opened != 1 {
		t.Error("the same version was read again by watching")
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	b, path := book(t, Domain, "one.example\n")
	put(t, path, strings.Repeat("two.example\n", 10_000))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := b.refresh(ctx, b.lists[0], true); !errors.Is(err, context.Canceled) || b.Status()[0].Err != "" {
		t.Error(err, b.Status())
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	plain, link := filepath.Join(dir, "plain"), filepath.Join(dir, "mapped")
	put(t, plain, "one.example\n")
	// As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> version.
	for _, v := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, v, "mapped"), v+".example\n")
	}
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, v := range []string{"v1", "v2"} { // only the inode tells them apart
		if err := os.Chtimes(filepath.Join(dir, v, "mapped"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	symlink := func(to, name string) {
		if err := os.Symlink(to, name+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	symlink("v1", filepath.Join(dir, "..data"))
	symlink("..data/mapped", link)

	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		b := New([]Config{{Name: "p", Kind: Domain, File: plain, Apply: Points()}, {Name: "m", Kind: Domain, File: link, Apply: Points()}},
			Options{Observer: Observer{Loaded: func(string, int, int, time.Time) { loads.Add(1) }}})
		if err := b.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); b.Watch(ctx, time.Minute) }()
		pass := func(wantLoads int32, listed, free string) {
			t.Helper()
			time.Sleep(time.Minute + time.Second)
			synctest.Wait()
			if loads.Load() != wantLoads || b.Domain(PointHelo, listed) == nil || b.Domain(PointHelo, free) != nil {
				t.Errorf("%d loads, %+v", loads.Load(), b.Status())
			}
		}
		pass(2, "one.example", "two.example")
		put(t, plain, "two.example\n")
		pass(3, "two.example", "one.example")
		symlink("v2", filepath.Join(dir, "..data"))
		pass(4, "v2.example", "v1.example")
		put(t, plain, "")
		pass(4, "two.example", "one.example")
		put(t, plain, "one.example\n")
		pass(5, "one.example", "two.example")
		cancel()
		<-over
		b.Watch(t.Context(), 0) // returns
	})
}

func TestCarry(t *testing.T) {
	old, path := book(t, Domain, "one.example\n")
	loads := 0
	b := New([]Config{
		{Name: "l", Kind: Domain, File: path, Apply: []Point{PointDKIM}},
		{Name: "other", Kind: Domain, File: path, Apply: []Point{PointDKIM}},
		{Name: "l", Kind: Address, File: path, Apply: []Point{PointDKIM}},
	}, Options{Observer: Observer{Loaded: func(string, int, int, time.Time) { loads++ }}})
	b.Carry(nil)
	b.Carry(old)
	if n := len(b.Domain(PointDKIM, "one.example")); n != 1 {
		t.Error(n, " hits before Load")
	}
	if err := b.Load(t.Context()); err != nil || loads != 2 {
		t.Error(loads, " loads: ", err)
	}
	put(t, path, "two.example\n")
	if err := b.Load(t.Context()); err != nil || loads != 5 {
		t.Error(loads, " loads: ", err)
	}
	if old.Domain(PointHelo, "one.example") == nil || old.Domain(PointHelo, "two.example") != nil {
		t.Error("the old book has changed")
	}
}

// There is no moment at which a name that all versions hold is not found.
func TestLookupsDuringReload(t *testing.T) {
	b, path := book(t, Domain, "one.example\n")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				hits := b.Domain(PointHelo, "a.one.example")
				if len(hits) != 1 || hits[0].Entry != "one.example" || hits[0].Line < 1 || hits[0].Line > 50 {
					t.Errorf("%+v", hits)
					return
				}
				b.Status()
			}
		})
	}
	for i := range 50 {
		put(t, path, strings.Repeat("# filler\n", i)+"one.example\n")
		if err := b.Load(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestMissesDoNotAllocate(t *testing.T) {
	b := New([]Config{
		{Name: "d", Kind: Domain, File: "testdata/names.txt", Apply: Points()},
		{Name: "i", Kind: IP, File: "testdata/nets.txt", Apply: Points()},
		{Name: "a", Kind: Address, File: "testdata/addresses.txt", Apply: Points()},
	}, Options{})
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	a4, a6 := netip.MustParseAddr("192.0.3.1"), netip.MustParseAddr("2001:dba::1")
	from := mail.ParsePath(`"Some.One"@mail.example.org`)
	for name, f := range map[string]func() []fact.ListHit{
		"IP":      func() []fact.ListHit { return append(b.IP(PointClient, a4), b.IP(PointClient, a6)...) },
		"Domain":  func() []fact.ListHit { return b.Domain(PointHelo, "a.b.c.example.org") },
		"Address": func() []fact.ListHit { return b.Address(PointRcpt, from) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if f() != nil {
				t.Fatal("a hit")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A hostile name costs no more than the names that can be listed in it.
func TestLongNames(t *testing.T) {
	b, _ := book(t, Domain, "listed.example\n")
	name := strings.Repeat("a.", 1<<19) + "listed.example"
	if hits := b.Domain(PointHelo, name); len(hits) != 1 || hits[0].Entry != "listed.example" {
		t.Error(len(hits), " hits")
	}
	if hits := b.Address(PointRcpt, mail.Address{Local: name, Domain: "listed.example"}); len(hits) != 1 {
		t.Error(len(hits), " hits")
	}
}

// A list of names with exceptions says the same as a plain search in a map.
func TestDomainsAgreeWithAModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.SampledFrom([]string{"a", "b", "cc", "a-b"})
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") + ".example"
		})
		listed := rapid.SliceOfN(name, 1, 12).Draw(t, "listed")
		model := map[string]int{}
		var text strings.Builder
		for i, n := range listed {
			form := rapid.SampledFrom([]string{"%s", "*.%s", ".%s", "||%s^", "0.0.0.0 %s", "%s CNAME .", "%s.", "@@||%s^"}).Draw(t, "form")
			fmt.Fprintf(&text, form+"\n", n)
			switch line, there := model[n]; {
			case form == "@@||%s^" && line >= 0:
				model[n] = -i - 1
			case !there:
				model[n] = i + 1
			}
		}
		path := filepath.Join(dir, "list")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		b := New([]Config{{Name: "l", Kind: Domain, File: path, Apply: Points()}}, Options{})
		if err := b.Load(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := b.Status()[0].Entries; n != len(model) {
			t.Fatalf("%d entries, want %d", n, len(model))
		}
		for range 20 {
			asked := name.Draw(t, "asked")
			want := 0
			for n := asked; n != "" && want == 0; _, n, _ = strings.Cut(n, ".") {
				want = model[n]
			}
			got := 0
			for _, h := range b.Domain(PointHelo, asked) {
				got = h.Line
			}
			if got != max(want, 0) {
				t.Fatalf("%s: line %d, want %d in\n%s", asked, got, want, text.String())
			}
		}
	})
}

// Whatever a file holds, each accepted entry matches itself, and there are never
// more of them than words.
func FuzzList(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) < 7 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for k := range uint8(3) {
			f.Add(k, string(raw))
		}
	}
	f.Add(uint8(0), zipped(f, "one.example"))
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		k := [...]Kind{Domain, IP, Address}[kind%3]
		r := newReader(k, 0)
		if err := r.read(t.Context(), strings.NewReader(text), 1<<20); err != nil {
			return
		}
		if strings.HasPrefix(text, "\x1f\x8b") {
			return
		}
		l := &list{Config: Config{Kind: k}, src: file("f")}
		c := r.content()
		l.live.Store(c)
		if words := len(strings.Fields(text)); c.entries > words || len(c.BadLines) > c.Bad || c.Bad+c.Good > c.Lines {
			t.Fatalf("%d words: %+v", words, c)
		}
		p := entry.NewParser(k)
		for line := range strings.Lines(text) {
			if len(line) >= scan.MaxLine {
				return
			}
			line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
			for _, it := range p.Parse([]byte(line)).Items {
				matches(t, l, it)
			}
		}
	})
}

func matches(t *testing.T, l *list, it entry.Item) {
	var hits []fact.ListHit
	name := string(it.Name)
	at := strings.LastIndexByte(name, '@')
	switch {
	case l.Kind == IP:
		hits = l.ip(nil, it.Nets[0].Addr())
	case l.Kind == Domain:
		hits = l.domain(nil, "sub."+name)
		if m, ok := l.live.Load().names.Find(name); ok && m.Except && hits == nil {
			return
		}
	case at < 0:
		hits = l.address(nil, mail.Address{Local: "any", Domain: name})
	case at == 0:
		hits = l.address(nil, mail.Address{Local: "any", Domain: name[1:]})
	default:
		local := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name[:at]) + `"`
		hits = l.address(nil, mail.Address{Local: local, Domain: name[at+1:]})
	}
	if len(hits) != 1 || hits[0].Line == 0 {
		t.Fatalf("%q %v does not match itself: %+v", name, it.Nets, hits)
	}
}
