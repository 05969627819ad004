package milter

import (
	"net"
	"syscall"
)

// tcpQuickACK is Linux' TCP_QUICKACK, which package syscall does not name.
const tcpQuickACK = 12

// quickACK gives a function to be called before each wait for the MTA. Sendmail
// writes macros and command apart without TCP_NODELAY, so each delayed
// acknowledgement of ours would cost 40 ms. The kernel forgets the option, so
// it is set again and again.
func quickACK(nc net.Conn) func() {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return func() {}
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return func() {}
	}
	return func() {
		// An error costs time, never correctness.
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpQuickACK, 1)
		})
	}
}
