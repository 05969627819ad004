package boltstore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

// crashEnv makes the test binary the process that is killed.
const crashEnv = "BOLTSTORE_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		writeForever(path)
		return
	}
	os.Exit(m.Run())
}

// writeForever writes records one after the other, now and then waits until they
// are on disk, and says up to which they are.
func writeForever(path string) {
	s, err := Open(path, Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	ctx := context.Background()
	for i := 1; ; i++ {
		next := greylist.Pair{Triplet: storetest.Record(uint32(i), 0), Identity: storetest.Record(0, uint32(i))}
		if _, err := s.CompareAndSet(ctx, storetest.Key(i, i), greylist.Pair{}, next); err != nil {
			fmt.Println("error", err)
			return
		}
		if i%500 == 0 {
			if err := s.Sync(ctx); err != nil {
				fmt.Println("error", err)
				return
			}
			fmt.Println("synced", i)
		}
	}
}

// After kill -9 the file is whole, holds all that was committed, and of the rest
// an unbroken beginning.
func TestCrash(t *testing.T) {
	for kill := range 3 {
		path := filepath.Join(t.TempDir(), "greylist.db")
		synced := killAfter(t, path, 1+2*kill)
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		last := verify(t, s, synced)
		t.Logf("synced %d, found %d", synced, last)
		storetest.Set(t, s, storetest.Key(last+1, 1), greylist.Pair{}, greylist.Pair{Triplet: storetest.Record(1, 0)})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// killAfter runs the writer until it has told lines of progress, kills it, and
// gives the last record that it told of.
func killAfter(t *testing.T, path string, lines int) (synced int) {
	wait := time.Duration(lines) * 23 * time.Millisecond
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for in.Scan() {
		if _, err := fmt.Sscanf(in.Text(), "synced %d", &synced); err != nil {
			t.Errorf("writer: %s", in.Text())
			break
		}
		if lines--; lines <= 0 {
			break
		}
	}
	time.Sleep(wait) // to die somewhere between two commits, or in one
	_ = cmd.Process.Kill()
	for in.Scan() { // what it told before it died
		if strings.HasPrefix(in.Text(), "synced") {
			_, _ = fmt.Sscanf(in.Text(), "synced %d", &synced)
		}
	}
	_ = cmd.Wait()
	return synced
}

func verify(t *testing.T, s *Store, synced int) (last int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("file: %v", err)
		}
		b := tx.Bucket([]byte(recordsBucket))
		if n := b.Stats().KeyN; n != count(tx) {
			t.Errorf("%d records, counted as %d", n, count(tx))
		}
		for last = 0; b.Get(fileKey(storetest.Key(last+1, last+1))) != nil; last++ {
		}
		if n := b.Stats().KeyN; n != 2*last {
			t.Errorf("%d records, of which %d pairs are without a gap", n, last)
		}
		return nil
	})
	if err != nil || last < synced {
		t.Errorf("found %d, %v, want %d at least", last, err, synced)
	}
	for i := 1; i <= last; i += max(last/50, 1) {
		p, err := s.Get(t.Context(), storetest.Key(i, i))
		if err != nil || p.Triplet.Attempts != uint32(i) || p.Identity.Passes != uint32(i) {
			t.Errorf("record %d: %+v, %v", i, p, err)
		}
	}
	return last
}
