package greylist_test

import (
	"testing"

	"mailwicket/filter/mail"
	"mailwicket/greylist"
)

func TestNormalizeSender(t *testing.T) {
	tests := []struct{ name, sender, want string }{
		{"null", "<>", "<>"},
		{"plain", "<Alice.Smith@Example.ORG>", "alice.smith@example.org"},
		{"quoted", `<"alice"@example.org>`, "alice@example.org"},
		{"no domain", "<postmaster>", "postmaster"},
		{"tag", "<alice+news@example.org>", "alice@example.org"},
		{"tag alone", "<+news@example.org>", "+news@example.org"},
		{"batv", "<prvs=4710f0d2ab=alice@example.org>", "alice@example.org"},
		{"batv with number first", "<prvs=1234567890=Alice@example.org>", "alice@example.org"},
		{"batv of the early draft", "<prvs=alice=4710f0d2ab@example.org>", "alice@example.org"},
		{"batv of a mailbox like a tag", "<prvs=4710f0d2ab=1234567890@example.org>", "#@example.org"},
		{"batv of another maker", "<btv1==0123456789a==alice@example.org>", "alice@example.org"},
		{"batv of a third", "<msprvs1=17859qn_9rUdr=bounces-123@example.org>", "bounces-#@example.org"},
		{"not batv", "<prvs=alice@example.org>", "prvs=alice@example.org"},
		{"srs0", "<SRS0=HHH7=TT=example.org=alice@forward.example>", "example.org:alice@forward.example"},
		{"srs0 plus", "<SRS0+oPs0=AB=example.org=alice+tag@forward.example>", "example.org:alice@forward.example"},
		{"srs0 with batv", "<SRS0=HHH7=TT=example.org=prvs=4710f0d2ab=alice@forward.example>", "example.org:alice@forward.example"},
		{"srs1", "<SRS1=GGGG=first.example==HHH7=TT=example.org=alice@second.example>", "example.org:alice@second.example"},
		{"srs broken", "<srs0=a=b@forward.example>", "srs#=a=b@forward.example"},
		{"verp plus", "<list-bounces+bob=example.com@lists.example.org>", "list@lists.example.org"},
		{"verp dash", "<bounces-bob=example.com@lists.example.org>", "bounces@lists.example.org"},
		{"verp keeps rewritten addresses", "<bob=example.com@gateway.example.org>", "bob=example.com@gateway.example.org"},
		{"numbers", "<bounce-123456-7@example.org>", "bounce-#-#@example.org"},
		{"number in a word", "<user2026x@example.org>", "user#x@example.org"},
		{"hexadecimal", "<0100018f2ab4cdef-7a1b2c3d-4e5f-0000-1111-000000@mail.example.org>", "#-#-#e#f-#-#-#@mail.example.org"},
		{"mixed token", "<b.k3j9x8q2m7wz@example.org>", "b.#@example.org"},
		{"words stay", "<decade.feedface@example.org>", "decade.feedface@example.org"},
		{"host numbers", "<news@mail133.suw121.example.org>", "news@mail#.suw#.example.org"},
		{"organization stays", "<news@123.example1.org>", "news@#.example1.org"},
		{"literal", "<alice@[192.0.2.1]>", "alice@[192.0.2.1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := greylist.NormalizeSender(mail.ParsePath(tt.sender)); got != tt.want {
				t.Errorf("NormalizeSender(%s) = %s, want %s", tt.sender, got, tt.want)
			}
		})
	}
}

// What changes from one message of a sender to the next must not show.
func TestNormalizeSenderSame(t *testing.T) {
	for _, pair := range [][2]string{
		{"prvs=0471f0d2ab=alice@example.org", "prvs=0482aaaaaa=alice@example.org"},
		{"SRS0=abcd=2X=example.org=alice@f.example", "SRS0=efgh=3Y=example.org=alice@f.example"},
		{"bounces+1-x=example.com@l.example", "bounces+2-y=example.net@l.example"},
		{"bounce-mc.us12_1234.5678-abcdef01@mail1.example.org", "bounce-mc.us12_1234.9999-01fedcba@mail22.example.org"},
	} {
		a, b := greylist.NormalizeSender(mail.ParsePath(pair[0])), greylist.NormalizeSender(mail.ParsePath(pair[1]))
		if a != b {
			t.Errorf("%s and %s differ: %s, %s", pair[0], pair[1], a, b)
		}
	}
}

func FuzzNormalizeSender(f *testing.F) {
	for _, s := range []string{"<>", "a+b@x.org", "SRS1=G=f.example==H=T=e.org=a@s.example", "SRS0", "srs1=", "srs1=a=", "srs1=a=b=", "prvs==@", "\"@\xff\xfe", "\xd7\xce", `"`, `""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a := mail.ParsePath(s)
		got := greylist.NormalizeSender(a)
		if got == "" || len(got) > 3*(len(a.Local)+len(a.Domain)+1) { // a bad byte becomes three
			t.Errorf("NormalizeSender(%q) = %q", s, got)
		}
		if other := greylist.NormalizeSender(mail.ParsePath(upper(s))); other != got {
			t.Errorf("NormalizeSender(%q) = %q, in capitals %q", s, got, other)
		}
	})
}

// upper capitalizes ASCII alone.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
