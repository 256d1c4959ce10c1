package scanner_test

import (
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func TestSecretBehindASecondNameInALongRunIsFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := pick(newRand(3), alnum, 70)
	path := strings.Repeat("/usr/lib", 20)
	for _, text := range []string{
		"password=" + path + "/client_secret=" + secret,
		"password=" + path + "/client_secret=" + path + "/api_key:" + secret + "\n",
		strings.Repeat("secret=/", 100) + path + "/secret=" + secret,
	} {
		findings := s.Scan([]byte(text), "text")
		found := false
		for _, f := range findings {
			found = found || f.Redacts() && f.Start <= strings.Index(text, secret) && f.End >= strings.Index(text, secret)+len(secret)
		}
		if !found {
			t.Errorf("got %d findings, none of which covers the secret at the end of a run of %d bytes", len(findings), len(text))
		}
	}
}

func TestNamesInALongRunAreJudgedAsInAShortOne(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(5)
	for range 200 {
		value := pick(r, alnum+"/_-", 65+r.IntN(60))
		long := []byte("secret=" + strings.Repeat("/dir", r.IntN(30)) + "/token=" + strings.Repeat("word", r.IntN(9)) + "/secret=" + value)
		short := long[strings.LastIndex(string(long), "secret="):]
		want, got := s.Scan(short, "text"), s.Scan(long, "text")
		if len(want) == 0 {
			continue
		}
		if len(got) == 0 || got[len(got)-1].End != len(long) {
			t.Errorf("a value of %d bytes is found by itself, and not at the end of a run of %d", len(value), len(long))
		}
	}
}
