//go:build !race

package greylist_test

// raced tells that the race detector slows all down.
const raced = false
