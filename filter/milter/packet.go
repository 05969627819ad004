package milter

import (
	"bytes"
	"encoding/binary"
	"fmt"

	gomilter "github.com/emersion/go-milter"
)

// Milter packets of the wire, which go-milter keeps to itself in part.
const (
	cmdOptNeg  = 'O'
	cmdMacro   = 'D'
	cmdConnect = 'C'
	cmdHelo    = 'H'
	cmdMail    = 'M'
	cmdRcpt    = 'R'
	cmdData    = 'T'
	cmdHeader  = 'L'
	cmdEOH     = 'N'
	cmdBody    = 'B'
	cmdEOM     = 'E'
	cmdAbort   = 'A'
	cmdQuit    = 'Q'
	cmdUnknown = 'U'
	cmdQuitNew = 'K'

	replyContinue = 'c'
	replyProgress = 'p'
)

// The longest packets that are taken, without the length. Postfix caps a header
// field at 60,000 bytes, Sendmail the whole block at 32,768; body chunks have
// 65,535; SMTP lines 2,048 unless somebody changed that.
const (
	maxContent     = 256 << 10
	maxCommand     = 64 << 10
	maxMacros      = 16 << 10
	maxNegotiation = 4 << 10
)

// bounds gives the packet's size without the length, or what is wrong with it.
func (c *conn) bounds(h []byte) (int, error) {
	size, code := binary.BigEndian.Uint32(h), h[4]
	if c.offer == nil && code != cmdOptNeg {
		return 0, ErrNotMilter
	}
	limit := uint32(maxCommand)
	switch code {
	case cmdOptNeg:
		limit = maxNegotiation
	case cmdMacro:
		limit = maxMacros
	case cmdHeader, cmdBody, cmdEOM:
		limit = maxContent
	case cmdConnect, cmdHelo, cmdMail, cmdRcpt, cmdData, cmdEOH, cmdAbort, cmdQuit, cmdUnknown, cmdQuitNew:
	default:
		return 0, fmt.Errorf("%w %q", ErrCommand, code)
	}
	if size == 0 || size > limit {
		return 0, fmt.Errorf("%w: %d bytes of command %q", ErrPacketSize, size, code)
	}
	return int(size), nil
}

// mend gives the packet as go-milter shall see it.
func (c *conn) mend(code byte, pkt []byte) ([]byte, error) {
	data := pkt[5:]
	macros := c.macros
	c.macros = code == cmdMacro
	switch code {
	case cmdOptNeg:
		if len(data) < 12 {
			return nil, ErrPacketShort
		}
		c.offer = &offer{actions: binary.BigEndian.Uint32(data[4:]), protocol: binary.BigEndian.Uint32(data[8:])}
		c.negotiating = true
	case cmdMacro:
		if len(data) == 0 {
			return nil, ErrPacketShort
		}
	case cmdConnect:
		return connectPacket(pkt)
	case cmdMail:
		c.params = parameters(data)
		if !macros {
			// Else the macros of an earlier message would be taken for this one's.
			return append(packetBytes(cmdMacro, []byte{cmdMail}), pkt...), nil
		}
	case cmdHeader:
		if !wellFormedHeader(data) {
			c.malformed++
			return c.spare(gomilter.OptNoHeaderReply), nil
		}
	case cmdEOM:
		if len(data) > 0 {
			// The last body bytes may come with the end (libmilter accepts
			// it): go-milter would drop them, so they travel as a chunk.
			c.swallow = !c.agreed(gomilter.OptNoBodyReply)
			return append(packetBytes(cmdBody, data), packetBytes(cmdEOM, nil)...), nil
		}
	case cmdUnknown:
		return c.spare(gomilter.OptNoUnknownReply), nil
	case cmdQuitNew:
		// The MTA will start another SMTP session on this connection: what
		// is open is void. No MTA is known to send it.
		return packetBytes(cmdAbort, nil), nil
	}
	return pkt, nil
}

// spare answers a packet in go-milter's place, where an answer is due.
func (c *conn) spare(silent gomilter.OptProtocol) []byte {
	if !c.agreed(silent) {
		c.write(packetBytes(replyContinue, nil))
	}
	return nil
}

// offer is what the MTA offered in the negotiation and what came of it.
type offer struct{ actions, protocol uint32 }

// agree takes from go-milter's negotiation answer what the MTA did not offer:
// an unknown bit is fatal to Sendmail, and an unknown action to Postfix too.
func (o *offer) agree(answer []byte) []byte {
	p := bytes.Clone(answer)
	data := p[5:]
	o.actions &= binary.BigEndian.Uint32(data[4:])
	o.protocol &= binary.BigEndian.Uint32(data[8:])
	binary.BigEndian.PutUint32(data[4:], o.actions)
	binary.BigEndian.PutUint32(data[8:], o.protocol)
	if o.actions&uint32(gomilter.OptSetSymList) == 0 {
		p = p[:17]
		binary.BigEndian.PutUint32(p, 13)
	}
	return p
}

// agreed tells whether the MTA agreed to a protocol flag.
func (c *conn) agreed(flag gomilter.OptProtocol) bool {
	return c.offer != nil && c.offer.protocol&uint32(flag) != 0
}

// allowed tells whether the MTA agreed to an action.
func (c *conn) allowed(a gomilter.OptAction) bool {
	return c.offer != nil && c.offer.actions&uint32(a) != 0
}

func packetBytes(code byte, data []byte) []byte {
	p := make([]byte, 5, 5+len(data))
	binary.BigEndian.PutUint32(p, uint32(len(data)+1))
	p[4] = code
	return append(p, data...)
}

// connectPacket takes the "IPv6:" off the address in a connect packet: Sendmail
// sends it so, and go-milter would find no address at all. On a short packet
// go-milter would close, or reply so that it changes the backend.
func connectPacket(pkt []byte) ([]byte, error) {
	data := pkt[5:]
	name := bytes.IndexByte(data, 0)
	if name < 0 || len(data) < name+2 {
		return nil, ErrPacketShort
	}
	family, at := data[name+1], name+4 // behind the port
	if family != '4' && family != '6' {
		return pkt, nil
	}
	if len(data) < at {
		return nil, ErrPacketShort
	}
	const tag = "IPv6:"
	if family != '6' || len(data) < at+len(tag) || !bytes.EqualFold(data[at:at+len(tag)], []byte(tag)) {
		return pkt, nil
	}
	return packetBytes(cmdConnect, append(bytes.Clone(data[:at]), data[at+len(tag):]...)), nil
}

// wellFormedHeader tells whether go-milter will call back for the packet: a
// name and a value, each ended by NUL. On anything else it answers without
// asking, which shifts all later replies where none was expected.
func wellFormedHeader(data []byte) bool {
	i := bytes.IndexByte(data, 0)
	if i <= 0 || data[len(data)-1] != 0 {
		return false
	}
	rest := data[i+1:]
	return len(rest) > 0 && bytes.IndexByte(rest, 0) == len(rest)-1
}

// maxParams is more than there are ESMTP parameters.
const maxParams = 32

// parameters gives what follows the address in MAIL and RCPT: go-milter drops
// it.
func parameters(data []byte) []string {
	_, rest, _ := bytes.Cut(data, []byte{0})
	var ps []string
	for len(rest) > 0 && len(ps) < maxParams {
		var p []byte
		if p, rest, _ = bytes.Cut(rest, []byte{0}); len(p) > 0 {
			ps = append(ps, string(p))
		}
	}
	return ps
}
