package mime

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailwicket/filter/mail"
)

// collector writes down what a Walker tells.
type collector struct {
	parts []*gathered
	want  func(Part) bool // nil wants all
}

type gathered struct {
	Part
	b     strings.Builder
	ended int
}

func (c *collector) Begin(p Part) Sink {
	if c.want != nil && !c.want(p) {
		return nil
	}
	g := &gathered{Part: p}
	c.parts = append(c.parts, g)
	return g
}

func (g *gathered) Write(p []byte) { g.b.Write(p) }
func (g *gathered) End()           { g.ended++ }

// split parts a message as an MTA does; LF becomes CRLF unless told otherwise.
func split(msg string) (mail.Header, string) {
	head, body, _ := strings.Cut(msg, "\n\n")
	var h mail.Header
	for line := range strings.SplitSeq(head, "\n") {
		if n := len(h); n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			h[n-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		h = append(h, mail.Field{Name: name, Value: value})
	}
	return h, body
}

func walk(h mail.Header, body string, n int) (*collector, *Walker) {
	c := &collector{}
	w := New(h, c)
	for p := []byte(body); len(p) > 0; {
		k := min(n, len(p))
		w.Write(slices.Clone(p[:k]))
		p = p[k:]
	}
	w.Close()
	return c, w
}

// told puts a walk into lines: parts that have content, then defects.
func told(c *collector, w *Walker) string {
	var b strings.Builder
	for _, g := range c.parts {
		if g.b.Len() == 0 && g.Aside {
			continue
		}
		name := g.Type
		if g.Aside {
			name = "aside"
		}
		if g.Charset != "" {
			name += " " + g.Charset
		}
		if g.Name != "" {
			name += " name=" + g.Name
		}
		if g.Attachment {
			name += " attached"
		}
		fmt.Fprintf(&b, "%d %s %q\n", g.Depth, name, g.b.String())
		if g.ended != 1 {
			fmt.Fprintf(&b, "ended %d times\n", g.ended)
		}
	}
	for _, d := range w.Defects() {
		fmt.Fprintf(&b, "!%s\n", d)
	}
	return b.String()
}

// check walks a message with both kinds of line ends, whole and in pieces.
func check(t *testing.T, msg, want string) {
	t.Helper()
	h, body := split(msg)
	for _, n := range []int{1 << 20, 1, 2, 3, 5, 7} {
		if got := told(walk(h, body, n)); got != want {
			t.Errorf("in pieces of %d, of\n%s\n got %s\nwant %s", n, msg, got, want)
		}
		crlf := strings.ReplaceAll(body, "\n", "\r\n")
		if got := strings.ReplaceAll(told(walk(h, crlf, n)), `\r\n`, `\n`); got != want {
			t.Errorf("with CRLF in pieces of %d, of\n%s\n got %s\nwant %s", n, msg, got, want)
		}
	}
}

const mixed = "Content-Type: multipart/mixed; boundary=b\n\n"

func TestWalk(t *testing.T) {
	for _, c := range []struct{ name, msg, want string }{
		{"plain", "Subject: x\n\nHello\n--b\n", "0 text/plain \"Hello\\n--b\\n\"\n"},
		{"no body", "Content-Type: text/html\n\n", "0 text/html \"\"\n"},
		{"base64", "Content-Type: TEXT/HTML; charset=\"UTF-8\"\nContent-Transfer-Encoding: BASE64\n\nSGVs\nbG8=\n", "0 text/html utf-8 \"Hello\"\n"},
		{"quoted", "Content-Transfer-Encoding: quoted-printable\n\nhttp://ev=\nil.ex=61mple=3D \t\na = b=3d\n",
			"0 text/plain \"http://evil.example= \\t\\na = b=\\n\"\n!bad_quoted_printable\n"},
		{"soft break with blanks", "Content-Transfer-Encoding: quoted-printable\n\na= \t\nb==\nc=", "0 text/plain \"ab=c\"\n!bad_quoted_printable\n"},
		{"two parts", mixed + "preamble\n--b\nContent-Type: text/html\n\n<p>\n\n--b\n\ntext\n--b--\nepilogue\n",
			"1 aside \"preamble\"\n1 text/html \"<p>\\n\"\n1 text/plain \"text\"\n1 aside \"epilogue\\n\"\n"},
		{"blank behind the boundary", mixed + "--b \t\n\ntext\n--b-- \n", "1 text/plain \"text\"\n"},
		{"no end", mixed + "--b\n\ntext\n", "1 text/plain \"text\\n\"\n!boundary_unclosed\n"},
		{"no line end at the end", mixed + "--b\n\ntext\n--b--", "1 text/plain \"text\"\n"},
		{"a boundary last", mixed + "--b\n\ntext\n--b", "1 text/plain \"text\"\n!boundary_unclosed\n"},
		{"a part after the end", mixed + "--b--\nx\n--b\n\ntext\n--b--\n", "1 aside \"x\"\n1 text/plain \"text\"\n!part_after_end\n"},
		{"an odd boundary", mixed + "--b\n\nx\n--bb\ny\n-- b\n--b--\n", "1 text/plain \"x\\n--bb\\ny\\n-- b\"\n!odd_boundary\n"},
		{"dashes", mixed + "--b\n\n-\n--\n---\n--b --\n-\n--b--\n", "1 text/plain \"-\\n--\\n---\\n--b --\\n-\"\n!odd_boundary\n"},
		{"nested", mixed + "--b\nContent-Type: multipart/alternative; boundary=\"c d\"\n\n--c d\n\nin\n--c d--\n--b\n\nout\n--b--\n",
			"2 text/plain \"in\"\n1 text/plain \"out\"\n"},
		{"nested without its end", mixed + "--b\nContent-Type: multipart/x; boundary=c\n\n--c\n\nin\n--b\n\nout\n--b--\n",
			"2 text/plain \"in\"\n1 text/plain \"out\"\n!boundary_unclosed\n"},
		{"the same boundary within", mixed + "--b\nContent-Type: multipart/x; boundary=b\n\n--b\n\nin\n--b--\nx\n--b--\n",
			"2 text/plain \"in\"\n2 aside \"x\"\n!boundary_unclosed\n"},
		{"message", mixed + "--b\nContent-Type: message/rfc822\n\nSubject: x\nContent-Type: text/html\n\n<p>\n--b--\n", "2 text/html \"<p>\"\n"},
		{"message with parts", "Content-Type: message/rfc822\n\n\nFrom: a\n" + mixed + "--b\n\nx\n--b--\ny", "2 text/plain \"x\"\n2 aside \"y\"\n"},
		{"message in base64", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nWDogeQoKaGVsbG8K\n",
			"0 aside \"WDogeQoKaGVsbG8K\\n\"\n1 text/plain \"hello\\n\"\n!encoded_container\n"},
		{"parts in base64", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\nLS1iCgpoZWxsbwotLWItLQo=\n",
			"2 text/plain \"hello\"\n!boundary_unclosed\n!encoded_container\n"},
		{"parts that say base64", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nhello\n--b--\n",
			"1 text/plain \"hello\"\n!boundary_unclosed\n!encoded_container\n"},
		{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nhello\n--b--\n", "2 text/plain \"hello\"\n"},
		{"no boundary told", "Content-Type: multipart/mixed\n\nx\n--=_1\n\nhello\n--=_1--\n", "1 aside \"x\"\n1 text/plain \"hello\"\n!no_boundary\n"},
		{"header lines", mixed + "--b\nContent-Type: text/html\nno field http://a.example\nX-Other: http://b.example\n more\nContent-Disposition:\n attachment; filename=a.html\n\nx\n--b--\n",
			"1 aside \"no field http://a.example\\nX-Other: http://b.example\\n more\\n\"\n1 text/html name=a.html attached \"x\"\n!bad_part_header\n"},
		{"no empty line", mixed + "--b\nhello\n--b\nContent-Type: text/html\n--b--\n", "1 aside \"hello\\n\"\n!bad_part_header\n"},
		{"header only", mixed + "--b\nContent-Type: text/html\nhello", "1 aside \"hello\\n\"\n!boundary_unclosed\n!bad_part_header\n"},
		{"fields twice", "Content-Type: text/html\nContent-Type: text/x\n\nx", "0 text/html \"x\"\n!repeated_mime_field\n"},
		{"a blank before the colon", "Content-Type : text/html\n\nx", "0 text/html \"x\"\n"},
		{"bad type", "Content-Type: html\n\nx", "0 text/plain \"x\"\n!bad_content_type\n"},
		{"unknown encoding", "Content-Transfer-Encoding: x-uue\n\nx", "0 text/plain \"x\"\n!unknown_encoding\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.msg, c.want)
		})
	}
}

func TestBase64(t *testing.T) {
	for in, want := range map[string]string{
		"aGVsbG8=":             `"hello"`,
		"aGVsbG8":              `"hello"!`,
		"aGVs\r\n bG8=\r\n":    `"hello"`,
		"aGVsbG8=aGVsbG8=":     `"hellohello"!`,
		"aGVs*bG8=-- \n":       `"hello"!`,
		"aGVsbG8=\r\n--\r\nx@": "\"hello\"!", // a footer
		"a":                    `""!`,
		"aA==":                 `"h"`,
		"aA=":                  `"h"`,
		"====":                 `""`,
	} {
		for _, n := range []int{100, 1, 2, 3} {
			s := &shared{}
			g := &gathered{}
			d := (&Walker{s: s}).decoded(base64, g)
			for p := []byte(in); len(p) > 0; p = p[min(n, len(p)):] {
				d.Write(p[:min(n, len(p))])
			}
			d.End()
			got := fmt.Sprintf("%q", g.b.String())
			if slices.Contains(s.defects, BadBase64) {
				got += "!"
			}
			if got != want || g.ended != 1 {
				t.Errorf("%q in pieces of %d is %s, want %s", in, n, got, want)
			}
		}
	}
}

func TestFields(t *testing.T) {
	for _, c := range []struct{ in, value, name, want string }{
		{`text/html; charset=utf-8`, "text/html", "charset", "utf-8"},
		{`Text / HTML ;CHARSET = "UTF-8" ; x`, "text/html", "charset", "UTF-8"},
		{`text/html (a comment; charset=x) ; charset=(no)y`, "text/html", "charset", "y"},
		{`a/b; boundary="a\"b;c"; x=y`, "a/b", "boundary", `a"b;c`},
		{`a/b; boundary="unclosed; x=y`, "a/b", "boundary", "unclosed; x=y"},
		{`a/b; name=my file (1).exe; x=y`, "a/b", "name", "my file .exe"},
		{`a/b; name=file(1).exe`, "a/b", "name", "file(1).exe"},
		{`a/b; name==?utf-8?q?caf=C3=A9?=.html`, "a/b", "name", "café.html"},
		{`a/b; name*=utf-8'en'caf%C3%A9%2Ehtml`, "a/b", "name", "café.html"},
		{`a/b; name*=iso-8859-1''caf%E9`, "a/b", "name", "café"},
		{`a/b; name*0="a."; name*1*=%68tm; name*2=l; name*4=x`, "a/b", "name", "a.html"},
		{`a/b; name*0*=utf-8''%C3; name*1*=%A9`, "a/b", "name", "é"},
		{`a/b; boundary*0=x; boundary*1=y`, "a/b", "boundary", "xy"},
		{`a/b;;; =x; y; name=z`, "a/b", "name", "z"},
		{``, "", "x", ""},
		{`a/b; name*=%zz`, "a/b", "name", "%zz"},
	} {
		f := parseField(c.in)
		if f.value != c.value || f.text(c.name) != c.want {
			t.Errorf("%s: %q, %s %q, want %q, %q", c.in, f.value, c.name, f.text(c.name), c.value, c.want)
		}
	}
	if !parseField("a/b; x=1; X=2").repeated || parseField("a/b; x=1; y=2").repeated {
		t.Error("repeated parameters")
	}
	for in, want := range map[string]encoding{"": identity, "8BIT": identity, "base64 (x)": base64, `"base64"`: base64, "Quoted-Printable;": quotedPrintable, "x": unknown} {
		if got := parseEncoding(in); got != want {
			t.Errorf("encoding %q is %d", in, got)
		}
	}
}

// TestBounds: what is over a bound is told, and the rest of the message is read.
func TestBounds(t *testing.T) {
	deep := ""
	for i := range 2 * MaxDepth {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	h, body := split(deep + "\ninnermost http://a.example\n")
	c, w := walk(h, body, 1000)
	last := c.parts[len(c.parts)-1]
	if !slices.Contains(w.Defects(), TooDeep) || last.Depth != MaxDepth || last.Type != "text/plain" || !strings.Contains(last.b.String(), "innermost") {
		t.Errorf("too deep: %v, %+v", w.Defects(), last.Part)
	}
	nested := "hello"
	for range 2 * MaxDepth {
		nested = "X: y\nContent-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n" + nested
	}
	h, body = split(nested)
	if c, w = walk(h, body, 1000); !slices.Contains(w.Defects(), TooDeep) || len(c.parts) > 3*MaxDepth {
		t.Errorf("messages too deep: %v, %d parts", w.Defects(), len(c.parts))
	}
	h, body = split(mixed + strings.Repeat("--b\n\nx\n", 2*MaxParts))
	if c, w = walk(h, body, 1000); !slices.Contains(w.Defects(), TooManyParts) || len(c.parts) != MaxParts-1 {
		t.Errorf("too many: %v, %d parts", w.Defects(), len(c.parts))
	}
	for _, line := range []string{"X: " + strings.Repeat("x", 2*maxLine) + "\n", strings.Repeat("X: y\n", maxHeader/4),
		"Content-Description: x\n" + strings.Repeat(" "+strings.Repeat("y", 1000)+"\n", 40)} {
		h, body = split(mixed + "--b\n" + line + "Content-Disposition: attachment\n\nx\n--b--\n")
		c, w = walk(h, body, 1000)
		if last := c.parts[len(c.parts)-1]; !slices.Contains(w.Defects(), HeaderTooLarge) || last.b.String() != "x" {
			t.Errorf("large header: %v %q", w.Defects(), last.b.String())
		}
	}
	h, body = split(mixed + "--b\n\n--b" + strings.Repeat(" ", 3*maxPadding) + "\n--b--")
	if c, w = walk(h, body, 100); len(c.parts) != 1 || len(w.Defects()) != 0 {
		t.Errorf("padding: %v", w.Defects())
	}
	h, body = split("Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 3000) + "\n\n--x\n\nhello\n--x--\n")
	if got := told(walk(h, body, 100)); got != "1 text/plain \"hello\"\n!no_boundary\n" {
		t.Errorf("long boundary: %s", got)
	}
}

// TestVisitors: each gets the parts that it wants.
func TestVisitors(t *testing.T) {
	all, html := &collector{}, &collector{want: func(p Part) bool { return p.Type == "text/html" }}
	h, body := split(mixed + "--b\n\nx\n--b\nContent-Type: text/html\n\ny\n--b--\n")
	w := New(h, all, html)
	w.Write([]byte(body))
	w.Close()
	if len(all.parts) != 2 || len(html.parts) != 1 || html.parts[0].b.String() != "y" || html.parts[0].ended != 1 {
		t.Errorf("%d and %d parts", len(all.parts), len(html.parts))
	}
}

// TestPaddingWithin: content may go on behind padding, at whatever length that came,
// and however long it is.
func TestPaddingWithin(t *testing.T) {
	for before := range 4 {
		first := strings.Repeat("QQ==", before)
		want := strings.Repeat("A", before) + strings.Repeat("abc", 3000)
		c, _ := walk(mail.Header{{Name: "Content-Transfer-Encoding", Value: "base64"}}, first+strings.Repeat("YWJj", 3000), 1<<20)
		if len(c.parts) != 1 || c.parts[0].b.String() != want {
			t.Errorf("%d groups with padding: %d parts", before, len(c.parts))
		}
	}
}
