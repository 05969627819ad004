package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwicket/filter"
)

func TestWrittenIsRead(t *testing.T) {
	dir, c, n := filepath.Join(t.TempDir(), "a", "journal"), &clock{t: noon}, &counter{}
	put(t, config(dir, c, n), numbered(1, 50)...)
	got, skipped := refs(t, dir)
	if !slices.Equal(got, numbered(1, 50)) || skipped != 0 || n.get("written") != 50 {
		t.Errorf("read %d records, %d skipped, %v", len(got), skipped, n.n)
	}
	files, err := Files(dir)
	check(t, err)
	st, err := os.Stat(files[0])
	check(t, err)
	if st.Mode().Perm()&0o007 != 0 {
		t.Errorf("others may read it: %v", st.Mode())
	}
}

func TestNewFindsABadDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := New(Config{Dir: file}); err == nil {
		t.Error("a file is taken for a directory")
	}
}

// open is a writer by itself.
func open(t *testing.T, c Config) *writer {
	w := &writer{c: c}
	t.Cleanup(w.close)
	return w
}

func (w *writer) put(t *testing.T, ref string) {
	t.Helper()
	b, err := Encode(nil, record(ref, w.c.Now()))
	check(t, err)
	check(t, w.append(b))
}

func lineLen(t *testing.T) int64 {
	t.Helper()
	b, err := Encode(nil, record("r1", noon))
	check(t, err)
	return int64(len(b))
}

// count is how many files there are.
func count(t *testing.T, dir string) int {
	t.Helper()
	files, err := Files(dir)
	check(t, err)
	return len(files)
}

func TestRotation(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: noon}
	conf := config(dir, c, &counter{})
	conf.MaxFile = 3 * lineLen(t)
	w := open(t, conf)
	for i, step := range []struct {
		wait  time.Duration
		files int
	}{{0, 1}, {0, 1}, {time.Second, 1}, {0, 2}, {11 * time.Hour, 2}, {time.Hour, 3}, {0, 3}, {0, 3}, {0, 4}} {
		c.forward(step.wait)
		w.put(t, fmt.Sprintf("r%d", i+1))
		if n := count(t, dir); n != step.files {
			t.Errorf("after record %d: %d files, want %d", i+1, n, step.files)
		}
	}
	if got, _ := refs(t, dir); !slices.Equal(got, numbered(1, 9)) {
		t.Errorf("in order came %v", got)
	}
}

// A record that is longer than a file may be has one to itself.
func TestLongRecordsHaveAFile(t *testing.T) {
	dir := t.TempDir()
	conf := config(dir, &clock{t: noon}, &counter{})
	conf.MaxFile = 1
	w := open(t, conf)
	w.put(t, "r1")
	w.put(t, "r2")
	if n := count(t, dir); n != 2 {
		t.Errorf("%d files", n)
	}
}

// The clock may stand still or go back: no file is written over.
func TestClockGoesBack(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: noon}
	for _, d := range []time.Duration{0, 0, -time.Hour, time.Hour} {
		c.forward(d)
		put(t, config(dir, c, &counter{}), "r1")
	}
	if got, _ := refs(t, dir); len(got) != 4 {
		t.Errorf("%d records of 4", len(got))
	}
}

func TestOldFilesGo(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: noon}
	conf := config(dir, c, &counter{})
	conf.Keep = 48 * time.Hour
	foreign := filepath.Join(dir, "decisions-saved.jsonl")
	check(t, os.WriteFile(foreign, nil, 0o600))
	w := open(t, conf)
	for day := range 6 {
		w.put(t, fmt.Sprintf("r%d", day+1))
		c.forward(24 * time.Hour)
	}
	if got, _ := refs(t, dir); !slices.Equal(got, numbered(4, 6)) {
		t.Errorf("left are %v", got)
	}
	c.forward(37 * time.Hour) // over two days after the end of the sixth
	w.tidy()
	if got, _ := refs(t, dir); len(got) != 0 {
		t.Errorf("left for ever are %v", got)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("a file that is not ours was deleted")
	}
}

// While no mail comes old files go too: keeping them longer was not agreed.
func TestOldFilesGoWithoutMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		conf := config(dir, &clock{}, &counter{})
		conf.Now, conf.Keep = time.Now, 24*time.Hour
		j, err := New(conf)
		check(t, err)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { j.Run(ctx); close(done) }()
		j.Message(record("r1", time.Now()))
		time.Sleep(23 * time.Hour)
		if n := count(t, dir); n != 1 {
			t.Errorf("%d files on the first day", n)
		}
		time.Sleep(28 * time.Hour)
		if n := count(t, dir); n != 0 {
			t.Errorf("%d files after their time", n)
		}
		stop()
		<-done
	})
}

func TestTotalSize(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: noon}
	conf := config(dir, c, &counter{})
	line := lineLen(t)
	conf.MaxFile, conf.MaxAll = 2*line, 10*line
	w := open(t, conf)
	for i := range 30 {
		w.put(t, fmt.Sprintf("r%d", i%9+1))
		c.forward(time.Second)
		var all int64
		files, err := Files(dir)
		check(t, err)
		for _, f := range files {
			st, err := os.Stat(f)
			check(t, err)
			all += st.Size()
		}
		if all > conf.MaxAll || i > 12 && all < conf.MaxAll-3*line {
			t.Errorf("after %d records of %d bytes there are %d", i+1, line, all)
		}
	}
	// A second start finds what is there.
	c.forward(time.Minute)
	again := open(t, conf)
	again.put(t, "last")
	if got, _ := refs(t, dir); len(got) > 10 || got[len(got)-1] != "last" {
		t.Errorf("left are %v", got)
	}
}

// A file that somebody deleted to free the disk is not written to further.
func TestDeletedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	w := open(t, config(dir, &clock{t: noon}, &counter{}))
	w.put(t, "r1")
	files, err := Files(dir)
	check(t, err)
	check(t, os.Remove(files[0]))
	w.put(t, "r2")
	if got, _ := refs(t, dir); !slices.Equal(got, []string{"r2"}) {
		t.Errorf("left are %v", got)
	}
}

// Message never waits: nobody takes records here.
func TestNeverBlocks(t *testing.T) {
	n := &counter{}
	conf := config(t.TempDir(), &clock{t: noon}, n)
	conf.Queue = 3
	j, err := New(conf)
	check(t, err)
	for range 10 {
		j.Message(record("r", noon))
	}
	if j.Dropped() != 7 || n.get("dropped") != 7 {
		t.Errorf("dropped %d, counted %v", j.Dropped(), n.n)
	}
	flush(j)
	if n.get("written") != 3 {
		t.Errorf("counted %v", n.n)
	}
}

// A record that cannot be written down costs the others nothing.
func TestUnwritableRecord(t *testing.T) {
	dir, n, log := t.TempDir(), &counter{}, &bytes.Buffer{}
	conf := config(dir, &clock{t: noon}, n)
	conf.Log = slog.New(slog.NewTextHandler(log, nil))
	j, err := New(conf)
	check(t, err)
	bad := record("bad", noon)
	bad.Decisions[0].Points = math.Inf(1)
	long := record("long", noon)
	long.Reason = strings.Repeat("x", maxLine)
	for _, r := range []*filter.Record{record("r1", noon), bad, long, bad, record("r2", noon)} {
		j.Message(r)
	}
	flush(j)
	if got, skipped := refs(t, dir); !slices.Equal(got, numbered(1, 2)) || skipped != 0 || n.get("failed") != 3 {
		t.Errorf("read %v, %d skipped, %v", got, skipped, n.n)
	}
	if strings.Count(log.String(), "journal not written") != 1 || strings.Count(log.String(), "journal written again") != 1 {
		t.Errorf("logged:\n%s", log)
	}
	if _, err := Encode(nil, long); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long record: %v", err)
	}
}

func TestRedactIsUsed(t *testing.T) {
	dir := t.TempDir()
	conf := config(dir, &clock{t: noon}, &counter{})
	conf.Redact = func(r *filter.Record) *filter.Record {
		c := *r
		c.Ref = "hidden"
		if r.Ref == "r1" {
			panic("broken")
		}
		return &c
	}
	put(t, conf, "r1", "r2")
	if got, _ := refs(t, dir); !slices.Equal(got, []string{"hidden"}) {
		t.Errorf("read %v", got)
	}
}
