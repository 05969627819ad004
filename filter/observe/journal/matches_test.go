package journal

import (
	"testing"

	"mailwicket/filter"
	"mailwicket/filter/fact"
)

// TestMatches: a Message-ID, which anybody chooses, cannot pass for a reference.
func TestMatches(t *testing.T) {
	r := &filter.Record{Ref: "K9GWH-9Q9Q6"}
	r.Facts.Conn.Session, r.Facts.Txn.QueueID = "ABCDE-FGHJK", "4Zx9"
	r.Facts.Txn.MessageID = fact.Is("<AAAAA-BBBBB>")
	for said, want := range map[string]bool{
		"K9GWH-9Q9Q6": true, "k9gwh9q9q6": true, "(ref K9GWH-9Q9Q6)": true, "abcde-fghjk": true, "4Zx9": true,
		"<AAAAA-BBBBB>": true, "AAAAA-BBBBB": false, "aaaaabbbbb": false, "": false,
	} {
		if got := Matches(r, said); got != want {
			t.Errorf("%q: %v", said, got)
		}
	}
	r.Facts.Txn.MessageID = fact.Is("<a@b.example>")
	if !Matches(r, "a@b.example") || !Matches(r, "<a@b.example>") {
		t.Error("a Message-ID is not found")
	}
}
