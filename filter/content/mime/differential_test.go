package mime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mailwicket/filter/mail"
)

// writeParts writes random, well-formed parts into a container with the library.
func writeParts(t *rapid.T, w *message.Writer, depth int) {
	for range rapid.IntRange(1, 3).Draw(t, "parts") {
		var h message.Header
		container := depth < 5 && rapid.IntRange(0, 2).Draw(t, "container") == 0
		switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
		case container:
			h.SetContentType("multipart/"+rapid.SampledFrom([]string{"mixed", "alternative"}).Draw(t, "sub"), nil)
		case kind == 0:
			h.SetContentType("text/html", map[string]string{"charset": "utf-8"})
		case kind == 1:
			h.SetContentType("application/pdf", map[string]string{"name": "a;b \"c\".pdf"})
			h.SetContentDisposition("attachment", map[string]string{"filename": "d.pdf"})
		case kind == 2:
			h.SetContentType("application/x", map[string]string{"name": "é\\.x"})
		}
		if !container {
			h.Set("Content-Transfer-Encoding", rapid.SampledFrom([]string{"base64", "quoted-printable"}).Draw(t, "encoding"))
		}
		pw, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		if container {
			writeParts(t, pw, depth+1)
		} else {
			// Bodies that are hard on boundaries and encodings.
			s := rapid.StringOf(rapid.SampledFrom([]rune("aé-=\r\n\x00 \t.B"))).Draw(t, "text")
			if _, err := io.WriteString(pw, s); err != nil {
				t.Fatal(err)
			}
		}
		if err := pw.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// library lists the leaves as the library reads them.
func library(t *rapid.T, msg []byte) []string {
	var out []string
	e, err := message.Read(bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	err = e.Walk(func(path []int, e *message.Entity, err error) error {
		if err != nil {
			return err
		}
		kind, params, err := e.Header.ContentType()
		if err != nil && e.Header.Has("Content-Type") {
			return err
		}
		if strings.HasPrefix(kind, "multipart/") {
			return nil
		}
		if kind == "" {
			kind = "text/plain"
		}
		disposition, dp, _ := e.Header.ContentDisposition()
		name := dp["filename"]
		if name == "" {
			name = params["name"]
		}
		b, err := io.ReadAll(e.Body)
		out = append(out, fmt.Sprintf("%d %s %s %q %v %q", len(path), kind, params["charset"], name, disposition == "attachment", b))
		return err
	})
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return out
}

// TestLikeLibrary: of well-formed mail the library reads the same.
func TestLikeLibrary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var b bytes.Buffer
		var h message.Header
		h.Set("Subject", "x")
		h.SetContentType("multipart/mixed", nil)
		w, err := message.CreateWriter(&b, h)
		if err != nil {
			rt.Fatal(err)
		}
		writeParts(rt, w, 0)
		if err := w.Close(); err != nil {
			rt.Fatal(err)
		}
		head, body, _ := strings.Cut(b.String(), "\r\n\r\n")
		var mh mail.Header
		for line := range strings.SplitSeq(strings.ReplaceAll(head, "\r\n ", " "), "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			mh = append(mh, mail.Field{Name: name, Value: value})
		}
		c, walker := walk(mh, body, rapid.IntRange(1, 200).Draw(rt, "pieces"))
		var got []string
		for _, g := range c.parts {
			if !g.Aside {
				got = append(got, fmt.Sprintf("%d %s %s %q %v %q", g.Depth, g.Type, g.Charset, g.Name, g.Attachment, g.b.String()))
			}
		}
		if diff := cmp.Diff(library(rt, b.Bytes()), got); diff != "" {
			rt.Fatalf("library - walk +\n%s\nof\n%s", diff, b.String())
		}
		if d := walker.Defects(); len(d) > 0 {
			rt.Fatalf("defects %v of\n%s", d, b.String())
		}
	})
}
