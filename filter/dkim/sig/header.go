package sig

import (
	"crypto/sha256"

	"mailwicket/filter/mail"
)

// Canon is a canonicalization algorithm (RFC 6376, 3.4).
type Canon uint8

// The two algorithms; Simple is the default.
const (
	Simple Canon = iota
	Relaxed
)

// AppendField adds a header field in canonical form, line end included
// (RFC 6376, 3.4.1 and 3.4.2).
func AppendField(dst []byte, name, value string, c Canon) []byte {
	if c == Simple {
		dst = append(dst, name...)
		dst = append(dst, ':')
		dst = append(dst, value...)
		return append(dst, '\r', '\n')
	}
	dst = append(dst, mail.FoldName(name)...)
	dst = append(dst, ':')
	return append(appendRelaxed(dst, value), '\r', '\n')
}

// appendRelaxed unfolds, makes each run of white space one space, and trims.
// Only a line end before white space is a fold: other CR and LF are data.
func appendRelaxed(dst []byte, v string) []byte {
	blank, first := false, true
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == ' ' || c == '\t':
			blank = true
		case c == '\r' && i+2 < len(v) && v[i+1] == '\n' && (v[i+2] == ' ' || v[i+2] == '\t'):
			i++
		default:
			if blank && !first {
				dst = append(dst, ' ')
			}
			blank, first = false, false
			dst = append(dst, c)
		}
	}
	return dst
}

// Index finds header fields by name without going over the block each time.
// It is read-only after NewIndex, so it may be shared.
type Index struct {
	h  mail.Header
	at map[string][]int // folded name -> positions, top first
}

// NewIndex makes an index over h, which must not change afterwards.
func NewIndex(h mail.Header) *Index {
	ix := &Index{h: h, at: make(map[string][]int, len(h))}
	for i := range h {
		n := mail.FoldName(h[i].Name)
		ix.at[n] = append(ix.at[n], i)
	}
	return ix
}

// Pick gives the positions of the fields that a signature covers, in the order
// of its h=: each mention of a name takes the next instance from the bottom up,
// and one too many stands for a field that is not there (RFC 6376, 5.4.2).
// The field at self is the signature: it never stands for itself.
func (ix *Index) Pick(names []string, self int) []int {
	left := make(map[string]int, len(names))
	out := make([]int, 0, len(names))
	for _, n := range names {
		at := ix.at[n]
		k, seen := left[n]
		if !seen {
			k = len(at)
		}
		k--
		if k >= 0 && at[k] == self {
			k--
		}
		if k >= 0 {
			out = append(out, at[k])
		} else {
			k = 0 // stays exhausted: the next mention makes it -1 again
		}
		left[n] = k
	}
	return out
}

// Hash gives the data hash of RFC 6376, 3.7: the picked fields, then the
// signature's own field, whose value is given with the b= already emptied, and
// without its line end.
func (ix *Index) Hash(picked []int, self mail.Field, c Canon) [sha256.Size]byte {
	d := sha256.New()
	buf := make([]byte, 0, 1024)
	for _, i := range picked {
		buf = AppendField(buf[:0], ix.h[i].Name, ix.h[i].Value, c)
		d.Write(buf)
	}
	buf = AppendField(buf[:0], self.Name, self.Value, c)
	d.Write(buf[:len(buf)-2])
	var sum [sha256.Size]byte
	d.Sum(sum[:0])
	return sum
}
