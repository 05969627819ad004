package encword

import (
	"mime"
	"strings"
	"testing"
	"unicode/utf8"

	"mailwicket/filter/linear"
)

func TestDecode(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?q?K=C3=B6ln?=", "Köln"},
		{"=?UTF-8?B?S8O2bG4=?=", "Köln"},
		{"=?utf-8?b?S8O2bG4?=", "Köln"},                                   // no padding
		{"=?iso-8859-1?q?K=F6ln?= x", "Köln x"},                           // text after
		{"a =?utf-8?q?b?=  =?utf-8?q?c?= d", "a bc d"},                    // blanks between words vanish
		{"=?utf-8?q?=C3?= =?utf-8?q?=B6?=", "ö"},                          // a character cut in two
		{"=?utf-8?b?w7Y=?=\r\n =?utf-8?b?w7Y=?=", "öö"},                   // padding in each
		{"=?utf-8*de?q?a_b?=", "a b"},                                     // with a language
		{"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"},                      // another charset
		{"=?shift_jis?b?k/qWew==?=", "日本"},                                //
		{"=?x-unknown?q?a=E4?=", "a\ufffd"},                               //
		{"=?bad? =?utf-8?q?a?=", "=?bad? a"},                              // broken, then good
		{"=?a?xx?b?= =?utf-8?q?a?=", "=?a?xx?b?= a"},                      //
		{"=?utf-8?q?a=GG=4?=", "a=GG=4"},                                  // broken escapes
		{"=?utf-8?x?a?=", "=?utf-8?x?a?="},                                // unknown encoding
		{"=?utf-8?b?***?=", "=?utf-8?b?***?="},                            // not base64
		{"=?utf-8?q??=", ""},                                              // empty
		{"=?utf-8?q?open", "=?utf-8?q?open"},                              // without end
		{"=?utf-8?q?a?=b=?utf-8?q?c?=", "abc"},                            // no blanks around
		{"=?utf-8?q?=FF?=", "\ufffd"},                                     // not UTF-8
		{"x =?", "x =?"},                                                  //
		{"=?us-ascii?q?admin=40victim.example?=", "admin@victim.example"}, //
	}
	for _, tt := range tests {
		if got := Decode(tt.in); got != tt.want {
			t.Errorf("Decode(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestLen(t *testing.T) {
	for in, want := range map[string]int{
		"=?utf-8?q?a?= x": 13, "x": 0, "=?": 0, "": 0, "=?utf-8?q?a": 0, " =?utf-8?q?a?=": 0,
	} {
		if got := Len(in); got != want {
			t.Errorf("Len(%q) = %d, want %d", in, got, want)
		}
	}
}

// TestHostileInputIsLinear: eight times the input costs about eight times the
// work. Quadratic code would be at sixty-four.
func TestHostileInputIsLinear(t *testing.T) {
	for _, unit := range []string{"=?", "=?a?q?", "=?a?b?", "?=", "=?utf-8?q?=41?= ", "=?a", "=?big5?q?=a4?=", "=?x?q?a"} {
		work := func(n int) func() {
			s := strings.Repeat(unit, n/len(unit))
			return func() { Decode(s) }
		}
		if x := linear.Growth(12, 12, work(8<<10), work(64<<10)); x > 30 {
			t.Errorf("%q: eight times the input takes %.1f times as long", unit, x)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("=?utf-8?q?K=C3=B6ln?= =?iso-8859-1?b?S/Zsbg==?=")
	f.Add("=?a?q?b")
	f.Fuzz(func(t *testing.T, s string) {
		got := Decode(s)
		if utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Errorf("Decode(%q) = %q is not UTF-8", s, got)
		}
		// What is encoded here is decoded again.
		if utf8.ValidString(s) && len(s) < 40 {
			for _, e := range []mime.WordEncoder{mime.QEncoding, mime.BEncoding} {
				if w := e.Encode("utf-8", s); w != s && Decode(w) != s {
					t.Errorf("Decode(%q) = %q, want %q", w, Decode(w), s)
				}
			}
		}
		if n := Len(s); n < 0 || n > len(s) {
			t.Errorf("Len(%q) = %d", s, n)
		}
	})
}
