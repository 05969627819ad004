package link

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// scan reads a text in pieces of n bytes.
func scan(html bool, text string, n int) *Found {
	f := &Found{}
	var s interface {
		Write([]byte)
		End()
	}
	if html {
		s = NewHTML(f)
	} else {
		s = NewText(f, true)
	}
	for p := []byte(text); len(p) > 0; {
		k := min(n, len(p))
		s.Write(slices.Clone(p[:k])) // pieces are only valid during the call
		p = p[k:]
	}
	s.End()
	return f
}

func all(f *Found) string {
	words := slices.Clone(f.Hosts())
	for _, a := range f.Addrs() {
		words = append(words, a.String())
	}
	for _, d := range f.Defects() {
		words = append(words, "!"+string(d))
	}
	return strings.Join(words, " ")
}

// check reads a text whole and in small pieces.
func check(t *testing.T, html bool, text, want string) {
	t.Helper()
	for _, n := range []int{1 << 20, 1, 2, 3, 7} {
		if got := all(scan(html, text, n)); got != want {
			t.Errorf("in pieces of %d, of %q\n got %q\nwant %q", n, text, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"see http://evil.example/x for more", "evil.example"},
		{"HTTPS://WWW.Evil.Example.", "www.evil.example"},
		{"(https://a.example), [http://b.example]; <http://c.example>", "a.example b.example c.example"},
		{"a:http://a.example,http://b.example|http://c.example", "a.example b.example c.example"},
		{"go to www.evil.example now", "www.evil.example"},
		{"go to evil.com, or evil.co.uk/path.zip!", "evil.com evil.co.uk"},
		{"evil.com:8080/x", "evil.com"},
		{"The end.And one, 3.14, e.g. this, i.e. that", ""},
		{"file.txt main.go readme.md run.sh lib.so x.py", ""},
		{"readme.md/x", "readme.md"}, // a path follows: no file
		{"src/evil.com docs/www.txt", ""},
		{"someone@evil.com, mailto:other@bad.com, a.b.com@c.org", ""},
		{"ftp://evil.example hxxp://bad.com foo://odd.example/", "evil.example bad.com odd.example"},
		{`http:\\evil.example\path http:/one.example`, "evil.example one.example"},
		{"http://good.example@evil.example/", "evil.example !disguised_link"},
		{"http://user:p@ss@evil.example:80/", "evil.example"},
		{"http://a.example/?u=http://b.example&v=https%3A%2F%2Fc.example%2F", "a.example b.example c.example"},
		{"http://a.example/?u=http%253A%252F%252Fb.example", "a.example b.example"},
		{"http://ev%69l.example/", "evil.example !disguised_link"},
		{"http://bücher.example http://xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"bücher.com", "xn--bcher-kva.com"},
		{"http://b\xfccher.example", "xn--bcher-kva.example"}, // Latin-1
		{"http://ＥＶＩＬ．ＣＯＭ/ evil。org ｗｗｗ。x.example", "evil.com evil.org www.x.example"},
		{"http://ev\u00adil.example http://ev\u200bil2.example", "evil.example evil2.example"},
		{"http://" + strings.Repeat("\u00ad", 70) + "evil.example", "evil.example"},
		{"请访问evil.com谢谢 请访问http://bad.com谢谢", "evil.com bad.com"},
		{"“http://a.example” «b.com» …c.com…", "a.example b.com c.com"},
		{"http://evil.example。", "evil.example"},
		{"http://192.0.2.1/ http://3221225986/ http://0xC0.0x00.0x02.0x03 http://0300.0.2.4", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 !disguised_link"},
		{"http://192.0.516/ http://0xc0000205/", "192.0.2.4 192.0.2.5 !disguised_link"},
		{"http://256.1.1.1/ http://1.2.3.4.5/ http://4294967296/ http://1.2.3.08/", ""},
		{"http://[2001:db8::1]:80/ http://[::ffff:192.0.2.9]/ http://[::1", "2001:db8::1 192.0.2.9"},
		{"http://localhost/ http://ai/ http://- http:// http:///", ""},
		{"http://a..b.example http://.c.example http://d.example..", "d.example"},
		{"http://under_score.example", "under_score.example"},
		{"//evil.com/x and/or a/b.com", "evil.com"},
		{"1.2.3.4 10.0.0.1:80", ""},
		{"word\x00http://evil.example\x00", "evil.example"},
		{"http://evil.example\r\n.more", "evil.example"},
	} {
		check(t, false, c.text, c.want)
	}
}

func TestHTML(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`<a href="http://evil.example/x">click</a>`, "evil.example"},
		{`<A HREF='HTTP://EVIL.EXAMPLE'><img src=http://b.example/i.png><form action=//c.example>`, "evil.example b.example c.example"},
		{`<body background="http://a.example/"><area href=http://b.example><video poster=http://c.example><object data=http://d.example>`, "a.example b.example c.example d.example"},
		{`<img srcset="http://a.example/1 1x, http://b.example/2 2x"><button formaction=http://c.example>`, "a.example b.example c.example"},
		{`<base href="http://a.example/"><a href="x">`, "a.example"},
		{`<meta http-equiv=refresh content="0;http://a.example/?url=b"><meta content="0, //b.example"><meta content=" 3.5 https://c.example">`, "a.example b.example c.example"},
		{`<meta content="0;url"><meta content="2026-11-26"><meta content="0; url = 'http://a.example/' http://b.example/"><meta content=";url=http://c.example/">`, "a.example c.example"},
		{`<iframe srcdoc="<a href=http://a.example>&lt;a href=&quot;http://b.example&quot;>` + strings.Repeat("x", 2*maxURL) + ` http://c.example &amp;lt;iframe srcdoc='http://d.example/'">`, "a.example b.example c.example d.example"},
		{`<iframe srcdoc='<iframe srcdoc="&lt;a href=http://a.example>"></iframe><a href="//b.example">'></iframe><a href="//c.example">`, "a.example b.example c.example"},
		{`</iframe srcdoc="<a href=http://a.example>">`, ""},
		{`<svg><a><animate attributeName=href values="http://a.example/;//b.example/x"><set to="http://c.example/" /></a>`, "a.example b.example c.example"},
		{`<style>@import/**/"//a.example/x"; @import /* * ** / */ 'http://b.example/'; p{content:"@import/*"} q{background:url(http://c.example)}</style>`, "a.example b.example c.example"},
		{`<style>@import/x"//a.example/x"; @import /* "//b.example/x"; */ x "//c.example"</style>`, ""},
		{`<meta content="&#570;&#570;&#570;&#570;url=//a.example/"><meta content="&#8490;&#304;URL='//b.example/'">`, "a.example b.example"},
		{"<meta content=\"\xff\xff\xff\xff\xffurl\"><meta content=\"ur\"><meta content=url><a href=//a.example>", "a.example"},
		{`<meta http-equiv=refresh content="0; URL='http://evil.example/'"><meta content="5;url=//b.example">`, "evil.example b.example"},
		{`<div style="background:url(http://a.example/x.png)"><p style='x:url( "//b.example/y" )'>`, "a.example b.example"},
		{`<style>@import "http://a.example/s"; @import url('//b.example'); p{background:url(\68ttp://c.example)}</style>`, "a.example b.example c.example"},
		{`<a href="&#104;ttp&colon;//ev&#x69;l.example&sol;x">`, "evil.example"},
		{`<a href=&#104&#x74tp://a&#46;example><a href=&#9//b.example>&#104ttp://c.example&#0;`, "a.example b.example c.example"},
		{`<a href="http://x&amp.evil.example">`, "x&.evil.example"},
		{`<a href="http://x&ampevil.example">`, "x&ampevil.example"}, // no reference in an attribute
		{"<a href=\"ht\ntp://ev\til.exa\r\nmple\">", "evil.example"},
		{"<a href=\"  \x01http:evil.example\">", "evil.example"},
		{`<a href="http:\\evil.example"><a href="\\share.example\x"><a href="/\c.example">`, "evil.example share.example c.example"},
		{`<a href="https:////evil.example///x">`, "evil.example"},
		{`<a href="http://paypal.example@evil.example">`, "evil.example !disguised_link"},
		{`<a href="http://good.example\@evil.example">`, "good.example"}, // a backslash ends the host
		{`<a href="http://a.example?@b.example"><a href="http://c.example#@d.example">`, "a.example c.example"},
		{`<a href="www.evil.example"><a href="evil.com/x"><a href="evil.com:80"><a href=page.html><a href=/evil.com>`, "www.evil.example evil.com"},
		{`<a href="mailto:a@evil.example?body=http://x.example"><a href="tel:1"><img src="cid:a@b.example"><img src="data:text/html,http://x.example">`, ""},
		{`<a href="javascript:location='http://evil.example'">`, "evil.example"},
		{`<a href="ms-word:ofe|u|http://evil.example/x.docx"><a href="file://srv.example/x">`, "evil.example srv.example"},
		{`<a href="http://evil。example/"><a href="http://xn--bcher-kva.example">`, "evil.example xn--bcher-kva.example"},
		{`text http://a.example <b>www.</b>b.example c.<i></i>com d<wbr>.com e<!-- x -->.com`, "a.example www.b.example c.com d.com e.com"},
		{`<td>a.com</td><td>b.com</td><br>c.com<a href=x>d.com</a>`, "a.com b.com c.com d.com"},
		{`f.c&#111;m &#119;ww.x.example a.com&nbsp;b.com &lt;g.com&gt;`, "f.com www.x.example a.com b.com g.com"},
		{`<!-- <a href=http://no.example> --><a href=http://a.example>`, "a.example"},
		{`<!--> <a href=http://a.example><!---><a href=http://b.example><!-- --!><a href=http://c.example>`, "a.example b.example c.example"},
		{`<!-- -- > <a href=http://no.example> ->-->`, ""},
		{`<!--[if mso]><a href=http://mso.example><![endif]--><a href=http://a.example>`, "mso.example a.example"},
		{`<!--[if mso]><title><!-- <a href=//hidden.example><![endif]--><a href="//a.example">`, "a.example"},
		{`<![if !mso]><a href=http://a.example><![endif]>`, "a.example"},
		{`<title><!--</title><a href=//a.example>`, "a.example"},
		{`<textarea><a href="http://a.example"></textarea><a href=//b.example>`, "a.example b.example"},
		{`<script>var x = "http://a.example"; y = obj.name + e.target</script><a href=//b.example>`, "a.example b.example"},
		{`<script><!--<script></script><title></script><a href=//a.example>`, "a.example"},
		{`<script><!--><script></script><a href=//a.example>`, "a.example"},
		{`<style></styles></STYLE ><a href=//a.example>`, "a.example"},
		{`</ x><a href=//a.example></a href=//no.example><? x><a href=//b.example><!x><a href=//c.example>`, "a.example b.example c.example"},
		{`<a/href=//a.example/><a =href=//no.example><a href = "//b.example" href=//c.example>`, "a.example b.example c.example"},
		{`<a href="//a.example`, "a.example"},
		{`<a title="<a href=//no.example>" href=//a.example>`, "a.example"},
		{`a < b <3 x.com <`, "x.com"},
		{`<p onclick="http://no.example" xmlns="http://www.w3.org/1999/xhtml" alt="http://no.example">`, ""},
		{`<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1.dtd"><a href=//a.example>`, "a.example"},
		{`<a href="https://f.example/url?q=https%3A%2F%2Fevil.example%2F&x=1">`, "f.example evil.example"},
		{`<param name=movie value="http://a.example"><input value="http://no.example">`, "a.example"},
		{`<plaintext></plaintext><a href="http://a.example">`, "a.example"},
		{`<v:fill src="http://a.example/x"/><image xlink:href="http://b.example"/>`, "a.example b.example"},
	} {
		check(t, true, c.text, c.want)
	}
}

func TestParse4(t *testing.T) {
	for s, want := range map[string]string{
		"1.2.3.4": "1.2.3.4", "0x7f.1": "127.0.0.1", "017700000001": "127.0.0.1", "2130706433": "127.0.0.1", "0": "0.0.0.0",
		"0x": "0.0.0.0", "1.0x": "1.0.0.0", "255.255.65535": "255.255.255.255", "255.16777215": "255.255.255.255",
		"256.1": "", "1.2.65536": "", "1.16777216": "", "4294967296": "", "1..2": "", "1.2.3.4.5": "", "09": "", "0x1g": "", "1_0": "", "+1": "",
		"18446744073709551616": "",
	} {
		got, ok := parse4(s)
		if want == "" && ok || want != "" && (!ok || got != netip.MustParseAddr(want)) {
			t.Errorf("%q is %v %v, want %q", s, got, ok, want)
		}
	}
}

// TestBounds: what is over a bound is told, and nothing is found that is not there.
func TestBounds(t *testing.T) {
	var b strings.Builder
	for i := range MaxHosts + 50 {
		b.WriteString("http://h")
		b.WriteString(strings.Repeat("x", i%40+1))
		b.WriteString(string(rune('a'+i/40)) + ".example ")
	}
	f := scan(false, b.String(), 100)
	if len(f.Hosts()) != MaxHosts || !slices.Contains(f.Defects(), TooMany) {
		t.Errorf("%d hosts, %v", len(f.Hosts()), f.Defects())
	}
	long := strings.Repeat("a", 3*maxURL)
	check(t, false, "http://"+long+"@evil.example", "!long_link")
	check(t, false, long+"http://evil.example/", "evil.example")
	check(t, false, strings.Repeat("a", maxURL-10)+"/http://evil.example/x", "evil.example")
	check(t, false, strings.Repeat("a", maxURL-5)+",www.evil.com", "www.evil.com")
	check(t, true, `<a href="http://`+long+`@evil.example/"><a href=//b.example>`, "b.example !long_link")
	check(t, true, `<a href="http://b.example/`+long+`">`, "b.example !long_link")
	check(t, true, `<a `+long+`=http://no.example href=//b.example>`, "b.example")
	check(t, true, `<`+long+` href=//b.example>`, "b.example")
	check(t, true, `<style>p{x:url(http://b.example/`+long+`)}</style>`, "b.example !long_link")
	check(t, false, "http://"+strings.Repeat("a", 64)+".example http://"+strings.Repeat("a.", 130)+"example", "")
}
