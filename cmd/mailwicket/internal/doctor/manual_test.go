package doctor

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the manual's table anew")

const (
	manual = "../../../../deploy/docs/doctor.md"
	begin  = "<!-- made by go test ./cmd/mailwicket/internal/doctor -update -->\n"
	end    = "<!-- end -->\n"
)

// TestManual keeps the manual's table that of the code.
func TestManual(t *testing.T) {
	table := "| finding | severity | what it means | what helps |\n|---|---|---|---|\n"
	for _, k := range Kinds() {
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", k.ID, k.Severity, strings.ReplaceAll(k.Meaning, "|", `\|`), strings.ReplaceAll(k.Fix, "|", `\|`))
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", manual)
	}
	want := slices.Concat(before, []byte(begin+table+end), after)
	if *update {
		if err := os.WriteFile(manual, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s is not that of the code: go test ./cmd/mailwicket/internal/doctor -update", manual)
	}
}
