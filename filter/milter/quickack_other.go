//go:build !linux

package milter

import "net"

// quickACK has no counterpart here: Sendmail over TCP is slower then, a unix
// socket is not.
func quickACK(net.Conn) func() { return func() {} }
