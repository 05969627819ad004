//go:build unix

package list

import (
	"fmt"
	"io/fs"
	"syscall"
)

// inode tells files of equal size and time apart.
func inode(fi fs.FileInfo) string {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprint(st.Dev, st.Ino)
	}
	return ""
}
