package list

import (
	"fmt"
	"io"
	"io/fs"
	"os"
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
