// Package socket opens the sockets that the server listens at: by address, or
// those that a service manager hands over.
package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Listen opens a milter address as it stands in the configuration:
// inet:HOST:PORT, inet6:[HOST]:PORT or unix:/path. mode is the socket file's
// mode, such as "0660".
func Listen(address, mode string) (net.Listener, error) {
	network, rest, ok := strings.Cut(address, ":")
	if !ok {
		return nil, fmt.Errorf("address %q: want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/path", address)
	}
	switch network {
	case "inet", "inet6":
		tcp := map[string]string{"inet": "tcp4", "inet6": "tcp6"}[network]
		ln, err := net.Listen(tcp, rest)
		return ln, explain(address, err)
	case "unix":
		ln, err := listenUnix(rest, mode)
		return ln, explain(address, err)
	}
	return nil, fmt.Errorf("address %q: unknown kind %q, want inet, inet6 or unix", address, network)
}

// TCP opens an address of the form HOST:PORT.
func TCP(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	return ln, explain(address, err)
}

// listenUnix takes the place of a socket file that a killed server left behind,
// never of one that somebody listens at.
func listenUnix(path, mode string) (net.Listener, error) {
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return nil, fmt.Errorf("socket mode %q: want an octal number such as 0660", mode)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSocket != 0 {
		if err := abandoned(path); err != nil {
			return nil, err
		}
		os.Remove(path)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, os.FileMode(bits)); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// abandoned is nil for a socket file at which nobody listens. A server whose
// queue is full does not answer either, but is there.
func abandoned(path string) error {
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		c.Close()
		return syscall.EADDRINUSE
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EAGAIN):
		return syscall.EADDRINUSE
	}
	return err
}

// explain names the place and the remedy.
func explain(address string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken: another program listens there; stop it, or choose another address", address)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%s: permission denied: use a port above 1023 or a directory that we may write", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine has no such address", address)
	}
	return fmt.Errorf("%s: %w", address, err)
}

// Given returns the sockets that a service manager opened for us (socket
// activation: LISTEN_FDS and LISTEN_PID), by name: FileDescriptorName=milter or
// admin; unnamed ones are milter sockets.
func Given() (map[string][]net.Listener, error) {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 1 || n > 64 {
		return nil, nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	const first = 3
	out := map[string][]net.Listener{}
	for i := range n {
		f := os.NewFile(uintptr(first+i), "inherited")
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("inherited socket %d: %w", first+i, err)
		}
		name := "milter"
		if i < len(names) && names[i] == "admin" {
			name = "admin"
		}
		out[name] = append(out[name], ln)
	}
	return out, nil
}
