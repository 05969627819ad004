package triplets

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const dump = `VERSION=3
format=print
type=btree
db_pagesize=4096
HEADER=END
 192.0.2.0/a@shop.example/b@home.example
 1790000000,1790086400,10
 198.51.100.7/list/x@lists.example/b@home.example
 1790000000,1790000299
 2001:db8::/64/a\5cb@shop.example/b@home.example
 1790000000,1790000300
 203.0.113.0//b@home.example
 1790000000,1790000400,0
 0a4d55a8d778e5022fab701977c5d840bbc486d0
 1790000000,1790000400
DATA=END
`

func TestRead(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	ip := netip.MustParseAddr
	first := at(1790000000)
	for _, tt := range []struct {
		name, text string
		want       []Triplet
		bad        []Bad
	}{
		{"postgrey's dump", dump, []Triplet{
			{6, ip("192.0.2.10"), "a@shop.example", "b@home.example", first, at(1790086400), true},
			{8, ip("198.51.100.7"), "list/x@lists.example", "b@home.example", first, at(1790000299), false},
			{10, ip("2001:db8::"), `a\b@shop.example`, "b@home.example", first, at(1790000300), true},
			{12, ip("203.0.113.0"), "<>", "b@home.example", first, at(1790000400), true},
		}, []Bad{{14, "a hash in place of a triplet (postgrey --privacy): nobody can read it back"}, {15, "times without a triplet before them"}}},
		{"the same in hexadecimal", "VERSION=3\nformat=bytevalue\nHEADER=END\n " + fmt.Sprintf("%x\n %x\n zz\nDATA=END\n",
			"192.0.2.0/a@b.example/c@d.example", "1790000000,1790000900,9"),
			[]Triplet{{4, ip("192.0.2.9"), "a@b.example", "c@d.example", first, at(1790000900), true}},
			[]Bad{{6, "not hexadecimal, as the dump's header says"}}},
		{"on one line", "192.0.2.0/a@b.example/c@d.example 1790000000,1790000900\n",
			[]Triplet{{1, ip("192.0.2.0"), "a@b.example", "c@d.example", first, at(1790000900), true}}, nil},
		{"plain", "# comment\n\n192.0.2.1 a@b.example <c@d.example>\n192.0.2.0/24\t<> c@d.example 1790000000\n::ffff:192.0.2.1 a@b.example c@d.example 2026-09-21T13:33:20Z\n", []Triplet{
			{3, ip("192.0.2.1"), "a@b.example", "c@d.example", time.Time{}, time.Time{}, true},
			{4, ip("192.0.2.0"), "<>", "c@d.example", first, first, true},
			{5, ip("192.0.2.1"), "a@b.example", "c@d.example", at(1789997600), at(1789997600), true},
		}, nil},
		{"bad", "192.0.2.256 a@b c@d\n192.0.2.1 a c@d\n192.0.2.1 a@b c@\n192.0.2.1 a@b c@d soon\nhello\n192.0.2.0/a@b/c@d\n192.0.2.0/a/c 1,2\n 192.0.2.0/a\\@b/c@d\n",
			nil, []Bad{{1, `"192.0.2.256" is no IP address`}, {2, `sender "a" is no address`}, {3, `recipient "c@" is no address`},
				{4, `"soon" is no time: want seconds since 1970, 2026-11-25 or 2026-11-25T12:00:00Z`},
				{5, "want CLIENT SENDER RECIPIENT [LAST SEEN], or CLIENT/SENDER/RECIPIENT FIRST,LAST"},
				{6, "no times behind it"}, {7, "want CLIENT/SENDER/RECIPIENT"}, {8, `"\" without two hexadecimal digits`}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, bad, err := Read(strings.NewReader(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("triplets (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.bad, bad); d != "" {
				t.Errorf("bad lines (-want +got):\n%s", d)
			}
		})
	}
	if _, _, err := Read(strings.NewReader("\x00\x00b1\x05")); !errors.Is(err, ErrBinary) {
		t.Errorf("a database: %v", err)
	}
	if _, _, err := Read(strings.NewReader("x\n" + strings.Repeat("x", maxLine+1))); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a long line: %v", err)
	}
}

// FuzzRead: whatever comes, each line is counted once at most, and what was read
// can be written as a plain line and read again.
func FuzzRead(f *testing.F) {
	f.Add(dump)
	f.Add("192.0.2.1 a@b c@d 2026-11-25\n192.0.2.0/a@b/c@d 1,400,7\n")
	f.Add("VERSION=3\nformat=bytevalue\nHEADER=END\n 31\n 32\nDATA=END\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, bad, _ := Read(strings.NewReader(text))
		seen := map[int]bool{}
		for _, b := range bad {
			seen[b.Line] = true
		}
		for _, x := range got {
			if seen[x.Line] || x.Line < 1 || x.Line > strings.Count(text, "\n")+1 || !x.Client.IsValid() {
				t.Fatalf("line %d: %+v", x.Line, x)
			}
			seen[x.Line] = true
			line := fmt.Sprintf("%s %s %s", x.Client, x.Sender, x.Recipient)
			if len(strings.Fields(line)) != 3 || x.Last.Unix() <= 0 {
				continue // quoted local parts with blanks, times before 1970
			}
			again, bad, err := Read(strings.NewReader(fmt.Sprintf("%s %d\n", line, x.Last.Unix())))
			if err != nil || len(bad) > 0 || len(again) != 1 || again[0].Client != x.Client ||
				again[0].Sender != x.Sender || again[0].Recipient != x.Recipient || !again[0].Last.Equal(x.Last) {
				t.Fatalf("%q read again: %+v, %v, %v, want %+v", line, again, bad, err, x)
			}
		}
	})
}
