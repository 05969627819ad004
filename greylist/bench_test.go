package greylist_test

import (
	"testing"

	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

// What a decision costs beside its store.
func BenchmarkCheck(b *testing.B) {
	v := storetest.Service(b, greylist.NewMemory(100000), nil)
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Check(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNormalizeSender(b *testing.B) {
	a := mail.ParsePath("<bounce-mc.us12_1234.5678-abcdef01-user=example.com@mail133.suw121.example.org>")
	b.ReportAllocs()
	for b.Loop() {
		greylist.NormalizeSender(a)
	}
}
