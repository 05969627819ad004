package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwicket/integration/harness"
)

// requireAll makes a missing part a failure instead of a skip.
func requireAll() bool { return os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" }

// missing skips the test, or fails it where everything is required.
func missing(t *testing.T, why string) {
	t.Helper()
	if requireAll() {
		t.Fatal(why)
	}
	t.Skip(why)
}

// program builds mailwicket, with the race detector where this test has it
// wanted; MAILWICKET_BIN names one that is there already.
func program(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("MAILWICKET_BIN"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "mailwicket")
	args := []string{"build", "-o", bin}
	if requireAll() {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "mailwicket/cmd/mailwicket")...).CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return bin
}

// TestCases plays every file of cases on the MTAs that it names, and the howtos
// that can be carried out. The cases of
// one MTA share it and go one after the other, the MTAs side by side.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var cases []*harness.Case
	for _, f := range files {
		c, err := harness.ReadCase(f)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	for _, howto := range []string{"walkthrough"} {
		c, err := harness.ReadWalk("../deploy/docs/" + howto + ".md")
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	kinds := []string{"postfix", "sendmail"}
	var runnable int
	for _, kind := range kinds {
		if harness.Missing(kind) == "" {
			runnable++
		}
	}
	if runnable == 0 {
		missing(t, harness.Missing(kinds[0])+"; "+harness.Missing(kinds[1]))
	}
	w, err := harness.NewWorld(program(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if why := harness.Missing(kind); why != "" {
				missing(t, why)
			}
			for _, c := range cases {
				play(t, w, c, kind)
			}
		})
	}
}

func play(t *testing.T, w *harness.World, c *harness.Case, kind string) {
	if !strings.Contains(fmt.Sprint(c.MTAs), kind) {
		return
	}
	t.Run(c.Name, func(t *testing.T) {
		if c.Redis && !harness.HasRedis() {
			missing(t, "Redis is not installed")
		}
		begin := time.Now()
		if err := w.Play(c, kind); err != nil {
			t.Errorf("%s\n\n%v", c.Comment, err)
		}
		t.Logf("%.0f ms", time.Since(begin).Seconds()*1000)
	})
}
