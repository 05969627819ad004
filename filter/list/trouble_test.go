package list

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func bookOf(t *testing.T, k Kind, text string, o Options) (b *Book, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "l")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b = New([]Config{{Name: "l", Kind: k, File: path, Apply: Points()}}, o)
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, path
}

// TestOddLines: what one line says does not swallow, hide or list another.
func TestOddLines(t *testing.T) {
	const zone = "$ORIGIN rpz.test.\n@ SOA a. b. ( 1 2\n 3 4 5 )\n"
	for _, c := range []struct {
		text, name string
		want       bool
	}{
		{"a.example\nb.example TXT \"sad :(\"\nc.example\n", "c.example", true},
		{"a.example\nb.example TXT \"q\\\"( \" x\nc.example\n", "c.example", true},
		{zone + "c.example CNAME .\n", "c.example", true},
		{"0.0.0.0 ip6-bank.example\n", "ip6-bank.example", true},
		{"0.0.0.0 ip6-localhost x.example\n", "x.example", true},
		{zone + "bad.example CNAME .\nok.bad.example CNAME ok.bad.example.\n", "ok.bad.example", false},
		{zone + "bad.example CNAME .\nok.bad.example CNAME ok.bad.example.\n", "x.bad.example", true},
		{zone + "bad.example CNAME .\nok.bad.example CNAME rpz-passthru.\n", "ok.bad.example", false},
	} {
		b, _ := bookOf(t, Domain, c.text, Options{})
		if got := len(b.Domain(PointHelo, c.name)) > 0; got != c.want {
			t.Errorf("%q: %s listed: %v; %+v", c.text, c.name, got, b.Status()[0])
		}
	}
	b, _ := bookOf(t, Domain, "ok.example\nok2.example\nok3.example\nevil.example mx\na evil.example\n", Options{})
	if s := b.Status()[0]; s.Bad != 2 {
		t.Errorf("lines that list nothing are not counted: %+v", s)
	}
}

// TestMarkAlone: a file that is a byte order mark and nothing else is empty.
func TestMarkAlone(t *testing.T) {
	b, path := bookOf(t, Domain, "a.example\n", Options{})
	if err := os.WriteFile(path, []byte("\xef\xbb\xbf\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Load(t.Context()); err == nil || len(b.Domain(PointHelo, "a.example")) == 0 {
		t.Errorf("the list was emptied, %v", err)
	}
}

// TestRecoveryIsTold: a file that was away and is back as it was is well again, for
// the observer too, and after a reload that came between.
func TestRecoveryIsTold(t *testing.T) {
	for _, reload := range []bool{false, true} {
		var told []string
		o := Options{Observer: Observer{
			Loaded: func(string, int, int, time.Time) { told = append(told, "loaded") },
			Failed: func(string, error) { told = append(told, "failed") },
		}}
		b, path := bookOf(t, Domain, "a.example\n", o)
		_ = os.Rename(path, path+".away")
		_ = b.load(t.Context(), false)
		if reload {
			next := New([]Config{b.lists[0].Config}, o)
			next.Carry(b)
			b = next
		}
		_ = os.Rename(path+".away", path)
		for range 2 {
			_ = b.load(t.Context(), false)
		}
		if !slices.Equal(told, []string{"loaded", "failed", "loaded"}) || b.Status()[0].Err != "" {
			t.Errorf("reload %v: told %q, %+v", reload, told, b.Status()[0])
		}
	}
}

// locked is a file that may not be opened, until somebody changes its mode; or
// that blocks whoever opens it.
type locked struct {
	file
	denied bool
	wait   chan struct{}
}

func (l *locked) open() (snapshot, error) {
	if l.wait != nil {
		l.wait <- struct{}{}
		<-l.wait
	}
	if l.denied {
		return nil, &fs.PathError{Op: "open", Path: string(l.file), Err: fs.ErrPermission}
	}
	return l.file.open()
}

// TestOpenedLater: the mode of a file is no part of its version.
func TestOpenedLater(t *testing.T) {
	b, path := bookOf(t, Domain, "a.example\n", Options{})
	l := &locked{file: file(path), denied: true}
	b.lists[0].src = l
	_ = os.WriteFile(path, []byte("b.example\n"), 0o600)
	_ = os.Chtimes(path, time.Time{}, time.Unix(1, 0))
	_ = b.load(t.Context(), false)
	l.denied = false
	_ = b.load(t.Context(), false)
	if len(b.Domain(PointHelo, "b.example")) == 0 {
		t.Errorf("%+v", b.Status()[0])
	}
}

// TestEditsDoNotWait: an edit in Redis comes into force while a large file is read.
func TestEditsDoNotWait(t *testing.T) {
	b, path := bookOf(t, Domain, "a.example\n", Options{})
	wait := make(chan struct{})
	b.lists[0].src = &locked{file: file(path), wait: wait}
	_ = os.Chtimes(path, time.Time{}, time.Unix(1, 0))
	other := New([]Config{{Name: "r", Kind: Domain, Redis: true, Apply: Points()}}, Options{})
	b.lists = append(b.lists, other.lists...)
	done := make(chan struct{})
	go func() { defer close(done); _ = b.load(t.Context(), false) }()
	<-wait // the file is being read
	b.followed(t.Context(), b.lists[1], nil)
	wait <- struct{}{}
	<-done
}
