package keepertest_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

func TestCanaryIsFoundInEveryForm(t *testing.T) {
	canary, keys := keepertest.NewCanary(t)
	for vendor, key := range keys {
		for _, form := range []string{"raw", "base64", "base64url", "hex", "percent", "json"} {
			data := []byte("before " + fake.InForm(form, key) + " behind")
			leaks := canary.Leaks(data)
			if !slices.ContainsFunc(leaks, func(leak string) bool { return strings.HasPrefix(leak, vendor+" as ") }) {
				t.Errorf("the key of %s as %s: got leaks %q, want it among them", vendor, form, leaks)
			}
			for _, leak := range leaks {
				if !strings.HasPrefix(leak, vendor+" as ") {
					t.Errorf("the key of %s as %s: got %q too, want that key alone", vendor, form, leak)
				}
			}
		}
	}
}

func TestCanaryIsFoundAtEveryAlignmentOfBase64(t *testing.T) {
	canary, keys := keepertest.NewCanary(t)
	for before := range 6 {
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			text := strings.Repeat("?", before) + keys["github"] + "~~~"
			if leaks := canary.Leaks([]byte(alphabet.EncodeToString([]byte(text)))); len(leaks) != 1 {
				t.Errorf("a key behind %d bytes: got leaks %q, want one", before, leaks)
			}
		}
	}
}

func TestCanaryIsFoundWithoutItsPublicPrefixAndUpperHex(t *testing.T) {
	canary, keys := keepertest.NewCanary(t)
	core := strings.TrimPrefix(keys["anthropic"], "sk-ant-api03-")
	for _, text := range []string{core, strings.ToUpper(fake.InForm("hex", core)), strings.Replace(core, core[9:10], fake.InForm("percent", core[9:10]), 1)} {
		if leaks := canary.Leaks([]byte(text)); len(leaks) == 0 {
			t.Errorf("a secret part of %d bytes: got no leak, want one", len(text))
		}
	}
}

func TestCleanTextHasNoCanary(t *testing.T) {
	canary, _ := keepertest.NewCanary(t)
	for _, kind := range []string{"random", "json", "text"} {
		_, body := fake.Fill(kind, 64<<10)
		if leaks := canary.Leaks(body); leaks != nil {
			t.Errorf("clean %s: got leaks %q, want none", kind, leaks)
		}
	}
	if leaks := canary.Leaks([]byte(fake.NewKey("openai"))); leaks != nil {
		t.Errorf("another key: got leaks %q, want none", leaks)
	}
}

func TestCanaryInAFileFailsTheTest(t *testing.T) {
	canary, keys := keepertest.NewCanary(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rows.db"), []byte("x"+keys["stripe"]), 0o600); err != nil {
		t.Fatal(err)
	}
	recorder := &failures{TB: t}
	canary.AssertFolder(recorder, dir)
	if len(recorder.said) != 1 || !strings.Contains(recorder.said[0], "rows.db") || strings.Contains(recorder.said[0], keys["stripe"]) {
		t.Errorf("a key in a file: got %d failures, want one that does not quote it", len(recorder.said))
	}
}
