package scanner_test

import (
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func TestCleanTrafficPassesUntouched(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, kind := range cleanKinds {
		t.Run(kind.name, func(t *testing.T) {
			for seed := range uint64(40) {
				p := kind.sample(newRand(seed), 16<<10)
				clean, findings := s.Sanitize(p)
				for _, f := range findings {
					if f.Redacts() {
						t.Errorf("finding %s (%s) in clean %s: %q", f.Rule, f.Confidence, kind.name, p[max(0, f.Start-40):min(len(p), f.End+10)])
					}
				}
				if string(clean) != string(p) {
					t.Fatalf("clean %s was changed", kind.name)
				}
			}
		})
	}
}
