// Command tally reads the output of go test -json on its standard input, prints
// what the failed tests had to say, and counts.
//
//	go test -json ./... | tally -counts FILE
//
// FILE gets "PASSED FAILED". A package that fails without a failed test (it did
// not build, or ran out of time) counts as one failure. Tests with subtests
// count for themselves as well, as go test -v shows them.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	FailedBuild string
	Test        string
	Output      string
}

type tally struct {
	out            io.Writer
	passed, failed int
	skipped        []string
	said           map[string][]string // by package and test
	failures       map[string]int      // failed tests by package
}

func main() {
	counts := flag.String("counts", "", "file for the two numbers")
	skips := flag.Bool("skips", false, "name the skipped tests")
	flag.Parse()
	t := &tally{out: os.Stdout, said: map[string][]string{}, failures: map[string]int{}}
	if err := t.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	if *skips {
		for _, s := range t.skipped {
			fmt.Println(s)
		}
	}
	if *counts != "" {
		line := fmt.Sprintf("%d %d\n", t.passed, t.failed)
		if err := os.WriteFile(*counts, []byte(line), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "tally:", err)
			os.Exit(1)
		}
	}
}

func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			t.take(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tally) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		t.said[key] = append(t.said[key], e.Output)
	case "build-output":
		t.said[e.ImportPath] = append(t.said[e.ImportPath], e.Output)
	case "pass":
		if e.Test != "" {
			t.passed++
		}
		delete(t.said, key)
	case "skip":
		if e.Test != "" {
			t.skipped = append(t.skipped, "skipped: "+key)
		}
		delete(t.said, key)
	case "fail":
		t.fail(e, key)
	}
}

func (t *tally) fail(e event, key string) {
	if e.Test == "" && t.failures[e.Package] > 0 {
		return // its tests have been told of
	}
	t.failed++
	t.failures[e.Package]++
	fmt.Fprintf(t.out, "--- FAIL: %s\n", strings.TrimSpace(key))
	for _, line := range append(t.said[e.FailedBuild], t.said[key]...) {
		fmt.Fprint(t.out, "    "+line)
	}
	if e.Test == "" { // time ran out: the stack is said under the running test
		for k, lines := range t.said {
			if k != key && strings.HasPrefix(k, e.Package+" ") {
				fmt.Fprint(t.out, "    "+strings.Join(lines, "    "))
			}
		}
	}
}
