package scanner_test

import (
	"maps"
	"slices"
	"testing"

	"encoding/base64"
	"github.com/superinstance/keeper/internal/scanner"
	"math/rand/v2"
	"strings"
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

const samplesOfAKind = 300

// TestCleanTextsOfEveryKindPass counts the samples in which something would be
// redacted. None may be.
func TestCleanTextsOfEveryKindPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	samples, bytes := 0, 0
	for _, corpus := range []map[string]sampler{idCorpus, fileCorpus, wordCorpus} {
		for _, kind := range slices.Sorted(maps.Keys(corpus)) {
			bad := 0
			for seed := range uint64(samplesOfAKind) {
				text := []byte(corpus[kind](newRand(seed)))
				samples, bytes = samples+1, bytes+len(text)
				for _, f := range s.Scan(text, "text") {
					if !f.Redacts() {
						continue
					}
					if bad++; bad <= 3 {
						t.Errorf("%s: %s (%s, %s): %q", kind, f.Rule, f.Confidence, f.Form, excerpt(text, f))
					}
				}
			}
			if bad > 3 {
				t.Errorf("%s: %d findings in %d samples", kind, bad, samplesOfAKind)
			}
		}
	}
	t.Logf("%d samples of %d kinds, %d KB", samples, len(idCorpus)+len(fileCorpus)+len(wordCorpus), bytes>>10)
}

// TestImagesPass scans images in both alphabets of base64, in one string and in lines:
// so many that each prefix of four characters comes up in them.
func TestImagesPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := rand.NewChaCha8([32]byte{5})
	image := make([]byte, 1<<20)
	for i := range 64 {
		r.Read(image)
		text := std64[i%2].EncodeToString(image)
		if i%4 == 2 {
			text = strings.Join(slices.Collect(chunks(text, 76)), "\r\n")
		}
		for _, f := range s.Scan([]byte(text), "body") {
			if f.Redacts() {
				t.Errorf("image %d: %s (%s, %s): %q", i, f.Rule, f.Confidence, f.Form, text[f.Start:min(f.End, f.Start+40)])
			}
		}
	}
}

var std64 = [...]*base64.Encoding{base64.StdEncoding, base64.URLEncoding}

// TestShortPrefixesCountOutsideOfImages puts a token between a few hundred characters
// of base64, where no image is long enough for it to have come up by chance.
func TestShortPrefixesCountOutsideOfImages(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(8)
	secret := "AKIA" + pick(r, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
	for _, around := range []int{0, 100, 400} {
		text := pick(r, alnum, around) + "/" + secret + "/" + pick(r, alnum, 2000)
		if f := covered(s.Scan([]byte(text), "body"), around+1, around+1+len(secret)); f == nil || !f.Redacts() {
			t.Errorf("behind %d characters: got %v, want the key", around, f)
		}
	}
}
