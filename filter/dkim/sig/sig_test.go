package sig

import (
	"crypto/sha256"
	"strings"
	"testing"

	"mailwicket/filter/mail"
)

// slowBody is RFC 6376, 3.4.3 and 3.4.4 word for word, over a whole body.
func slowBody(body string, c Canon) string {
	lines := strings.Split(body, "\r\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if c == Relaxed {
		for i, l := range lines {
			var b strings.Builder
			blank := false
			for _, r := range []byte(strings.TrimRight(l, " \t")) {
				if r == ' ' || r == '\t' {
					blank = true
					continue
				}
				if blank {
					b.WriteByte(' ')
					blank = false
				}
				b.WriteByte(r)
			}
			lines[i] = b.String()
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		if c == Simple {
			return "\r\n"
		}
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

func bodies() []string {
	long := strings.Repeat("word word  word\t tab \r\n\r\n", 100)
	return []string{
		"", "\r\n", "\r\n\r\n\r\n", " ", " \r\n", "\t \r\n \r\n", "a", "a\r\n", "a\r\n\r\n\r\n", "a \t\r\n b\r\n \r\n",
		"\r\n\r\na\r\n", " C \r\nD \t E\r\n\r\n\r\n", "caf\xe9\x00\xff\r\n", "no end", "end in cr\r", "a\rb", "a \rb", "a\nb", " \n ",
		"\r", "\r\r\n", "\r\n\r", "a\r\n\r\r\n", "a \r", "a  \r\r\n ", "\r\n b", "a b c d  e", long, long + "x" + long,
		strings.Repeat("x", 3000) + "\r\n" + strings.Repeat("y z ", 1000), strings.Repeat("\r\n", 5000) + "x\r\n",
	}
}

func TestBodyAgainstRFC(t *testing.T) {
	for _, c := range []Canon{Simple, Relaxed} {
		for _, body := range bodies() {
			want := sha256.Sum256([]byte(slowBody(body, c)))
			b := NewBody(c)
			b.Write([]byte(body))
			if b.Sum() != want {
				t.Errorf("canon %d: body %.40q: hash differs from that of %.40q", c, body, slowBody(body, c))
			}
			checkSplits(t, body, c, want)
		}
	}
}

// checkSplits cuts the body at every offset, and into single bytes.
func checkSplits(t *testing.T, body string, c Canon, want [32]byte) {
	t.Helper()
	single := NewBody(c)
	for i := range len(body) {
		single.Write([]byte{body[i]})
		if len(body) > 4000 && i%37 != 0 {
			continue
		}
		b := NewBody(c)
		b.Write([]byte(body[:i]))
		b.Write([]byte(body[i:]))
		if b.Sum() != want {
			t.Fatalf("canon %d: body %.40q cut at %d differs", c, body, i)
		}
	}
	if single.Sum() != want {
		t.Errorf("canon %d: body %.40q byte by byte differs", c, body)
	}
}

func FuzzBody(f *testing.F) {
	for _, b := range bodies() {
		f.Add([]byte(b), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		cut = max(0, min(cut, len(body)))
		for _, c := range []Canon{Simple, Relaxed} {
			b := NewBody(c)
			b.Write(body[:cut])
			b.Write(body[cut:])
			if b.Sum() != sha256.Sum256([]byte(slowBody(string(body), c))) {
				t.Fatalf("canon %d differs", c)
			}
		}
		regular := strings.ReplaceAll(string(body), "\r\n", "")
		var l LineEnds
		l.Write(body[:cut])
		l.Write(body[cut:])
		bare := strings.ContainsAny(strings.TrimSuffix(regular, "\r"), "\r\n")
		// "\r\r\n": what is left after the pair is a CR that is not at the end.
		if strings.HasSuffix(regular, "\r") && !strings.HasSuffix(string(body), "\r") {
			bare = true
		}
		if l.Regular() == bare {
			t.Fatalf("Regular() = %v", l.Regular())
		}
	})
}

func TestAppendField(t *testing.T) {
	// RFC 6376, 3.4.5, and the corners of 3.4.2.
	for _, c := range []struct{ name, value, want string }{
		{"A", " X", "a:X\r\n"},
		{"B ", " Y\t\r\n\tZ  ", "b:Y Z\r\n"},
		{"C", "", "c:\r\n"},
		{"D", " \r\n ", "d:\r\n"},
		{"E", "a\rb\nc", "e:a\rb\nc\r\n"},
		{"F", "a\r\n", "f:a\r\n\r\n"},
		{"G", "  a \t b\r\n\r\n c", "g:a b\r\n c\r\n"},
	} {
		if got := string(AppendField(nil, c.name, c.value, Relaxed)); got != c.want {
			t.Errorf("relaxed %q: got %q, want %q", c.value, got, c.want)
		}
		if got, want := string(AppendField(nil, c.name, c.value, Simple)), c.name+":"+c.value+"\r\n"; got != want {
			t.Errorf("simple %q: got %q, want %q", c.value, got, want)
		}
	}
}

func TestParseTags(t *testing.T) {
	for _, c := range []struct {
		in, want string // want: name=value|..., or the error
	}{
		{"a=1; b=2", "a=1|b=2"},
		{" a = 1 ;\r\n\tb= 2 3 ;", "a=1|b=2 3"},
		{"a=;b==;", "a=|b=="},
		{"a=1;;b=2", "a=1|b=2"},
		{"a=1;a=2", "a tag occurs twice"},
		{"a=1;A=2", "a=1|A=2"},
		{"a=1;b", "a tag without value"},
		{"=1", "malformed tag name"},
		{"1a=1", "malformed tag name"},
		{"a_1=x", "a_1=x"},
		{"a b=1", "malformed tag name"},
		{"a=\x00", "control character in a tag"},
		{"\u00a0a=1", "malformed tag name"},
		{"d=b\u00fccher.example", "d=b\u00fccher.example"},
		{"", "empty tag list"},
		{" ; ", "empty tag list"},
		{strings.Repeat("x", 200), "a tag without value"},
	} {
		ts, err := ParseTags(c.in)
		var got []string
		for _, x := range ts {
			got = append(got, x.Name+"="+x.Value)
		}
		s := strings.Join(got, "|")
		if err != nil {
			s = err.Error()
		}
		if s != c.want {
			t.Errorf("%q: got %q, want %q", c.in, s, c.want)
		}
	}
}

func FuzzTags(f *testing.F) {
	for _, s := range []string{"v=1; a=rsa-sha256; b= x y ;c=d", "a=1;;", "b=", "=", "a=b=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ts, err := ParseTags(s)
		if err != nil {
			return
		}
		for _, x := range ts {
			from, to := ts.Span(x.Name)
			if TrimFWS(s[from:to]) != x.Value {
				t.Fatalf("span of %q is %q, value %q", x.Name, s[from:to], x.Value)
			}
			blank := ts.Without(s, x.Name)
			again, err := ParseTags(blank)
			if err != nil || len(again) != len(ts) {
				t.Fatalf("%q without %s: %q: %v", s, x.Name, blank, err)
			}
			if v, _ := again.Get(x.Name); v != "" {
				t.Fatalf("%q without %s: still %q", s, x.Name, v)
			}
		}
	})
}

func TestPick(t *testing.T) {
	h := mail.Header{{Name: "DKIM-Signature"}, {Name: "From"}, {Name: "X"}, {Name: "from "}, {Name: "DKIM-Signature"}, {Name: "Dk\u212aim"}}
	ix := NewIndex(h)
	for _, c := range []struct {
		names string
		self  int
		want  []int
	}{
		{"from", 0, []int{3}},
		{"from:from:from:from", 0, []int{3, 1}},
		{"from:x:from", 0, []int{3, 2, 1}},
		{"dkim-signature:dkim-signature:dkim-signature", 0, []int{4}},
		{"dkim-signature:dkim-signature", 4, []int{0}},
		{"none:none", 0, nil},
	} {
		got := ix.Pick(strings.Split(c.names, ":"), c.self)
		if len(got) != len(c.want) {
			t.Errorf("%s: got %v, want %v", c.names, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %v, want %v", c.names, got, c.want)
			}
		}
	}
}
