package mime

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.nofailfile", "true") // the seed is told anyway
	os.Exit(m.Run())
}

// FuzzWalk reads anything that may stand in a message. No panic; each part is ended
// once; there are no more parts, and no more content, than the bounds allow; and how
// the body is cut changes nothing.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{
		mixed + "--b\n\nx\n--b\nContent-Type: text/html\n\ny\n--b--\n",
		mixed + "--b\nContent-Type: multipart/x; boundary=\"c\"\n\n--c\n\nin\n--b\n\nout\n--b--\nx",
		"Content-Type: message/rfc822\n\nX: y\n" + mixed + "--b\n\nx\r\n--b--",
		"Content-Type: multipart/mixed\nContent-Transfer-Encoding: base64\n\nLS1iCgpoZWxsbwotLWItLQo=\n--x\n\n=\n--x--",
		"Content-Transfer-Encoding: quoted-printable\n\na=\r\nb=3D= \r\n==\r=",
		"Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nA: b\nContent-Type: message/rfc822\n\n\n",
		mixed + "--b\n x\nContent-Type : text/html;\n charset*0=x; name*=utf-8''%41\n\n\r\r\n--b\r\n",
	} {
		f.Add(s, uint8(2))
	}
	f.Fuzz(func(t *testing.T, msg string, n uint8) {
		h, body := split(msg)
		c, w := walk(h, body, len(body)+1)
		whole := told(c, w)
		if got := told(walk(h, body, int(n)+1)); got != whole {
			t.Errorf("in pieces of %d\n%s\nwhole\n%s", n+1, got, whole)
		}
		size := 0
		for _, g := range c.parts {
			if size += g.b.Len(); g.ended != 1 || g.Depth > MaxDepth+1 {
				t.Errorf("ended %d times: %+v", g.ended, g.Part)
			}
		}
		// Every level may be decoded, and shown as it stands too.
		if len(c.parts) > 3*MaxParts || size > 2*(MaxDepth+1)*(len(body)+2) {
			t.Errorf("%d parts, %d bytes of %d", len(c.parts), size, len(body))
		}
	})
}
