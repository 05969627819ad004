package config

import (
	"io/fs"
	"os"
)

// Origin tells one content of a file from another without reading it: which file
// it is, when it was written, how long it is and who may read it. The zero value is
// no file.
type Origin struct{ info fs.FileInfo }

// Stat gives what a file is at this moment, through symlinks, since Kubernetes
// swaps those; nothing where it cannot be told.
func Stat(file string) Origin {
	info, err := os.Stat(file)
	if err != nil {
		return Origin{}
	}
	return Origin{info}
}

// IsZero tells that there was no file.
func (o Origin) IsZero() bool { return o.info == nil }

// Same tells that nothing shows a change.
func (o Origin) Same(p Origin) bool {
	if o.IsZero() || p.IsZero() {
		return o.IsZero() && p.IsZero()
	}
	return os.SameFile(o.info, p.info) && o.info.ModTime().Equal(p.info.ModTime()) && o.info.Size() == p.info.Size() && o.info.Mode() == p.info.Mode()
}

// Origin tells what the file was when it was read.
func (c *Config) Origin() Origin { return c.origin }

// Bare tells that a file gives no key at all.
func (c *Config) Bare() bool { return c.File != "" && len(c.at) == 0 }
