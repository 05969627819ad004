//go:build unix

package set

import "syscall"

// mmap takes n zeroed bytes from the operating system, nil where it has none.
func mmap(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	return b
}

func munmap(b []byte) {
	if b != nil {
		_ = syscall.Munmap(b)
	}
}
