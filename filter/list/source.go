package list

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"mailwicket/filter/list/feed"
	"mailwicket/filter/list/live"
)

// version tells two states of a source apart. "" equals none.
type version string

// source is where the lines of a list come from.
type source interface {
	// name is shown in hits and errors.
	name() string
	// version tells the present state without reading it.
	version() (version, error)
	// open gives the bytes, plain or gzip.
	open() (snapshot, error)
}

// snapshot is one state of a source while it is read.
type snapshot interface {
	io.ReadCloser
	// version tells the state of what has been opened, also when it is written
	// to meanwhile.
	version() (version, error)
}

// file is a list in a regular file; symbolic links are followed.
type file string

func (f file) name() string { return string(f) }

func (f file) version() (version, error) {
	fi, err := os.Stat(string(f))
	if err != nil {
		return "", err
	}
	return versionOf(string(f), fi)
}

// open does not open pipes and devices: that could wait for ever.
func (f file) open() (snapshot, error) {
	if _, err := f.version(); err != nil {
		return nil, err
	}
	h, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	return openFile{h}, nil
}

type openFile struct{ *os.File }

func (f openFile) version() (version, error) {
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	return versionOf(f.Name(), fi)
}

func versionOf(name string, fi fs.FileInfo) (version, error) {
	if !fi.Mode().IsRegular() {
		return "", &fs.PathError{Op: "read", Path: name, Err: errNotRegular}
	}
	return version(fmt.Sprintf("%d %d %s", fi.ModTime().UnixNano(), fi.Size(), inode(fi))), nil
}

// fetched is the copy of a feed.
type fetched struct{ *feed.Feed }

func (f fetched) name() string { return f.Source() }

func (f fetched) version() (version, error) {
	v, err := file(f.Path()).version()
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoCopy
	}
	return v, err
}

func (f fetched) open() (snapshot, error) { return file(f.Path()).open() }

// shared is the copy of a list in Redis.
type shared struct{ *live.List }

func (s shared) name() string { return "redis" }

func (s shared) version() (version, error) {
	c := s.Snapshot()
	if c == nil {
		return "", ErrNoCopy
	}
	return version("live " + c.State), nil
}

func (s shared) open() (snapshot, error) {
	c := s.Snapshot()
	if c == nil {
		return nil, ErrNoCopy
	}
	return openText{bytes.NewReader(c.Text()), version("live " + c.State)}, nil
}

type openText struct {
	*bytes.Reader
	v version
}

func (t openText) Close() error              { return nil }
func (t openText) version() (version, error) { return t.v, nil }
