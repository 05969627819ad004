package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// layers is the house: for each package, what of ours it may import. A trailing
// "/..." means the package and all below it. The first line that fits counts.
var layers = []struct {
	pkg string
	may []string
}{
	{"filter/mail", nil},
	{"filter/linear", nil},
	{"filter/fact", []string{"filter/mail"}},
	{"filter/dns/internal/...", []string{"filter/dns", "filter/mail"}},
	{"filter/dns", nil},
	{"filter/dns/...", []string{"filter/dns/...", "filter/mail"}},
	{"filter/iprev", []string{"filter/dns", "filter/mail"}},
	{"filter/spf/...", []string{"filter/spf/...", "filter/iprev", "filter/dns", "filter/mail"}},
	{"filter/dkim/...", []string{"filter/dkim/...", "filter/dns", "filter/mail"}},
	{"filter/arc", []string{"filter/dkim/sig", "filter/dns", "filter/mail"}},
	{"filter/dmarc", []string{"filter/dns", "filter/mail"}},
	{"filter/author/...", []string{"filter/author/...", "filter/mail"}},
	{"filter/authres", []string{"filter/author/encword", "filter/mail"}},
	{"filter/casefile", []string{"filter/dkim/sig", "filter/mail"}},
	{"filter/content/hex", nil},
	{"filter/content/link", []string{"filter/content/hex", "filter/mail"}},
	{"filter/content/charset", nil},
	{"filter/content/mime", []string{"filter/author/encword", "filter/content/hex", "filter/mail"}},
	{"filter/content", []string{"filter/content/...", "filter/mail"}},
	{"filter/list/...", []string{"filter/list/...", "filter/fact", "filter/mail"}},
	{"filter/dnsbl", []string{"filter/list", "filter/fact", "filter/dns", "filter/mail"}},
	{"filter/limit/...", []string{"filter/limit/...", "filter/fact", "filter/mail"}},
	{"greylist", []string{"filter/mail"}},
	{"greylist/redisstore/redisurl", nil},
	{"greylist/...", []string{"greylist/...", "filter/mail"}},
	{"policy", []string{"filter/fact", "filter/mail"}},
	{"policy/...", []string{"policy/...", "filter/fact", "filter/mail"}},
	{"filter", []string{"filter/arc", "filter/author", "filter/authres", "filter/content", "filter/dkim", "filter/dmarc", "filter/dns",
		"filter/fact", "filter/iprev", "filter/list", "filter/mail", "filter/spf", "greylist", "policy"}},
	{"filter/milter/client", nil},
	{"filter/milter", []string{"filter", "filter/mail", "policy"}},
	{"filter/observe/...", []string{"filter", "filter/observe/...", "filter/dns", "filter/fact", "filter/mail", "policy"}},
	{"cmd/mailwicket/internal/config/keys", []string{"policy/..."}},
	{"cmd/mailwicket/internal/config/...", []string{"policy/...", "filter/fact", "filter/list/...", "filter/dnsbl", "filter/limit", "filter/mail", "greylist", "greylist/redisstore/redisurl",
		"cmd/mailwicket/internal/config/..."}},
	{"cmd/mailwicket/internal/admin", nil},
	{"cmd/mailwicket/internal/api", []string{"cmd/mailwicket/internal/config/...", "cmd/mailwicket/internal/doctor", "filter", "filter/fact", "filter/dnsbl", "filter/list", "filter/mail",
		"greylist", "policy"}},
	{"cmd/mailwicket/internal/golden", nil},
	{"cmd/mailwicket/internal/doctor", []string{"policy", "filter/dnsbl"}},
	{"cmd/mailwicket/internal/doctor/mta", []string{"cmd/mailwicket/internal/doctor"}},
	{"cmd/mailwicket/internal/story", []string{"filter", "filter/fact", "policy"}},
	{"cmd/...", []string{"cmd/...", "filter/...", "greylist/...", "policy/..."}},
	{"deploy", []string{"filter/observe"}},
	{"integration/...", []string{"integration/...", "filter/...", "greylist/...", "policy/..."}},
}

func fits(pkg, pattern string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return pkg == base || below && strings.HasPrefix(pkg, base+"/")
}

// TestImportDirection keeps the direction of imports.
func TestImportDirection(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], "mailwicket/")
		may, known := allowed(pkg)
		if !known {
			t.Errorf("%s is in no layer: give it its place in this test", pkg)
			continue
		}
		for _, imp := range words[1:] {
			own, ok := strings.CutPrefix(imp, "mailwicket/")
			if ok && !anyFits(own, may) {
				t.Errorf("%s may not import %s", pkg, own)
			}
		}
	}
}

func allowed(pkg string) (may []string, known bool) {
	for _, l := range layers {
		if fits(pkg, l.pkg) {
			return l.may, true
		}
	}
	return nil, false
}

func anyFits(pkg string, patterns []string) bool {
	for _, p := range patterns {
		if fits(pkg, p) {
			return true
		}
	}
	return false
}

// TestNoHiddenStart: nothing happens by import, and only main ends the process.
func TestNoHiddenStart(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.FuncDecl:
				if x.Recv == nil && x.Name.Name == "init" {
					t.Errorf("%s: init", fset.Position(x.Pos()))
				}
			case *ast.CallExpr:
				s, ok := x.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				from, _ := s.X.(*ast.Ident)
				if from == nil {
					return true
				}
				call := from.Name + "." + s.Sel.Name
				if strings.HasPrefix(call, "log.Fatal") || call == "os.Exit" && f.Name.Name != "main" {
					t.Errorf("%s: %s below main", fset.Position(x.Pos()), call)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// large are the packages of more than maxLines, and why they are one all the same.
var large = map[string]string{
	"filter":                      "a session is one state machine: what is found, decided and written shares its state",
	"policy":                      "compiler, evaluation and what they say of a rule share its tree",
	"greylist":                    "identity, decision and service are one contract to both stores",
	"cmd/mailwicket/internal/cli": "a file for each command",
	"integration/harness":         "one language of cases, two MTAs",
	"filter/dnsbl":                "close to it",
	"filter/content/link":         "close to it",
}

const maxLines = 1500 // of a package, without its tests

// TestPackageSizes: who makes a package too large to be read at one go says why.
func TestPackageSizes(t *testing.T) {
	lines := map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, filepath.Dir(path))
		lines[filepath.ToSlash(rel)] += strings.Count(string(text), "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, n := range lines {
		if n > maxLines && large[pkg] == "" {
			t.Errorf("%s has %d lines, want %d at most, or a reason", pkg, n, maxLines)
		}
	}
	for pkg := range large {
		if lines[pkg] <= maxLines {
			t.Errorf("%s has %d lines and needs no reason for it", pkg, lines[pkg])
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)

// TestDocumentLinks: what the documents point to is there.
func TestDocumentLinks(t *testing.T) {
	files := []string{root + "/README.md", root + "/integration/README.md"}
	docs, err := filepath.Glob(root + "/deploy/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, docs...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s points to %s, which is not there", file, m[1])
			}
		}
	}
}
