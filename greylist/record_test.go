package greylist_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"mailwicket/greylist"
)

// The stored form is a contract with earlier and later versions: this one must
// be read for ever.
func TestRecordFormat1(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r := greylist.Record{FirstSeen: at, LastSeen: at.Add(5 * time.Minute), Expires: at.Add(48 * time.Hour),
		Attempts: 2, Passes: 1, Allowed: true, Name: "spf:example.org"}
	const stored = "0180d89da9c268c0cf24c090c1a401020101" + "7370663a6578616d706c652e6f7267"
	b, err := r.MarshalBinary()
	if err != nil || hex.EncodeToString(b) != stored {
		t.Errorf("stored as %x, %v, want %s", b, err, stored)
	}
	raw, _ := hex.DecodeString(stored)
	if got, err := greylist.ParseRecord(raw); err != nil || !got.Equal(r) || got != r {
		t.Errorf("ParseRecord = %+v, %v, want %+v", got, err, r)
	}
}

func TestParseRecordErrors(t *testing.T) {
	tests := []struct {
		name, stored string
		want         error
	}{
		{"later version", "\x02anything", greylist.ErrVersion},
		{"text", "OK", greylist.ErrRecord},
		{"version 0", "\x00", greylist.ErrRecord},
		{"cut off", "\x01\x80\xb0", greylist.ErrRecord},
		{"unknown flag", "\x01\x02\x02\x02\x01\x01\x04", greylist.ErrRecord},
		{"before 1970", "\x01\x01\x02\x02\x01\x01\x00", greylist.ErrRecord},
		{"attempts too large", "\x01\x02\x02\x02\xff\xff\xff\xff\x7f\x01\x00", greylist.ErrRecord},
		{"overflow", "\x01\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01\x01\x00", greylist.ErrRecord},
		{"long name", "\x01\x02\x02\x02\x01\x01\x00" + strings.Repeat("x", 65), greylist.ErrRecord},
	}
	for _, tt := range tests {
		if r, err := greylist.ParseRecord(tt.stored); !errors.Is(err, tt.want) {
			t.Errorf("%s: ParseRecord = %+v, %v, want %v", tt.name, r, err, tt.want)
		}
	}
	if r, err := greylist.ParseRecord(""); err != nil || !r.IsZero() {
		t.Errorf("nothing: ParseRecord = %+v, %v, want zero", r, err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("\x01\x02\x02\x02\x01\x01\x00name"))
	f.Add([]byte("\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := greylist.ParseRecord(b)
		if err != nil {
			return
		}
		stored, err := r.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := greylist.ParseRecord(stored); err != nil || !again.Equal(r) {
			t.Errorf("%x: %+v, stored and read again: %+v, %v", b, r, again, err)
		}
	})
}

func TestKeyText(t *testing.T) {
	for _, bad := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAAA.", "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAA.x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		if k, err := greylist.ParseKey(bad); !errors.Is(err, greylist.ErrKey) {
			t.Errorf("ParseKey(%q) = %v, %v, want ErrKey", bad, k, err)
		}
	}
	k := greylist.Key{Identity: [16]byte{0xf8, 1}, Triplet: [16]byte{0xfb, 0xef, 0xbe, 15: 2}} // hyphens in base64url
	for _, k := range []greylist.Key{k, k.Owner()} {
		if strings.Contains(k.String(), "-") {
			t.Errorf("key %s may look like an option", k)
		}
		if got, err := greylist.ParseKey(strings.ReplaceAll(k.String(), "+", "-")); err != nil || got != k {
			t.Errorf("ParseKey of base64url of %s = %v, %v, want the key", k, got, err)
		}
		if got, err := greylist.ParseKey(k.String()); err != nil || got != k {
			t.Errorf("ParseKey(%s) = %v, %v, want the key", k, got, err)
		}
	}
}
