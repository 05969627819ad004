package dnstest

import (
	"fmt"
	"net"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// Server answers from a zone over UDP and TCP on one port.
type Server struct {
	zone     *Zone
	addr     string
	udp, tcp *mdns.Server
	done     chan struct{} // closed by Close: handlers stop waiting
	wg       sync.WaitGroup
	once     sync.Once
}

// Serve starts a server; "" stands for "127.0.0.1:0". Close ends it.
func Serve(zone *Zone, addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	pc, l, err := listen(addr)
	if err != nil {
		return nil, err
	}
	s := &Server{zone: zone, addr: pc.LocalAddr().String(), done: make(chan struct{})}
	started := make(chan struct{}, 2)
	notify := func() { started <- struct{}{} }
	s.udp = &mdns.Server{PacketConn: pc, Handler: s, NotifyStartedFunc: notify}
	s.tcp = &mdns.Server{Listener: l, Handler: s, NotifyStartedFunc: notify}
	for _, srv := range []*mdns.Server{s.udp, s.tcp} {
		s.wg.Go(func() { _ = srv.ActivateAndServe() }) // ends by Close alone
		<-started
	}
	return s, nil
}

// listen finds a port that is free for both protocols.
func listen(addr string) (net.PacketConn, net.Listener, error) {
	var last error
	for range 20 {
		pc, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS: %w", err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l, nil
		}
		last = err
		_ = pc.Close()
	}
	return nil, nil, fmt.Errorf("listen for DNS: %w", last)
}

// Addr gives HOST:PORT.
func (s *Server) Addr() string { return s.addr }

// Close stops serving and waits for the goroutines.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.done)
		_ = s.udp.Shutdown() // an error says only that it was not running
		_ = s.tcp.Shutdown()
		s.wg.Wait()
	})
}

// ServeDNS answers one question; the DNS library calls it.
func (s *Server) ServeDNS(w mdns.ResponseWriter, req *mdns.Msg) {
	m := new(mdns.Msg)
	if len(req.Question) != 1 || req.Question[0].Qclass != mdns.ClassINET {
		_ = w.WriteMsg(m.SetRcode(req, mdns.RcodeNotImplemented))
		return
	}
	q := req.Question[0]
	o := s.zone.ask(plain(q.Name), q.Qtype)
	if !s.wait(o.delay) || o.drop {
		return
	}
	m.SetReply(req)
	body := o.reply()
	m.Rcode, m.Answer, m.Ns = body.Rcode, body.Answer, body.Ns
	m.Authoritative, m.RecursionAvailable = true, true
	size := mdns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		m.SetEdns0(uint16(size), false)
	}
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		size = mdns.MaxMsgSize
	}
	m.Truncate(size)
	_ = w.WriteMsg(m) // the asker may be gone
}

func (s *Server) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}
