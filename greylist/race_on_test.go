//go:build race

package greylist_test

const raced = true
