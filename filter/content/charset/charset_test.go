package charset

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

type gathered struct {
	strings.Builder
	ended int
}

func (g *gathered) Write(p []byte) { g.Builder.Write(p) }
func (g *gathered) End()           { g.ended++ }

func convert(label, text string, n int) (string, bool) {
	g := &gathered{}
	s, known := Reader(label, g)
	for p := []byte(text); len(p) > 0; {
		k := min(n, len(p))
		s.Write(slices.Clone(p[:k]))
		p = p[k:]
	}
	s.End()
	if g.ended != 1 {
		return "not ended once", known
	}
	return g.String(), known
}

func encoded(t *testing.T, e encoding.Encoding, s string) string {
	t.Helper()
	out, err := e.NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReader(t *testing.T) {
	const link = "see http://bücher.example/ now"
	const asian = "見る http://例え.example/ ＥＶＩＬ．ＣＯＭ"
	le := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	be := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	le32 := utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)
	be32 := utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)
	for _, c := range []struct{ label, text, want string }{
		{"", link, link},
		{"utf-8", "\xef\xbb\xbf" + link, link},
		{"us-ascii", "\xff\xff.example", "\xff\xff.example"},
		{"UTF-8", "é\xff", "é\xff"},
		{"iso-8859-1", encoded(t, charmap.ISO8859_1, link), link},
		{`"Windows-1252"`, encoded(t, charmap.Windows1252, link), link},
		{"koi8-r", encoded(t, charmap.KOI8R, "http://яндекс.example"), "http://яндекс.example"},
		{"cp037", encoded(t, charmap.CodePage037, link), link}, // EBCDIC: not even ASCII is the same
		{"iso-2022-jp", encoded(t, japanese.ISO2022JP, asian), asian},
		{"shift_jis", encoded(t, japanese.ShiftJIS, asian), asian},
		{"gb18030", encoded(t, simplifiedchinese.GB18030, asian), asian},
		{"hz-gb-2312", encoded(t, simplifiedchinese.HZGB2312, "http://例.example"), "http://例.example"},
		{"utf-16", encoded(t, le, link), link},
		{"utf-16", encoded(t, be, link), link},
		{"utf-16le", "\xff\xfe" + encoded(t, le, link), link},
		{"utf-16le", "\xfe\xff" + encoded(t, be, link), link}, // the mark goes before the label
		{"utf-8", "\xff\xfe" + encoded(t, le, link), link},
		{"iso-10646-ucs-2", encoded(t, be, link), link},
		{"utf-16be", encoded(t, be, asian), asian},
		{"utf-16", encoded(t, le, asian), asian},
		{"utf-32", encoded(t, le32, link), link},
		{"utf-32be", encoded(t, be32, asian), asian},
		{"", "\x00\x00\xfe\xff" + encoded(t, be32, asian), asian},
		{"utf-7", "+AGgAdAB0AHA-://b+APw-cher.example 1 +- 2 +ZeVnLIqe", "http://bücher.example 1 + 2 日本語"},
		{"unicode-1-1-utf-7", "+2Dzf+Q-!+AGE.", "🏹!a."},
		{"utf-7", "\xff+", "\ufffd"},
		{"iso-8859-1", "a", "a"},
		{"utf-16", "", ""},
		{"utf-16", "a\x00b", "ab"[:1] + "\ufffd"},
	} {
		for _, n := range []int{1 << 20, 1, 2, 3, 5} {
			if got, known := convert(c.label, c.text, n); got != c.want || !known {
				t.Errorf("%s in pieces of %d: %q is %q, want %q", c.label, n, c.text, got, c.want)
			}
		}
	}
	for _, label := range []string{"x-unknown", "iso-2022-cn", "none"} {
		if got, known := convert(label, link, 3); known || got != link {
			t.Errorf("%s: known %v, %q", label, known, got)
		}
	}
	long := strings.Repeat(asian, 2000)
	for _, n := range []int{1 << 20, 4096, 997} {
		if got, _ := convert("euc-jp", encoded(t, japanese.EUCJP, long), n); got != long {
			t.Errorf("long text differs in pieces of %d", n)
		}
	}
}

// FuzzReader: what comes out is UTF-8 where something was converted, not much
// longer than what went in, and the same however it was cut.
func FuzzReader(f *testing.F) {
	labels := []string{"", "utf-8", "iso-8859-1", "iso-2022-jp", "shift_jis", "gb18030", "hz-gb-2312", "utf-16", "utf-16be", "utf-32", "utf-7", "big5",
		"euc-kr", "cp037", "windows-1252", "x-unknown", "iso-2022-kr", "euc-jp"}
	for i := range labels {
		f.Add(uint8(i), "+AGg-\x1b$B%\"~{<:Ky~}\xe9\xff\xfe\x00a\xd8\x00", uint8(1))
	}
	f.Fuzz(func(t *testing.T, i uint8, text string, n uint8) {
		label := labels[int(i)%len(labels)]
		whole, known := convert(label, text, len(text)+1)
		if got, _ := convert(label, text, int(n)+1); got != whole {
			t.Errorf("%s in pieces of %d\n got %q\nwant %q", label, n+1, got, whole)
		}
		if len(whole) > 4*len(text)+8 {
			t.Errorf("%s: %d bytes of %d", label, len(whole), len(text))
		}
		if known && int(i)%len(labels) > 1 && !utf8.ValidString(whole) && !strings.HasPrefix(text, "\xef\xbb\xbf") {
			t.Errorf("%s: %q is not UTF-8", label, whole)
		}
	})
}
