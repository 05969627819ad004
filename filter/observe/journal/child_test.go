//go:build unix

package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_DIR"); dir != "" {
		os.Exit(child(os.Getenv("JOURNAL_TEST_PART"), dir))
	}
	goleak.VerifyTestMain(m)
}

// child is what this test binary does as a process of its own.
func child(part, dir string) int {
	c := &clock{t: noon}
	conf := config(dir, c, &counter{})
	conf.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	j, err := New(conf)
	if err != nil {
		return 1
	}
	switch part {
	case "endless":
		w := &writer{c: conf}
		for i := 1; ; i++ {
			r := record(fmt.Sprintf("r%d", i), noon)
			r.Reason = strings.Repeat("x", i*7919%(256<<10))
			if j.write(w, r, false) {
				return 1
			}
			fmt.Println(i) // what was told as written must be there
		}
	case "full":
		return fill(j, conf)
	}
	return 2
}

// TestKilled: a killed process leaves what it told as written, and at most one
// torn line, which costs nothing.
func TestKilled(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "JOURNAL_TEST_DIR="+dir, "JOURNAL_TEST_PART=endless")
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		told := 0
		for told < 20 {
			_, err := fmt.Fscanln(out, &told)
			check(t, err)
		}
		check(t, cmd.Process.Kill())
		rest, err := io.ReadAll(out)
		check(t, err)
		if i := bytes.LastIndexByte(bytes.TrimSpace(rest), '\n'); len(rest) > 0 {
			last := told
			if _, err := fmt.Sscan(string(rest[max(i, 0):]), &last); err == nil {
				told = last
			}
		}
		_ = cmd.Wait() // it was killed
		got, skipped := refs(t, dir)
		if len(got) < told || len(got) > told+1 || skipped > 1 {
			t.Errorf("told %d, read %d, %d skipped", told, len(got), skipped)
		}
		for i, ref := range got {
			if ref != fmt.Sprintf("r%d", i+1) {
				t.Fatalf("record %d is %s", i+1, ref)
			}
		}
		// The next process does not touch the torn line.
		put(t, config(dir, &clock{t: noon.Add(time.Minute)}, &counter{}), "next")
		if again, n := refs(t, dir); len(again) != len(got)+1 || n != skipped {
			t.Errorf("after a restart %d records, %d skipped", len(again), n)
		}
	}
}

// fill writes until the disk takes no more, finds room, and writes on.
func fill(j *Journal, conf Config) int {
	signal.Ignore(syscall.SIGXFSZ)
	var room syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_FSIZE, &room) != nil {
		return 3
	}
	little := room
	little.Cur = 100 << 10
	w := &writer{c: conf}
	failed := false
	for i := range 300 {
		switch i {
		case 100:
			if syscall.Setrlimit(syscall.RLIMIT_FSIZE, &little) != nil {
				return 3
			}
		case 200:
			if syscall.Setrlimit(syscall.RLIMIT_FSIZE, &room) != nil {
				return 3
			}
		}
		r := record(fmt.Sprintf("r%d", i+1), noon)
		r.Reason = strings.Repeat("x", 900)
		failed = j.write(w, r, failed)
	}
	if failed {
		return 4
	}
	return 0
}

// TestDiskFull: records are lost while there is no room, none is torn, and no
// empty files are left behind; it is logged once, and written on afterwards.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_DIR="+dir, "JOURNAL_TEST_PART=full")
	var log bytes.Buffer
	cmd.Stderr = &log
	_, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	got, skipped := refs(t, dir)
	if len(got) < 200 || len(got) > 299 || got[0] != "r1" || got[len(got)-1] != "r300" || skipped != 0 {
		t.Errorf("%d records, %d skipped, the last is %s", len(got), skipped, got[len(got)-1])
	}
	if n := count(t, dir); n != 1 {
		t.Errorf("%d files", n)
	}
	if strings.Count(log.String(), "\n") != 2 || strings.Count(log.String(), "journal not written") != 1 ||
		strings.Count(log.String(), "journal written again") != 1 {
		t.Errorf("logged:\n%s", &log)
	}
}

// TestNoDirectory: somebody takes the directory away, and then all above it.
func TestNoDirectory(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "data")
	dir := filepath.Join(parent, "journal")
	n := &counter{}
	conf := config(dir, &clock{t: noon}, n)
	j, err := New(conf)
	check(t, err)
	check(t, os.RemoveAll(dir))
	j.Message(record("r1", noon))
	flush(j)
	if got, _ := refs(t, dir); len(got) != 1 || got[0] != "r1" || n.get("failed") != 0 {
		t.Errorf("the directory is not made again: read %v, %v", got, n.n)
	}
	check(t, os.Rename(parent, parent+"-away"))
	j.Message(record("r2", noon))
	flush(j)
	if n.get("failed") != 1 {
		t.Errorf("written nowhere: %v", n.n)
	}
	check(t, os.Rename(parent+"-away", parent))
	j.Message(record("r3", noon))
	flush(j)
	if got, _ := refs(t, dir); len(got) != 2 || got[1] != "r3" || n.get("failed") != 1 {
		t.Errorf("read %v, %v", got, n.n)
	}
}

// TestRunEnds: Run writes what is queued when it is to end.
func TestRunEnds(t *testing.T) {
	dir := t.TempDir()
	j, err := New(config(dir, &clock{t: noon}, &counter{}))
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { j.Run(ctx); close(done) }()
	for _, ref := range numbered(1, 500) {
		j.Message(record(ref, noon))
	}
	stop()
	<-done
	if got, _ := refs(t, dir); len(got) != 500 {
		t.Errorf("%d records", len(got))
	}
}

// TestCutWhileFull: who frees a full disk by cutting the open file finds no bytes in
// it that nobody wrote.
func TestCutWhileFull(t *testing.T) {
	for cut, want := range map[bool]string{false: "whole\n", true: "to"} {
		dir := t.TempDir()
		w := &writer{c: config(dir, &clock{t: noon}, &counter{})}
		check(t, w.append([]byte("whole\n")))
		name := w.name
		if cut {
			check(t, os.Truncate(name, 0))
		}
		n, err := w.f.Write([]byte("to")) // the beginning of "torn": then the disk was full
		check(t, err)
		w.undo(n)
		if cut != (w.f == nil) {
			t.Errorf("cut %v: the file is open: %v", cut, w.f != nil)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("cut %v: %q, %v", cut, got, err)
		}
		w.close()
	}
}
