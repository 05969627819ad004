package content

import (
	"strings"
	"testing"

	"mailwicket/filter/mail"
)

// upTo repeats a text up to n bytes.
func upTo(n int, s string) string { return strings.Repeat(s, n/len(s)+1)[:n] }

const (
	prose = "The quick brown fox jumps over the lazy dog, e.g. today, and so on until the line's end.\r\nSee http://www.example.com/a/b or write to a@example.org.\r\n"
	// markup is as newsletters have it: more tags and styles than words.
	markup = "<tr><td align=\"center\" style=\"padding:0 20px;font-family:Arial,sans-serif;font-size:14px\">" +
		"<a href=\"https://click.example.com/?q=1&amp;u=3\" style=\"color:#fff\"><img src=\"https://img.example.com/1.png\" width=\"600\" alt=\"\"></a></td></tr>\r\n" +
		"<p style=\"margin:0\">Dear customer, the quick brown fox jumps over the lazy dog, and so on.</p>\r\n"
)

func field(name, value string) mail.Field { return mail.Field{Name: name, Value: " " + value} }

func typed(kind, encoding string) mail.Header {
	h := mail.Header{field("Content-Type", kind)}
	if encoding != "" {
		h = append(h, field("Content-Transfer-Encoding", encoding))
	}
	return h
}

// chunk is what MTAs send at a time.
const chunk = 65535

func BenchmarkWalk(b *testing.B) {
	const size = 1 << 20
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	newsletter := "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + upTo(10<<10, prose) + "\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + crlf(inQuoted(upTo(38<<10, strings.ReplaceAll(markup, "\r\n", "\n")))) + "\r\n--b--\r\n"
	for _, c := range []struct {
		name string
		h    mail.Header
		body string
	}{
		{"plain", nil, upTo(size, prose)},
		{"html", typed("text/html", ""), upTo(size, markup)},
		{"html in base64", typed("text/html", "base64"), crlf(inBase64(upTo(size*3/4, markup)))},
		{"html in quoted-printable", typed("text/html", "quoted-printable"), crlf(inQuoted(upTo(size, strings.ReplaceAll(markup, "\r\n", "\n"))))},
		{"html in latin-1", typed("text/html; charset=iso-8859-1", ""), upTo(size, markup+"\xe9")},
		{"html in utf-16", typed("text/html; charset=utf-16", ""), inUTF16(upTo(size/2, markup))},
		{"attachment in parts", typed("multipart/mixed; boundary=b", ""), "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + crlf(inBase64(upTo(size*3/4, "x"))) + "--b--\r\n"},
		{"newsletter of 50 KiB", typed("multipart/alternative; boundary=b", ""), newsletter},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			body := []byte(c.body)
			for b.Loop() {
				pieces(c.h, body)
			}
		})
	}
}

func pieces(h mail.Header, body []byte) Finding {
	w := New(h)
	for len(body) > 0 {
		n := min(chunk, len(body))
		w.Write(body[:n])
		body = body[n:]
	}
	return w.Close()
}
