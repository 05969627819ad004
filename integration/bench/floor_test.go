package bench

import (
	"bufio"
	"net"
	"net/textproto"
	"testing"

	gomilter "github.com/emersion/go-milter"

	"mailwicket/filter/milter"
)

// floor is what any milter on this library costs: the protocol, nothing else.
type floor struct{ gomilter.NoOpMilter }

func (floor) Header(string, string, *gomilter.Modifier) (gomilter.Response, error) { return nil, nil }
func (floor) BodyChunk([]byte, *gomilter.Modifier) (gomilter.Response, error)      { return nil, nil }
func (floor) Headers(textproto.MIMEHeader, *gomilter.Modifier) (gomilter.Response, error) {
	return gomilter.RespContinue, nil
}
func (floor) Body(*gomilter.Modifier) (gomilter.Response, error) { return gomilter.RespContinue, nil }

// buffered reads and writes in large pieces, as the filter's connections do.
type buffered struct {
	net.Conn
	r *bufio.Reader
	w []byte
}

func (c *buffered) Read(p []byte) (int, error) {
	if c.r.Buffered() == 0 && len(c.w) > 0 {
		if _, err := c.Conn.Write(c.w); err != nil {
			return 0, err
		}
		c.w = c.w[:0]
	}
	return c.r.Read(p)
}

func (c *buffered) Write(p []byte) (int, error) {
	c.w = append(c.w, p...)
	return len(p), nil
}

type bufferedListener struct{ net.Listener }

func (l bufferedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &buffered{Conn: nc, r: bufio.NewReaderSize(nc, 16<<10)}, nil
}

func serveFloor(tb testing.TB) (socket string) {
	tb.Helper()
	socket = socketPath(tb)
	ln, err := net.Listen("unix", socket)
	check(tb, err)
	tb.Cleanup(func() { ln.Close() })
	srv := &gomilter.Server{
		NewMilter: func() gomilter.Milter { return floor{} },
		Actions:   milter.Actions,
		Protocol:  milter.Protocol,
		SymList:   map[gomilter.Stage][]string{gomilter.StageConnect: {"j", "_", "v"}},
	}
	go srv.Serve(bufferedListener{ln})
	return socket
}
