//go:build !unix

package set

func mmap(int) []byte { return nil }

func munmap([]byte) {}
