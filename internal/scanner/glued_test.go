package scanner_test

import (
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// gluedSamples are of formats whose prefix is the end of no word.
func gluedSamples(r *rand.Rand) map[string]string {
	return map[string]string{
		"github-pat":       "ghp" + "_" + pick(r, alnum, 36),
		"npm-access-token": "npm" + "_" + pick(r, alnum, 36),
		"groq-api-key":     "gsk" + "_" + pick(r, alnum, 52),
		"gcp-api-key":      "AIza" + pick(r, alnum+"-_", 34) + "7",
		"aws-access-token": "AKIA" + pick(r, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"+digits, 15) + "7",
	}
}

func TestGlueHidesNoToken(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for seed := range uint64(20) {
		for rule, token := range gluedSamples(newRand(seed)) {
			for _, text := range []string{
				"it is x" + token + " there", "it is 0" + token, token + "x", token + "0 there", "x" + token + "0", "it's " + token + "_backup-of-the-old-token",
			} {
				if !slices.ContainsFunc(s.Scan([]byte(text), "body"), scanner.Finding.Blocks) {
					t.Errorf("%s: got nothing that blocks in %q", rule, text)
				}
			}
		}
		for _, glue := range []string{"prod_", "GITHUB", "thetokenthatweuseforbuilds_", "key1-"} {
			if token := gitHubToken(seed); find(s.Scan([]byte(glue+token), "body"), "github-pat") == nil {
				t.Errorf("the token is not found behind %q", glue)
			}
		}
	}
	body := pick(newRand(1), alnum, 30)
	token := "gho" + "_" + body + withSum(body, base62, 6)
	if find(s.Scan([]byte("x"+token+pick(newRand(2), alnum, 60)), "body"), "github-oauth") == nil {
		t.Error("a token whose checksum holds is not found within a longer one")
	}
}

func TestGlueMakesNoTokens(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(1)
	for range 300 {
		for _, text := range []string{
			"session" + "_" + pick(r, alnum, 42), "toolkit_" + pick(r, hexes, 32), "info_" + pick(r, alnum, 40), "paragraphs_" + pick(r, alnum, 45),
			"scripts_" + pick(r, "abcdefghijklmnopqrstuvwxyz234567", 32), "key" + "_" + pick(r, hexes, 33), "task_live_" + pick(r, alnum, 24), "disk-" + pick(r, hexes, 32),
			pick(r, hexes, 8) + "4b1d" + pick(r, hexes, 40), "npm_config_registry_for_the_build", "xghp_" + strings.Repeat("a", 36), "ghp" + "_TheNameOfSomeFunctionWithoutNumbersIn",
			base64.RawURLEncoding.EncodeToString(randomBytes(r, 30+r.IntN(3000))),
		} {
			for _, f := range s.Scan([]byte(text), "body") {
				if f.Redacts() {
					t.Errorf("%s (%s) in %.80q", f.Rule, f.Confidence, text)
				}
			}
		}
	}
}

func TestGluedTokensDoNotLeaveInPieces(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	d := dialects[0]
	for rule, token := range gluedSamples(newRand(3)) {
		for n := 1; n <= 9; n++ {
			said := d.textOf(t, redact(t, s, d.media(), d.stream(chop("it is x"+token+"y there", n))))
			if _, rest, _ := strings.Cut(said, token[:4]); rest != "" && !strings.HasPrefix(rest, "[REDACTED") || strings.Contains(said, token[len(token)-8:]) {
				t.Errorf("%s in pieces of %d: got %q", rule, n, said)
			}
		}
	}
}
