package app

import "crypto/rand"

// refLetters can be read aloud and are never taken for one another: no vowels,
// so no words, and no 0/O, 1/I/L, 5/S, 8/B.
const refLetters = "234679CDFGHJKMNPQRTVWXYZ"

// newRef gives the reference of a message or session: two groups of five
// letters, 6e13 of them, so that two weeks of a busy server hold no pair.
func newRef() string {
	var b [11]byte
	rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = refLetters[int(b[i])%len(refLetters)]
	}
	b[5] = '-'
	return string(b[:])
}
