package policy

import "strings"

// Nearest gives the candidate that differs from s by at most a third of its
// length, "" when there is none.
func Nearest(s string, candidates []string) string {
	best, found := max(len(s)/3, 1)+1, ""
	for _, c := range candidates {
		if c == "" || max(len(s)-len(c), len(c)-len(s)) >= best {
			continue
		}
		if d := distance(strings.ToLower(s), c); d < best {
			best, found = d, c
		}
	}
	return found
}

// distance counts the bytes to put in, take out, change or swap with their
// neighbour (Damerau and Levenshtein, restricted).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
