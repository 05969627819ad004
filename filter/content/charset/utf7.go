package charset

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf7 decodes RFC 2152. Some mail programs still do; no browser does.
type utf7 struct {
	shifted bool
	fresh   bool // right behind the "+"
	acc     uint32
	bits    uint
	high    rune // the first half of a surrogate pair
}

// Reset is part of transform.Transformer.
func (u *utf7) Reset() { *u = utf7{} }

// Transform takes one byte at a time: the state holds what is incomplete.
func (u *utf7) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		if nDst+2*utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		switch v := value(c); {
		case !u.shifted && c == '+':
			*u = utf7{shifted: true, fresh: true}
		case !u.shifted:
			nDst += u.plain(dst[nDst:], c)
		case v < 64:
			u.fresh = false
			nDst += u.unit(dst[nDst:], v)
		default: // the end of the shift; a "-" only marks it
			fresh := u.fresh
			*u = utf7{}
			switch {
			case c == '-' && fresh:
				nDst += copy(dst[nDst:], "+")
			case c != '-':
				nDst += u.plain(dst[nDst:], c)
			}
		}
	}
	return nDst, nSrc, nil
}

// plain is a byte that stands for itself; others than ASCII should not be here.
func (u *utf7) plain(dst []byte, c byte) int {
	if c >= utf8.RuneSelf {
		return utf8.EncodeRune(dst, utf8.RuneError)
	}
	dst[0] = c
	return 1
}

// unit takes six bits more of UTF-16.
func (u *utf7) unit(dst []byte, v byte) int {
	u.acc, u.bits = u.acc<<6|uint32(v), u.bits+6
	if u.bits < 16 {
		return 0
	}
	u.bits -= 16
	r := rune(u.acc >> u.bits & 0xffff)
	u.acc &= 1<<u.bits - 1
	switch {
	case u.high != 0:
		whole := utf16.DecodeRune(u.high, r)
		u.high = 0
		return utf8.EncodeRune(dst, whole)
	case utf16.IsSurrogate(r):
		u.high = r
		return 0
	}
	return utf8.EncodeRune(dst, r)
}

// value is that of a character of base64, 255 of others.
func value(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A'
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26
	case '0' <= c && c <= '9':
		return c - '0' + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return 255
}
