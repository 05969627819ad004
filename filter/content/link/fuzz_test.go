package link

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"mailwicket/filter/mail"
)

// sane holds what is true whatever was read: the bounds, and names that may be
// asked in the DNS.
func sane(t *testing.T, f *Found) {
	t.Helper()
	if len(f.Hosts()) > MaxHosts || len(f.Addrs()) > MaxHosts {
		t.Errorf("%d hosts, %d addresses", len(f.Hosts()), len(f.Addrs()))
	}
	for i, h := range f.Hosts() {
		if !mail.ValidDomain(h) || !strings.Contains(h, ".") || strings.ToLower(h) != h || mail.CanonicalDomain(h) != h {
			t.Errorf("host %q", h)
		}
		if _, err := netip.ParseAddr(h); err == nil || slices.Contains(f.Hosts()[:i], h) {
			t.Errorf("host %q is an address, or there twice", h)
		}
	}
	for _, a := range f.Addrs() {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			t.Errorf("address %v", a)
		}
	}
}

// sameInPieces: how the text is cut changes nothing.
func sameInPieces(t *testing.T, isHTML bool, text string, n int) *Found {
	t.Helper()
	whole := scan(isHTML, text, len(text)+1)
	if got, want := all(scan(isHTML, text, n)), all(whole); got != want {
		t.Errorf("in pieces of %d\n got %q\nwant %q", n, got, want)
	}
	sane(t, whole)
	return whole
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"http://a.example/?u=http%3A//b.example", "x@b.com www.c.com//d.com e。com", "http://[::1]/ http://0x7f.1:80 \xff.com",
		strings.Repeat("a", maxURL-3) + "http://b.example/", "http://u:p@h.example:1\\x"} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		sameInPieces(t, false, text, int(n)+1)
	})
}

// FuzzHTML: the same, and every link that the tokenizer of golang.org/x/net sees is
// found. It is what browsers see.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{`<a href="http://a.example">`, `<!--><a href=//b.example>--><!-- x --!>`, `<title><!--</title><a href='//c.example'>`,
		`<script><!--<script></script>--></script><a href=//d.example>`, `<!--[if x]><a href=//e.example><![endif]-->`, `<a/href="//f.example"/x=y>`,
		`&lt;a href=http://g.example&gt;&amp;#104;`, `<style>x{a:url("//h.example")}@import '//i.example'</style>`, `<a href=&#x2f;/j.example>`,
		`<textarea></textareax></textarea/><a href=//k.example>`, `<![CDATA[><a href=//l.example>]]>`, `</a href=//m.example><a =x href=//n.example>`,
		"<meta content=\"\xff\xff\xffurl\">", `<meta content="0;url='//o.example">`, `<iframe srcdoc="<iframe srcdoc='&lt;a href=//p.example>'>">`,
		`<animate values="//q.example;b"><style>@import/*url(*/"//r.example"</style>`} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		found := sameInPieces(t, true, text, int(n)+1)
		// The library takes noscript for text, as where scripts run: in mail they do not. Of
		// NUL it makes a character that no host has, and it overlooks the second "<" of
		// "<<script" (HTML, 13.2.5.21 looks at it anew).
		if strings.Contains(strings.ToLower(text), "<<script") || strings.Contains(strings.ToLower(text), "noscript") || strings.Contains(text, "\x00") || slices.Contains(found.Defects(), TooMany) || slices.Contains(found.Defects(), TooLong) {
			return
		}
		for _, h := range browser(text).Hosts() {
			if !slices.Contains(found.Hosts(), h) {
				t.Errorf("%s is not found, but %q", h, found.Hosts())
			}
		}
	})
}

// browser gives the links of tags as the library's tokenizer cuts them.
func browser(text string) *Found {
	f := &Found{}
	z := html.NewTokenizer(bytes.NewReader([]byte(text)))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return f
		case html.StartTagToken, html.SelfClosingTagToken:
			for _, a := range z.Token().Attr {
				if (a.Key == "href" || a.Key == "src") && len(a.Val) < maxURL {
					f.Reference([]byte(a.Val), false)
				}
			}
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"http:\\\\u@h.example:80\\x", "//0300.0.2.4", "www.x.example", "javascript:'http://a.example'", "http://%77ww.ev%69l.example",
		"http://[::ffff:1.2.3.4]", "\t hT\ntp:x.example", "http://b\u00fccher\u3002example", "a.com:80", "http://a.example/%2525"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var found Found
		found.Reference([]byte(s), false)
		sane(t, &found)
	})
}
