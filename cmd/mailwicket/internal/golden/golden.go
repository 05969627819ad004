// Package golden compares what tests get with files of what is wanted. Tests that
// use it take -update, which writes the files anew.
package golden

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the wanted files anew")

// Updating tells whether files are written.
func Updating() bool { return *update }

// Compare fails the test where the file holds something else than got.
func Compare(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: go test -update, if this is as it should be (-want +got)\n%s", file, d)
	}
}
