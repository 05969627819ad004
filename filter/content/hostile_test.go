package content

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mailwicket/filter/linear"
	"mailwicket/filter/mail"
)

type input struct {
	h    mail.Header
	body string
}

// hostile are bodies of n bytes that are made to cost time.
func hostile(n int) map[string]input {
	html := typed("text/html", "")
	mixed := typed("multipart/mixed; boundary=b", "")
	var nested, messages strings.Builder
	for i := 0; nested.Len() < n; i++ {
		fmt.Fprintf(&nested, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	for messages.Len() < n {
		messages.WriteString("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	}
	deep := ""
	for i := range 19 {
		deep += fmt.Sprintf("--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	return map[string]input{
		"nested multiparts":      {typed("multipart/mixed; boundary=b0", ""), nested.String()},
		"nested messages":        {typed("message/rfc822", ""), messages.String()},
		"encoded messages":       {typed("message/rfc822", "quoted-printable"), messages.String()},
		"deep, then base64":      {typed("multipart/mixed; boundary=b0", ""), deep + "Content-Transfer-Encoding: base64\r\n\r\n" + upTo(n, "QUJD\r\n")},
		"deep, boundary-like":    {typed("multipart/mixed; boundary=b0", ""), deep + upTo(n, "--b\r\n")},
		"boundary-like lines":    {mixed, upTo(n, "--bx\r\n")},
		"dashes":                 {mixed, upTo(n, "--\r\n")},
		"one long dash":          {mixed, upTo(n, "-")},
		"empty lines":            {mixed, upTo(n, "\r\n")},
		"parts":                  {mixed, upTo(n, "--b\r\n\r\n")},
		"part headers":           {mixed, "--b\r\n" + upTo(n, "Content-Type: x\r\n")},
		"one long field":         {mixed, "--b\r\nContent-Type: " + upTo(n, "x;y=z;")},
		"parameters":             {mixed, upTo(n, "--b\r\nContent-Type: a/b"+strings.Repeat(";a=b", 3000)+"\r\n\r\n")},
		"unclosed tags":          {html, upTo(n, "<a ")},
		"one huge tag":           {html, "<a " + upTo(n, "b=c ")},
		"one huge name":          {html, "<" + upTo(n, "a")},
		"one huge value":         {html, "<a href=\"" + upTo(n, "a:")},
		"less-than":              {html, upTo(n, "<")},
		"ampersands":             {html, upTo(n, "&")},
		"entities":               {html, upTo(n, "&#104;")},
		"values of entities":     {html, upTo(n, "<a href=\"&amp&#104&x;\">")},
		"comments":               {html, upTo(n, "<!--")},
		"ends of comments":       {html, "<!--" + upTo(n, "--!")},
		"conditional comments":   {html, upTo(n, "<!--[if x]><!--[if x]>")},
		"scripts":                {html, "<script>" + upTo(n, "<!--<script ")},
		"styles":                 {html, "<style>" + upTo(n, "url(@import \"x\"")},
		"style values":           {html, upTo(n, "<p style=\"url(a)url(b)url(c)\">")},
		"pages in attributes":    {html, upTo(n, "<iframe srcdoc=\"<iframe srcdoc='<iframe srcdoc=&quot;<a b>&amp;")},
		"a page in an attribute": {html, "<iframe srcdoc=\"" + upTo(n, "<a href=a.example>&lt;")},
		"refreshes":              {html, upTo(n, "<meta content='0;url")},
		"imports":                {html, "<style>" + upTo(n, "@import/*")},
		"raw text":               {html, "<title>" + upTo(n, "</titl")},
		"colons":                 {nil, upTo(n, ":")},
		"slashes":                {nil, upTo(n, "://")},
		"schemes":                {nil, upTo(n, "http://")},
		"dots":                   {nil, upTo(n, ".")},
		"names":                  {nil, upTo(n, "a.com ")},
		"names in one word":      {nil, upTo(n, "a.com,")},
		"names in one host":      {nil, upTo(n, "a.com@")},
		"other scripts":          {nil, upTo(n, "é.com ")},
		"percents":               {nil, "http://a.com/" + upTo(n, "%25")},
		"base64 of nothing":      {typed("text/html", "base64"), upTo(n, "====")},
		"base64 of blanks":       {typed("text/html", "base64"), upTo(n, "\r\n")},
		"quoted-printable equal": {typed("text/html", "quoted-printable"), upTo(n, "=")},
		"soft breaks":            {typed("text/html", "quoted-printable"), upTo(n, "= \r\n")},
		"utf-7":                  {typed("text/html; charset=utf-7", ""), upTo(n, "+-+AGE")},
		"iso-2022-jp":            {typed("text/html; charset=iso-2022-jp", ""), upTo(n, "\x1b$B\x1b(B")},
	}
}

// manyNames are all different, so that nothing is remembered.
func manyNames(n int, form string) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, form, i)
	}
	return b.String()
}

// TestLinearTime: eight times the input costs about eight times the work,
// whatever it is. Quadratic code would be at sixty-four.
func TestLinearTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 64 << 10
	small, large := hostile(size), hostile(8*size)
	for name, form := range map[string]string{"new names": "n%d.com ", "new names in other scripts": "é%d.com ", "new hosts": "<a href=//n%d.example>",
		"new hosts in other scripts": "<a href=http://é%d.example>", "new addresses": "http://1.%d/ "} {
		small[name] = input{typed("text/html", ""), manyNames(size, form)}
		large[name] = input{typed("text/html", ""), manyNames(8*size, form)}
	}
	for name, in := range small {
		t.Run(name, func(t *testing.T) {
			work := func(in input) func() {
				body := []byte(in.body)
				return func() { pieces(in.h, body) }
			}
			if x := linear.Growth(12, 12, work(in), work(large[name])); x > 30 {
				t.Errorf("eight times the input takes %.1f times as long", x)
			}
		})
	}
}

// TestMemory: what a walk holds on to is bounded, whatever comes and however much.
func TestMemory(t *testing.T) {
	const size, limit = 2 << 20, 1 << 20
	inputs := hostile(size)
	for name, form := range map[string]string{"names": "n%d.com ", "long names": "<a href=//" + strings.Repeat("x", 60) + "." + strings.Repeat("y", 60) + "%d.example>"} {
		e := inputs[name]
		e.h, e.body = typed("text/html", ""), manyNames(size, form)
		inputs["new "+name] = e
	}
	for name, in := range inputs {
		body := []byte(in.body)
		w := New(in.h)
		before := heap()
		for p := body; len(p) > 0; p = p[min(chunk, len(p)):] {
			w.Write(p[:min(chunk, len(p))])
		}
		if held := heap() - before; held > limit {
			t.Errorf("%s: %d KiB are held", name, held>>10)
		} else {
			t.Logf("%s: %d KiB", name, held>>10)
		}
		w.Close()
		runtime.KeepAlive(body)
	}
}

// heap is what is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
