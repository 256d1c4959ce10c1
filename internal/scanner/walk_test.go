package scanner_test

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

var corpusDir = flag.String("corpus", "", "scan every file of this folder instead of the sources of Go")

const largestFile = 4 << 20

// walk scans the files under root for which take says so, and calls report for
// each finding that redacts.
func walk(tb testing.TB, root string, take func(path string) bool, report func(path string, text []byte, f scanner.Finding)) (bytes int) {
	tb.Helper()
	s := newScanner(tb, scanner.Config{})
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !take(path) {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() > largestFile {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		bytes += len(text)
		for _, f := range s.Scan(text, "file") {
			if f.Redacts() {
				report(path, text, f)
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return bytes
}

// excerpt is a line's worth of text around a finding.
func excerpt(text []byte, f scanner.Finding) string {
	return string(text[max(0, f.Start-50):min(len(text), f.End, f.Start+80)])
}

func goRoot(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestSourcesPass(t *testing.T) {
	ordinary := func(path string) bool { // those are private keys of tests
		return !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "testdata") && !strings.HasSuffix(path, "_key.pem")
	}
	root, found := *corpusDir, 0
	if root == "" {
		root = filepath.Join(goRoot(t), "src")
	} else {
		ordinary = func(string) bool { return true }
	}
	n := walk(t, root, ordinary, func(path string, text []byte, f scanner.Finding) {
		found++
		t.Errorf("%s: %s (%s): %q", strings.TrimPrefix(path, root), f.Rule, f.Confidence, excerpt(text, f))
	})
	t.Logf("%d findings in %d MB", found, n>>20)
}
