package dkim

import (
	"bytes"

	"mailwicket/filter/dkim/sig"
)

const (
	// pieceSize keeps the library's three copies of a piece in the first-level
	// cache.
	pieceSize = 8 << 10
	// maxBlank is how many bytes of white space in a row the library gets, line
	// ends included: it keeps the line ends in memory until other bytes follow.
	maxBlank = 16 << 10
	// maxBody is how long a body the library gets. Its relaxed canonicalization
	// makes a copy of each line, which is half of all work on a message of 1 MiB;
	// ours makes none.
	maxBody = 128 << 10
)

// feed gives the body to the libraries in pieces that keep them linear: their
// canonicalizer for "simple" copies all line ends that it holds back on each
// write. So runs of line ends are counted here, and a run goes out at once when
// other bytes follow. Those at the end of the body never go out: both
// canonicalizations ignore them.
type feed struct {
	libs  []*library
	ends  sig.LineEnds
	size  int  // of the body so far
	run   int  // line ends held back
	blank int  // white space in a row, up to the last byte
	cr    bool // a CR held back
	wrong bool // the body is not for the library
	small []byte
	lines []byte // CRLFs to send
}

func (f *feed) add(l *library) {
	if l.asked {
		f.libs = append(f.libs, l)
		return
	}
	l.stop() // refused before the body: not its business
}

func (f *feed) write(p []byte) {
	if len(f.libs) == 0 || f.wrong || len(p) == 0 {
		return
	}
	// A lone CR or LF is data (RFC 6376, 3.4), but the library repairs the LF
	// and, in relaxed bodies, takes the CR for a line end.
	f.size += len(p)
	if f.ends.Write(p); !f.ends.Regular() || f.size > maxBody {
		f.giveUp()
		return
	}
	if len(f.small)+len(p) < pieceSize {
		f.small = append(f.small, p...)
		return
	}
	f.pieces(f.small)
	f.small = f.small[:0]
	f.pieces(p)
}

func (f *feed) pieces(p []byte) {
	for len(p) > 0 && !f.wrong {
		n := min(len(p), pieceSize)
		f.piece(p[:n])
		p = p[n:]
	}
}

// piece passes one piece on, but for the line ends at its end.
func (f *feed) piece(p []byte) {
	if f.endless(p) {
		f.giveUp()
		return
	}
	i := 0
	for i < len(p) && (p[i] == '\r' || p[i] == '\n') {
		if p[i] == '\n' {
			f.run++ // a CR came before: line ends are regular
		}
		f.cr = p[i] == '\r'
		i++
	}
	if p = p[i:]; len(p) == 0 {
		return
	}
	f.release()
	end := len(p)
	if p[end-1] == '\r' {
		f.cr = true
		end--
	}
	for end >= 2 && p[end-1] == '\n' && p[end-2] == '\r' {
		f.run++
		end -= 2
	}
	f.give(p[:end])
}

// endless counts white space, and tells whether there is too much of it in a row
// with this piece. What stands inside of a piece is short enough.
func (f *feed) endless(p []byte) bool {
	rest := bytes.TrimLeft(p, " \t\r\n")
	f.blank += len(p) - len(rest)
	tooMuch := f.blank > maxBlank
	if len(rest) > 0 {
		f.blank = len(rest) - len(bytes.TrimRight(rest, " \t\r\n"))
	}
	return tooMuch
}

func (f *feed) release() {
	for len(f.lines) < 2*f.run {
		f.lines = append(f.lines, '\r', '\n')
	}
	if f.run > 0 {
		f.give(f.lines[:2*f.run])
	}
	f.run = 0
}

func (f *feed) give(p []byte) {
	for _, l := range f.libs {
		l.give(p)
	}
}

// end tells the libraries that the body is complete.
func (f *feed) end() {
	f.pieces(f.small)
	f.small = nil
	if f.cr && !f.wrong { // a lone CR at the very end
		f.giveUp()
	}
	if f.wrong {
		return
	}
	for _, l := range f.libs {
		l.finish()
	}
}

// giveUp leaves the body to our own verifier.
func (f *feed) giveUp() {
	f.wrong = true
	f.small = nil
	f.stop()
}

// stop frees the libraries.
func (f *feed) stop() {
	for _, l := range f.libs {
		l.stop()
	}
}

// verdict gives what the library says of a signature, if it was asked.
func (f *feed) verdict(s *signature) (good, judged bool) {
	if f.wrong || s.lib == nil || !s.lib.asked {
		return false, false
	}
	return s.lib.good, true
}
