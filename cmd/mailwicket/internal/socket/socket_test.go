package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBusySocket: a server that has more callers than it takes is not dead.
func TestBusySocket(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "m.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: sock}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", sock) // fills the queue
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if ln, err := Listen("unix:"+sock, "0600"); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("its socket was taken over: %v", err)
		ln.Close()
	}
	if _, err := os.Stat(sock); err != nil {
		t.Error(err)
	}
}

func TestListenAddresses(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "m.sock")
	ln, err := Listen("unix:"+sock, "0600")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:"+sock, "0600"); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("a socket in use: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	again, err := Listen("unix:"+sock, "0660") // left behind by a killed server
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if st, err := os.Stat(sock); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", st, err)
	}
	for _, bad := range []string{"8891", "tcp:127.0.0.1:1", "unix:/nonexistent/dir/x", "inet:127.0.0.1:99999"} {
		if ln, err := Listen(bad, "0660"); err == nil {
			ln.Close()
			t.Errorf("%s was opened", bad)
		}
	}
}
