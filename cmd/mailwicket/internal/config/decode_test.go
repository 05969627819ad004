package config

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mailwicket/cmd/mailwicket/internal/golden"
	"mailwicket/policy"
)

func files(t testing.TB, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return all
}

func noEnv(string) string { return "" }

func report(problems []policy.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		p.At.File = filepath.Base(p.At.File)
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// Each wrong file gives exactly the problems that stand beside it.
func TestBad(t *testing.T) {
	for _, file := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, problems := Load(file, noEnv)
			if len(problems) == 0 {
				t.Fatal("no problem was found")
			}
			got := report(problems)
			golden.Compare(t, strings.TrimSuffix(file, ".yaml")+".want", got)
			for _, p := range problems {
				if p.At.Line == 0 {
					t.Errorf("no line: %s", p)
				}
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a password is printed:\n%s", got)
			}
		})
	}
}

// Each good file has no problem, shows as expected, and reads back as it was.
func TestGood(t *testing.T) {
	for _, file := range files(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, problems := Load(file, noEnv)
			if len(problems) > 0 {
				t.Fatalf("problems:\n%s", report(problems))
			}
			shown := c.Show()
			golden.Compare(t, strings.TrimSuffix(file, ".yaml")+".show", strings.ReplaceAll(string(shown), "# "+file, "# FILE"))
			back, problems := Parse(file, shown)
			problems = append(problems, back.Validate()...)
			if len(problems) > 0 {
				t.Fatalf("Show does not parse:\n%s", report(problems))
			}
			if d := diff(c, back); d != "" {
				t.Errorf("Show reads back otherwise (-was +is):\n%s", d)
			}
		})
	}
}

// diff compares what configurations say, not where it stands.
func diff(a, b *Config) string {
	return cmp.Diff(plain(a), plain(b), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.IgnoreUnexported(Config{}, policy.Match{}))
}

// plain takes all positions away.
func plain(c *Config) *Config {
	out := *c
	out.File, out.at, out.broken, out.Rules = "", nil, nil, nil
	out.Rules = append(out.Rules, c.Rules...)
	for i := range out.Rules {
		out.Rules[i].At = policy.Position{}
		out.Rules[i].When = placeless(out.Rules[i].When)
	}
	return &out
}

func placeless(c policy.Cond) policy.Cond {
	out := policy.Cond{}
	for _, x := range c.All {
		out.All = append(out.All, placeless(x))
	}
	for _, x := range c.Any {
		out.Any = append(out.Any, placeless(x))
	}
	if c.Not != nil {
		x := placeless(*c.Not)
		out.Not = &x
	}
	if c.Leaf != nil {
		out.Leaf = &policy.Leaf{Field: c.Leaf.Field, Match: c.Leaf.Match}
	}
	return out
}
