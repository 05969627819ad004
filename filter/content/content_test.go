package content

import (
	"encoding/base64"
	"fmt"
	"mime/quotedprintable"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/unicode"

	"mailwicket/filter/content/link"
	"mailwicket/filter/content/mime"
	"mailwicket/filter/mail"
)

// split parts a message; LF becomes CRLF.
func split(msg string) (mail.Header, string) {
	head, body, _ := strings.Cut(strings.ReplaceAll(msg, "\n", "\r\n"), "\r\n\r\n")
	var h mail.Header
	for line := range strings.SplitSeq(head, "\r\n") {
		if n := len(h); n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			h[n-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		h = append(h, mail.Field{Name: name, Value: value})
	}
	return h, body
}

// read walks a body in pieces of n bytes.
func read(h mail.Header, body string, n int) Finding {
	w := New(h)
	for p := []byte(body); len(p) > 0; {
		k := min(n, len(p))
		w.Write(slices.Clone(p[:k])) // pieces are only valid during the call
		p = p[k:]
	}
	return w.Close()
}

func told(f Finding) string {
	words := slices.Clone(f.Hosts)
	for _, a := range f.Addrs {
		words = append(words, a.String())
	}
	for _, d := range f.Defects {
		words = append(words, "!"+d)
	}
	return strings.Join(words, " ")
}

func inBase64(s string) string {
	b := base64.StdEncoding.EncodeToString([]byte(s))
	var out strings.Builder
	for ; len(b) > 76; b = b[76:] {
		out.WriteString(b[:76] + "\n")
	}
	return out.String() + b + "\n"
}

func inQuoted(s string) string {
	var b strings.Builder
	w := quotedprintable.NewWriter(&b)
	fmt.Fprint(w, s)
	w.Close()
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

func inUTF16(s string) string {
	out, _ := unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().String(s)
	return out
}

const page = `<html><body><p>Dear customer, please <a href="http://evil.example/login">log in</a></body></html>`

func TestFinding(t *testing.T) {
	for _, c := range []struct{ name, msg, want string }{
		{"plain", "Subject: x\n\nsee http://evil.example/\n", "evil.example"},
		{"html", "Content-Type: text/html\n\n" + page, "evil.example"},
		{"html as text", "Content-Type: text/plain\n\n" + page, "evil.example"},
		{"base64", "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + inBase64(page), "evil.example"},
		{"base64 with rubbish", "Content-Type: text/html\nContent-Transfer-Encoding: base64\n\n" + strings.ReplaceAll(inBase64(page), "a", "!a "),
			"evil.example !bad_base64"},
		{"a break in the middle", "Content-Transfer-Encoding: quoted-printable\n\nhttp://ev=\nil.exam=70=6Ce/\n", "evil.example"},
		{"a long line", "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n" +
			inQuoted(strings.Repeat("x", 60)+" http://evil.example/"+strings.Repeat("y", 90)), "evil.example"},
		{"utf-16", "Content-Type: text/html; charset=utf-16\nContent-Transfer-Encoding: base64\n\n" + inBase64(inUTF16(page)), "evil.example"},
		{"utf-7", "Content-Type: text/html; charset=utf-7\n\n+ADw-a href=+ACI-http://evil.example+ACIAPg-", "evil.example"},
		{"iso-2022-jp", "Content-Type: text/plain; charset=iso-2022-jp\n\nhttp://\x1b$B#e#v#i#l!%#c#o#m\x1b(B/", "evil.com"},
		{"unknown charset", "Content-Type: text/plain; charset=x-klingon\n\nhttp://b\xfccher.example", "xn--bcher-kva.example !unknown_charset"},
		{"an attached message", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee\n--b\nContent-Type: message/rfc822\n\nFrom: x@no.com\n" +
			"X: http://no.example\nContent-Type: text/html\n\n" + page + "\n--b--\n", "evil.example"},
		{"no end, no end of a header", "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\nSee http://a.example\n\n--b\n" +
			"Content-Type: text/html\n\n" + page, "a.example evil.example !boundary_unclosed !bad_part_header"},
		{"around the parts", "Content-Type: multipart/mixed; boundary=b\n\nhttp://a.example\n--b\n\nx\n--b--\nhttp://b.example\n", "a.example b.example"},
		{"attached html", "Content-Type: application/octet-stream\nContent-Disposition: attachment; filename*=utf-8''invoice%2Ehtml\n\n" + page, "evil.example"},
		{"attached svg", "Content-Type: image/svg+xml\n\n<svg><a xlink:href='//evil.example'>", "evil.example"},
		{"attached source", "Content-Type: text/plain; name=a.py\nContent-Disposition: attachment\n\nself.id www.no.com http://a.example", "a.example"},
		{"a picture", "Content-Type: image/png\n\nhttp://no.example", ""},
		{"delivery report", "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.no.com\n" +
			"--b\nContent-Type: text/rfc822-headers\n\nX: http://no.example\n--b--\n", ""},
		{"calendar", "Content-Type: text/calendar\n\nURL:https://evil.example/x\nUID:1@no.com\n", "evil.example"},
		{"addresses", "Subject: x\n\nhttp://192.0.2.1/ http://[2001:db8::1]/\n", "192.0.2.1 2001:db8::1"},
	} {
		h, body := split(c.msg)
		for _, n := range []int{1 << 20, 1, 3, 64} {
			if got := told(read(h, body, n)); got != c.want {
				t.Errorf("%s, in pieces of %d: %q, want %q", c.name, n, got, c.want)
			}
		}
	}
}

// TestWords: the words are distinct, and those of a finding are among them.
func TestWords(t *testing.T) {
	words := DefectWords()
	for i, w := range words {
		if slices.Contains(words[:i], w) || strings.ToLower(w) != w || strings.Contains(w, " ") {
			t.Errorf("word %q", w)
		}
	}
	h, body := split("Content-Type: text/plain; charset=x-no\nContent-Transfer-Encoding: x-no\n\nhttp://a@b.c@evil.example")
	f := read(h, body, 10)
	if want := []string{"unknown_encoding", "unknown_charset", "disguised_link"}; !slices.Equal(f.Defects, want) || f.Over {
		t.Errorf("%v, over %v, want %v", f.Defects, f.Over, want)
	}
	for _, d := range f.Defects {
		if !slices.Contains(words, d) {
			t.Errorf("%q is not among the words", d)
		}
	}
}

// TestTooMuchText: what is over the bound is told, and the bound is exact.
func TestTooMuchText(t *testing.T) {
	pad := strings.Repeat(strings.Repeat("x", 76)+"\r\n", MaxText/78+1)
	const last = "\r\nhttp://a.example/"
	for _, c := range []struct{ text, want string }{
		{pad[:MaxText-len(last)] + last, "a.example"},
		{pad[:MaxText] + last, "!too_much_text"},
	} {
		for _, n := range []int{1 << 20, 65535} {
			f := read(mail.Header{}, c.text, n)
			if got := told(f); got != c.want || f.Over != strings.Contains(c.want, "!") {
				t.Errorf("in pieces of %d: %q, over %v, want %q", n, got, f.Over, c.want)
			}
		}
	}
}

// TestHostsSoFar: hosts are known while the body streams.
func TestHostsSoFar(t *testing.T) {
	w := New(mail.Header{})
	w.Write([]byte("see http://a.example and http://b.exam"))
	if got := w.Hosts(); !slices.Equal(got, []string{"a.example"}) {
		t.Errorf("so far %q", got)
	}
	w.Write([]byte("ple"))
	if got := w.Close().Hosts; !slices.Equal(got, []string{"a.example", "b.example"}) {
		t.Errorf("in the end %q", got)
	}
}

// FuzzBody reads anything: no panic, bounded findings, and the same in any pieces.
func FuzzBody(f *testing.F) {
	for _, msg := range []string{
		"Content-Type: text/html; charset=utf-16\nContent-Transfer-Encoding: base64\n\n" + inBase64(inUTF16(page)),
		"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n" + inQuoted(page) +
			"\n--b\nhttp://a.example\n\n--b--\nhttp://b.example",
		"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + inBase64("Content-Type: text/html\n\n"+page),
		"Content-Type: text/plain; charset=utf-7\n\n+AGgAdAB0AHA-://evil.example",
	} {
		f.Add(msg, uint16(3))
	}
	f.Fuzz(func(t *testing.T, msg string, n uint16) {
		h, body := split(msg)
		whole := read(h, body, len(body)+1)
		if got, want := told(read(h, body, int(n)+1)), told(whole); got != want {
			t.Errorf("in pieces of %d\n got %q\nwant %q", int(n)+1, got, want)
		}
		if len(whole.Hosts) > 200 || len(whole.Addrs) > 200 || len(whole.Defects) > len(DefectWords()) {
			t.Errorf("%d hosts, %d addresses, %v", len(whole.Hosts), len(whole.Addrs), whole.Defects)
		}
		for _, host := range whole.Hosts {
			if !mail.ValidDomain(host) {
				t.Errorf("host %q", host)
			}
		}
	})
}

const manual = "../../deploy/docs/content.md"

// TestManual: the manual has exactly the words that there are, in their order, and
// says which of them are over a bound.
func TestManual(t *testing.T) {
	page, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Defects\n")
	var words, over []string
	for line := range strings.SplitSeq(table, "\n") {
		if word, ok := strings.CutPrefix(line, "| `"); ok {
			word, meaning, _ := strings.Cut(word, "` | ")
			words = append(words, word)
			if strings.HasPrefix(meaning, "over a bound") {
				over = append(over, word)
			}
		}
	}
	if !slices.Equal(words, DefectWords()) {
		t.Errorf("the manual has %q, there are %q", words, DefectWords())
	}
	want := []string{tooMuchText}
	for _, d := range mime.Defects() {
		if d.Over() {
			want = append(want, string(d))
		}
	}
	for _, d := range link.Defects() {
		if d.Over() {
			want = append(want, string(d))
		}
	}
	slices.Sort(over)
	slices.Sort(want)
	if !slices.Equal(over, want) {
		t.Errorf("over a bound are %q in the manual, and %q", over, want)
	}
}
