package dashboard_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const vendorFolder = "static/vendor"

// vendored returns the digests that vendored.txt gives, by file.
func vendored(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("vendored.txt")
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "#") || len(fields) == 0 {
			continue
		}
		if len(fields) != 4 {
			t.Fatalf("vendored.txt: got line %q, want digest, file, package and its file", line)
		}
		digests[fields[1]] = fields[0]
	}
	return digests
}

func TestVendoredFilesAreThoseOfTheirPackages(t *testing.T) {
	digests := vendored(t)
	err := filepath.WalkDir(vendorFolder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, filepath.FromSlash(vendorFolder+"/")))
		sum := sha256.Sum256(content)
		if got, want := hex.EncodeToString(sum[:]), digests[name]; got != want {
			t.Errorf("%s: got digest %s, want %q, as vendored.txt has it", name, got, want)
		}
		delete(digests, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range digests {
		t.Errorf("%s: vendored.txt has it, and it is not there", name)
	}
}
