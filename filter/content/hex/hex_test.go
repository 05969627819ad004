package hex

import "testing"

func TestDigit(t *testing.T) {
	const digits = "0123456789abcdef"
	for c := range 256 {
		want := byte(255)
		for i := range digits {
			if digits[i] == byte(c) || digits[i] == byte(c)|0x20 && 'A' <= c && c <= 'F' {
				want = byte(i)
			}
		}
		if got := Digit(byte(c)); got != want {
			t.Errorf("%q: %d, want %d", rune(c), got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for in, want := range map[string]string{"": "", "a%20b": "a b", "%41%6A": "Aj", "%": "%", "%4": "%4", "%4g%zz": "%4g%zz", "%%41": "%A", "100%": "100%"} {
		if got := string(Percent(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
