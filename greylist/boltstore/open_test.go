package boltstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	held := openTest(t, Options{})
	if err := os.WriteFile(file("text"), []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := func(name string, fill func(*bbolt.Tx) error) string {
		db, err := bbolt.Open(file(name), 0o600, nil)
		if err == nil {
			err = errors.Join(db.Update(fill), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return file(name)
	}
	tests := []struct {
		name, path string
		kind       error
		want       string
	}{
		{"locked", held.db.Path(), ErrLocked, "in use by another process: stop it"},
		{"no folder", file("a/b/c"), fs.ErrNotExist, "its folder does not exist: create it"},
		{"text", file("text"), nil, "not a greylist file: move it away"},
		{"a folder", dir, nil, "is a directory"},
		{"other buckets", foreign("other", func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err }), nil, "not a greylist file"},
		{"no format", foreign("none", func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte(metaBucket)); return err }), nil, "not a greylist file"},
		{"later format", foreign("later", func(tx *bbolt.Tx) error { return create(tx, 7) }), greylist.ErrVersion, "format 7, this program knows up to 1: upgrade the program"},
	}
	if os.Geteuid() != 0 { // root may write everywhere
		closed := file("closed")
		if err := os.Mkdir(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, struct {
			name, path string
			kind       error
			want       string
		}{"not writable", filepath.Join(closed, "greylist.db"), fs.ErrPermission, "not writable by this user"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(tt.path, Options{})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if text := err.Error(); !strings.Contains(text, tt.want) || !strings.Contains(text, tt.path) || strings.Contains(text, "\n") {
				t.Errorf("error %q, want one line with the path and %q", text, tt.want)
			}
			if tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("error %q is not %v", err, tt.kind)
			}
		})
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "greylist.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := greylist.Pair{Triplet: storetest.Record(1, 0), Identity: storetest.Record(0, 1)}
	storetest.Set(t, s, storetest.Key(1, 1), greylist.Pair{}, p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), storetest.Key(1, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Get after Close: %v, want ErrClosed", err)
	}
	if err := errors.Join(s.Sync(t.Context()), s.Close()); !errors.Is(err, ErrClosed) {
		t.Errorf("Sync and Close after Close: %v, want ErrClosed", err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.Holds(t, s, storetest.Key(1, 1), p)
}

func TestMigrate(t *testing.T) {
	db, err := open(filepath.Join(t.TempDir(), "greylist.db"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var ran []string
	step := func(name string, err error) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			ran = append(ran, name)
			return errors.Join(err, tx.Bucket([]byte(metaBucket)).Put([]byte(name), []byte("x")))
		}
	}
	format := func() (n int) {
		_ = db.View(func(tx *bbolt.Tx) error {
			n, _ = strconv.Atoi(string(tx.Bucket([]byte(metaBucket)).Get([]byte(formatKey))))
			return nil
		})
		return n
	}
	run := func(steps ...func(*bbolt.Tx) error) error {
		return db.Update(func(tx *bbolt.Tx) error { return migrate(tx, steps) })
	}
	if err := run(); err != nil || format() != 1 {
		t.Fatalf("new file: %v, format %d", err, format())
	}
	if err := run(step("1to2", nil), step("2to3", errors.New("boom"))); err == nil || format() != 1 {
		t.Errorf("a step that fails: %v, format %d, want an error and format 1", err, format())
	}
	ran = nil
	if err := run(step("1to2", nil), step("2to3", nil)); err != nil || format() != 3 || strings.Join(ran, " ") != "1to2 2to3" {
		t.Errorf("two steps: %v, format %d, ran %v", err, format(), ran)
	}
	ran = nil
	if err := run(step("1to2", nil), step("2to3", nil)); err != nil || len(ran) != 0 {
		t.Errorf("once more: %v, ran %v, want none", err, ran)
	}
	if err := run(step("1to2", nil)); !errors.Is(err, greylist.ErrVersion) {
		t.Errorf("an earlier program: %v, want ErrVersion", err)
	}
}
