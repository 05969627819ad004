//go:build !race

package linear

// Raced tells whether the race detector is on.
const Raced = false
