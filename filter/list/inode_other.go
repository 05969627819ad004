//go:build !unix

package list

import "io/fs"

func inode(fs.FileInfo) string { return "" }
