// Package hex reads hexadecimal digits as mail has them: among other text, of any
// case, and not always right.
package hex

// Digit gives the value of a digit, 255 for anything else.
func Digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// Percent undoes percent-encoding (RFC 3986, 2.1); a broken escape stands for
// itself.
func Percent[T ~string | ~[]byte](s T) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && Digit(s[i+1]) < 16 && Digit(s[i+2]) < 16 {
			out = append(out, Digit(s[i+1])<<4|Digit(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return out
}
