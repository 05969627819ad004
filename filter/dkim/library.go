package dkim

import (
	"bytes"
	"errors"
	"io"
	"iter"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/mail"
)

const (
	// maxFolds is how many lines a signed field may have for the library: it
	// joins them one by one, so its time grows with their square.
	maxFolds = 64
	// maxSearch bounds the bytes that the library looks at for all names in h=:
	// for each name it may go over all fields, and trims every one of them.
	maxSearch = 4 << 20
)

// ordinary tells whether the library judges this signature as the RFCs say. It
// does not, and our own verifier takes over, where
//   - "b", white space and "=" stand together elsewhere than at the b= tag (in
//     z=, i=, or at the end of a base64 value): it empties those too and breaks
//     a good signature;
//   - h= names DKIM-Signature once more than there are others: it then takes the
//     signature itself for one of the signed fields;
//   - a signed field has odd line ends: it would take them for the start of
//     another field, or repair them;
//   - a name in h= is not ASCII: it compares names by Unicode case folding, to
//     which a Kelvin sign is a "k", and trims other white space than blanks;
//   - a signed field has very many lines (maxFolds), or signed fields are very
//     long for the number of names (maxSearch): its time grows with the square.
//
// Two more are found out later: the library refuses the signature before it
// asks for the body (i= in other letter case or as U-labels; x= by its own
// clock, which cannot be set), and the body has lone CR or LF, white space
// without end, or is longer than maxBody (see feed).
func (s *signature) ordinary(h mail.Header) bool {
	if strayB(s.msg) || irregular(h[s.at].Value) {
		return false
	}
	mentions, others, size := 0, 0, 0
	for _, n := range s.msg.Names {
		if !ascii(n) {
			return false
		}
		if n == fieldName {
			mentions++
		}
	}
	for _, i := range s.picked {
		size += len(h[i].Value)
		if mail.FoldName(h[i].Name) == fieldName {
			others++
		}
		if irregular(h[i].Value) {
			return false
		}
	}
	return mentions == others && size*len(s.msg.Names) <= maxSearch
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// strayB looks for what the library's pattern `(b\s*=)[^;]+` finds beside the
// b= tag.
func strayB(m *sig.Signature) bool {
	v := m.Field.Value
	from, to := m.Tags.Span("b")
	for i := 0; i < len(v); i++ {
		if v[i] != 'b' {
			continue
		}
		j := i + 1
		for j < len(v) && (v[j] == ' ' || v[j] == '\t' || v[j] == '\r' || v[j] == '\n' || v[j] == '\f') {
			j++
		}
		if j == len(v) || v[j] != '=' {
			continue
		}
		j++
		// Inside the value of b= it does no harm, and neither where the value
		// that it would delete is empty.
		if j == from {
			i = max(i, to-1)
			continue
		}
		if j < len(v) && v[j] != ';' {
			return true
		}
	}
	return false
}

// irregular tells whether a field's value has line breaks other than folds, or
// more folds than the library can stand.
func irregular(v string) bool {
	folds := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\r':
			if i+2 >= len(v) || v[i+1] != '\n' || v[i+2] != ' ' && v[i+2] != '\t' {
				return true
			}
			i++
			folds++
		case '\n':
			return true
		}
	}
	return folds > maxFolds
}

// library runs go-msgauth on one signature. It is a coroutine: the library
// reads, and each time it wants more of the body we go on with our own work.
type library struct {
	head  []byte // what is left of the header block
	piece []byte // the body's next piece
	asked bool   // it got as far as the body
	eof   bool
	pause func(struct{}) bool
	next  func() (struct{}, bool)
	stop  func()
	good  bool
	ended bool
}

var errStopped = errors.New("verification stopped")

// startLibrary runs the library up to the point where it wants the body.
func startLibrary(h mail.Header, s *signature) *library {
	l := &library{head: libraryHeader(h, s)}
	s.lib = l
	record := "v=DKIM1; k=" + s.key.Type + "; p=" + s.key.Data
	opts := &msgauth.VerifyOptions{
		MaxVerifications: 1, // the topmost: other signatures are there as signed fields only
		LookupTXT:        func(string) ([]string, error) { return []string{record}, nil },
	}
	l.next, l.stop = iter.Pull(func(pause func(struct{}) bool) {
		l.pause = pause
		found, err := msgauth.VerifyWithOptions(l, opts)
		one := err == nil || errors.Is(err, msgauth.ErrTooManySignatures)
		l.good = one && len(found) == 1 && found[0].Err == nil
		l.ended = true
	})
	l.next()
	return l
}

// libraryHeader writes the signature on top, and below it the fields that it
// covers in their original order: the library looks through all fields for each
// name in h=, and others do not matter.
func libraryHeader(h mail.Header, s *signature) []byte {
	signed := make(map[int]bool, len(s.picked))
	size := len(h[s.at].Value) + 32
	for _, i := range s.picked {
		signed[i] = true
		size += len(h[i].Name) + len(h[i].Value) + 3
	}
	b := make([]byte, 0, size)
	b = sig.AppendField(b, h[s.at].Name, h[s.at].Value, sig.Simple)
	for i := range h {
		if signed[i] {
			b = sig.AppendField(b, h[i].Name, h[i].Value, sig.Simple)
		}
	}
	return append(b, '\r', '\n')
}

// Read implements io.Reader for the header.
func (l *library) Read(p []byte) (int, error) {
	if len(l.head) > 0 {
		n := copy(p, l.head)
		l.head = l.head[n:]
		return n, nil
	}
	for len(l.piece) == 0 {
		if err := l.wait(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.piece)
	l.piece = l.piece[n:]
	return n, nil
}

// WriteTo implements io.WriterTo for the body: pieces reach the library's
// canonicalizer as they are, without a copy in between.
func (l *library) WriteTo(w io.Writer) (int64, error) {
	n, err := bytes.NewReader(l.head).WriteTo(w)
	l.head = nil
	for err == nil {
		if err = l.wait(); err != nil {
			break
		}
		var k int
		k, err = w.Write(l.piece)
		n += int64(k)
		l.piece = nil
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// wait lets the other side go on until there is a piece.
func (l *library) wait() error {
	if l.eof {
		return io.EOF
	}
	l.asked = true
	if !l.pause(struct{}{}) {
		return errStopped
	}
	if l.eof {
		return io.EOF
	}
	return nil
}

// give hands over a piece of the body.
func (l *library) give(p []byte) {
	if !l.ended {
		l.piece = p
		l.next()
	}
}

// finish ends the body. The verdict is in good then.
func (l *library) finish() {
	l.eof = true
	for !l.ended {
		if _, more := l.next(); !more {
			break
		}
	}
	l.stop()
}
