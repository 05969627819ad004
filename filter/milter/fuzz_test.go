package milter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/mail"
	"mailwicket/filter/milter"
	"mailwicket/filter/milter/client"
	"mailwicket/policy"
)

// wild is a session that answers, edits and panics by a seed, and watches the
// order of its calls.
type wild struct {
	seed   uint64
	mu     *sync.Mutex
	wrong  *[]string
	begun  bool
	closed bool
}

func (w *wild) draw() filter.Answer {
	w.seed = w.seed*6364136223846793005 + 1442695040888963407
	switch w.seed >> 60 {
	case 0:
		panic("scripted")
	case 1:
		return filter.Answer{Verdict: policy.Tempfail, Text: "100% later\r\n"}
	case 2:
		return filter.Answer{Verdict: policy.Reject, Code: 554, Enhanced: "5.7.1"}
	case 3:
		return filter.Answer{Verdict: policy.Discard}
	case 4:
		return filter.Answer{Verdict: policy.Accept}
	}
	return filter.Answer{}
}

func (w *wild) check(ok bool, call string) {
	if !ok || w.closed {
		w.mu.Lock()
		*w.wrong = append(*w.wrong, call)
		w.mu.Unlock()
	}
}

func (w *wild) call(name string) filter.Answer { w.check(w.begun, name); return w.draw() }

func (w *wild) Connect(context.Context, mail.Conn) filter.Answer {
	w.check(!w.begun, "connect")
	w.begun = true
	return w.draw()
}
func (w *wild) Helo(context.Context, string, mail.TLS) filter.Answer { return w.call("helo") }
func (w *wild) Mail(context.Context, string, filter.Envelope) filter.Answer {
	return w.call("mail")
}
func (w *wild) Rcpt(context.Context, string) filter.Answer        { return w.call("rcpt") }
func (w *wild) Header(string, string)                             { w.call("header") }
func (w *wild) EndOfHeader(context.Context, string) filter.Answer { return w.call("eoh") }
func (w *wild) Body(context.Context, []byte)                      { w.call("body") }
func (w *wild) Abort()                                            { w.check(w.begun, "abort") }
func (w *wild) Close()                                            { w.check(w.begun, "close"); w.closed = true }
func (w *wild) EndOfMessage(context.Context, string) filter.Plan {
	p := filter.Plan{Answer: w.call("eom")}
	if w.seed>>59&1 == 1 {
		p.Delete = []filter.Deletion{{Name: "Authentication-Results", Index: 1}}
		p.Insert = []filter.Insertion{{Name: "X-Long", Value: strings.Repeat("cO", 5000)}}
		p.Hold = "held"
	}
	return p
}

// wildServer serves one connection after another and tells when each is over.
type wildServer struct {
	addr  string
	mu    sync.Mutex
	seed  uint64
	open  []*wild
	wrong []string
	gone  chan struct{}
}

func startWild(f *testing.F) *wildServer {
	ln, err := net.Listen("unix", filepath.Join(f.TempDir(), "m.sock"))
	if err != nil {
		f.Fatal(err)
	}
	ws := &wildServer{addr: ln.Addr().String(), gone: make(chan struct{}, 1)}
	srv := &milter.Server{
		NewSession: func() milter.Session {
			ws.mu.Lock()
			defer ws.mu.Unlock()
			w := &wild{seed: ws.seed, mu: &ws.mu, wrong: &ws.wrong}
			ws.open = append(ws.open, w)
			return w
		},
		Failure:  func() filter.Answer { return filter.Answer{Verdict: policy.Tempfail, Text: "broken"} },
		Limits:   milter.DefaultLimits(),
		Log:      slog.New(slog.DiscardHandler),
		Observer: milter.Observer{},
	}
	srv.Observer.Session = func(delta int) {
		if delta < 0 {
			ws.gone <- struct{}{}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, ln) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	return ws
}

// play sends a stream, hangs up, and gives all that came back.
func (ws *wildServer) play(t *testing.T, in []byte) []byte {
	t.Helper()
	ws.mu.Lock()
	ws.open, ws.wrong, ws.seed = nil, nil, uint64(len(in))*0x9e3779b97f4a7c15
	for _, b := range in[:min(len(in), 256)] {
		ws.seed = ws.seed*31 + uint64(b)
	}
	ws.mu.Unlock()
	nc, err := net.Dial("unix", ws.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		nc.Write(in) // the server may close first
		nc.(*net.UnixConn).CloseWrite()
	}()
	out, err := io.ReadAll(nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatal("the server neither answers nor closes")
	}
	<-sent
	<-ws.gone
	return out
}

// due is a command that is to be answered: 'O', 'E' or any other.
type due byte

// expect reads a stream as an MTA's: which commands are answered under the flags
// of the latest negotiation, and whether all of it is in order, so that all of
// them must be.
func expect(in []byte) (answers []due, orderly bool) {
	var flags uint32
	for first := true; ; first = false {
		if len(in) == 0 {
			return answers, true
		}
		if len(in) < 5 {
			return answers, false
		}
		n, code := int(binary.BigEndian.Uint32(in)), in[4]
		limit := 64 << 10
		switch code {
		case 'O':
			limit = 4 << 10
		case 'D':
			limit = 16 << 10
		case 'L', 'B', 'E':
			limit = 256 << 10
		}
		if n < 1 || n > len(in)-4 || n > limit {
			return answers, false
		}
		data := in[5 : 4+n]
		in = in[4+n:]
		if first && code != 'O' {
			return nil, false
		}
		switch code {
		case 'O':
			if len(data) < 12 {
				return answers, false
			}
			flags = binary.BigEndian.Uint32(data[8:]) & uint32(milter.Protocol)
			answers = append(answers, 'O')
		case 'C':
			i := bytes.IndexByte(data, 0)
			if i < 0 || len(data) < i+2 || (data[i+1] == '4' || data[i+1] == '6') && len(data) < i+4 {
				return answers, false
			}
			answers = append(answers, 1)
		case 'H', 'M', 'R', 'T', 'N', 'U':
			answers = append(answers, 1)
		case 'L':
			if flags&client.NoHeaderReply == 0 {
				answers = append(answers, 1)
			}
		case 'B':
			if flags&client.NoBodyReply == 0 {
				answers = append(answers, 1)
			}
		case 'E':
			answers = append(answers, 'E')
		case 'D':
			if len(data) == 0 {
				return answers, false
			}
		case 'A', 'K':
		case 'Q':
			return answers, true
		default:
			return answers, false
		}
	}
}

// matches reads the server's stream against what was due.
func matches(out []byte, answers []due) (left int, err error) {
	for i, d := range answers {
		for edits := true; edits; {
			if len(out) == 0 {
				return len(answers) - i, nil
			}
			if len(out) < 5 {
				return 0, fmt.Errorf("answer %d: %d bytes of a packet", i, len(out))
			}
			n := int(binary.BigEndian.Uint32(out))
			if n < 1 || n > len(out)-4 {
				return 0, fmt.Errorf("answer %d: a packet of %d bytes", i, n)
			}
			code, data := out[4], out[5:4+n]
			out = out[4+n:]
			edits = d == 'E' && strings.IndexByte("imqp", code) >= 0
			if edits {
				continue
			}
			good := code == 'c' || code == 'd' || code == 'y'
			if d == 'O' {
				good = code == 'O' && len(data) >= 12
			}
			if !good || (code == 'c' || code == 'd') && len(data) > 0 {
				return 0, fmt.Errorf("answer %d: %q with %q to %q", i, code, data, byte(d))
			}
		}
	}
	if len(out) > 0 {
		return 0, fmt.Errorf("%d bytes more than answers were due: %q", len(out), out[:min(len(out), 40)])
	}
	return 0, nil
}

// most is what one connection may allocate beside its input: the session, two
// large packets, and go-milter's copies.
const most = 4 << 20

// garbage is what each byte of a stream of the smallest packets may cost on its
// way through go-milter, most of it maps of macros: all of it short-lived.
const garbage = 400

// FuzzStream sends hostile streams through a real server.
func FuzzStream(f *testing.F) {
	for _, s := range streams() {
		f.Add(s, false)
	}
	f.Add([]byte("\x01\x02\x03\x04\x05\x86abcdef\x07\x08\x0c\x0d\x06\x05"), true)
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, true)
	ws := startWild(f)
	f.Fuzz(func(t *testing.T, data []byte, structured bool) {
		in := data
		if structured {
			in = assemble(data)
		}
		if len(in) > 1<<20 {
			t.Skip()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out := ws.play(t, in)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > most+garbage*uint64(len(in)+len(out)) {
			t.Errorf("%d bytes in, %d out, %d allocated", len(in), len(out), got)
		}
		answers, orderly := expect(in)
		left, err := matches(out, answers)
		if err != nil {
			t.Error(err)
		}
		if orderly && left > 0 {
			t.Errorf("%d of %d answers are missing", left, len(answers))
		}
		ws.mu.Lock()
		defer ws.mu.Unlock()
		if len(ws.wrong) > 0 {
			t.Errorf("calls before connect, twice, or after close: %v", ws.wrong)
		}
		if slices.ContainsFunc(ws.open, func(w *wild) bool { return w.begun && !w.closed }) {
			t.Error("a session was not closed")
		}
	})
}

func packet(code byte, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	return append(append(b, code), data...)
}

func optneg(actions, protocol uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 6}, actions)
	return packet('O', string(binary.BigEndian.AppendUint32(b, protocol)))
}

// streams are dialogues of real MTAs, and some that are not.
func streams() [][]byte {
	join := func(ps ...[]byte) []byte { return bytes.Join(ps, nil) }
	dialogue := func(offer uint32) []byte {
		return join(optneg(client.AllActions, offer),
			packet('D', "Cj\x00mx.example\x00_\x00unknown [203.0.113.7]\x00"),
			packet('C', "[203.0.113.7]\x004\x10\x92203.0.113.7\x00"),
			packet('D', "H"), packet('H', "h.example\x00"),
			packet('D', "Mi\x00Q1\x00"), packet('M', "<a@s.example>\x00SIZE=10\x00"),
			packet('R', "<b@r.example>\x00"), packet('R', "<c@r.example>\x00"),
			packet('L', "From\x00 a@s.example\x00"), packet('L', "Empty\x00\x00"), packet('L', "Odd\x00a\x00b\x00"),
			packet('N', ""), packet('B', "hello\r\n"), packet('B', strings.Repeat("x", 300)), packet('E', "more"),
			packet('A', ""), packet('M', "<>\x00"), packet('A', ""), packet('U', "FOO\x00"), packet('T', ""), packet('Q', ""))
	}
	return [][]byte{
		dialogue(client.AllProtocol), dialogue(0x37f), dialogue(0x7f), dialogue(0),
		join(optneg(0x1f, client.AllProtocol), packet('C', "x\x006\x00\x00IPv6:::1\x00"), packet('K', ""),
			packet('C', "localhost\x00U"), packet('E', "x"), optneg(0, 0), packet('E', "x"), packet('B', "")),
		join(optneg(0, 0), packet('M', "<a@b>\x00"), packet('E', "")),
		join(optneg(0, 0), packet('C', "h\x004\x00"), packet('H', "x")),
		join(optneg(0, 0), []byte{0, 0, 255, 255, 'B'}, bytes.Repeat([]byte("x"), 20_000)),
		[]byte("GET / HTTP/1.1\r\n\r\n"), {0, 0, 0, 1, 'Q'}, nil,
	}
}

// assemble makes a stream of packets: each byte below 128 names one of a set of
// good packets, others a code and a length of raw data, with a lie in the
// length now and then.
func assemble(data []byte) []byte {
	good := [][]byte{
		packet('C', "[203.0.113.7]\x004\x10\x92203.0.113.7\x00"), packet('H', "h.example\x00"),
		packet('M', "<a@s.example>\x00SIZE=10\x00"), packet('R', "<b@r.example>\x00"),
		packet('L', "From\x00 a@s.example\x00"), packet('L', "Odd\x00"), packet('N', ""),
		packet('B', "hello\r\n"), packet('E', ""), packet('E', "tail"), packet('A', ""), packet('K', ""),
		packet('U', "FOO\x00"), packet('T', ""), packet('D', "Mi\x00Q1\x00{auth_authen}\x00alice\x00"),
		optneg(client.AllActions, client.AllProtocol), optneg(0x1f, 0x7f),
		packet('L', "Long\x00"+strings.Repeat("v", 20_000)+"\x00"), packet('B', strings.Repeat("b", 65535)),
	}
	const codes = "CHMRLNBEAKUTDOQX"
	var out []byte
	if len(data) > 0 && data[0]%4 != 0 {
		out = optneg(client.AllActions, []uint32{0, client.AllProtocol, 0x7f, client.NoBodyReply}[data[0]%4])
	}
	for len(data) > 0 && len(out) < 1<<20 {
		op := data[0]
		data = data[1:]
		if op < 128 {
			out = append(out, good[int(op)%len(good)]...)
			continue
		}
		n := 0
		if len(data) > 0 {
			n = min(int(data[0]), len(data)-1)
			data = data[1:]
		}
		p := packet(codes[op%16], string(data[:n]))
		if op >= 240 {
			p[3] ^= op
		}
		data = data[n:]
		out = append(out, p...)
	}
	return out
}
