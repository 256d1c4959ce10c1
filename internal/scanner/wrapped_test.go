package scanner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// concatenations put pieces together as languages do. Those by operators of two signs
// are seen from pieces of eight characters on.
var concatenations = map[string]struct{ first, joint, last string }{
	"+":              {`x = "`, `" + "`, `";`},
	"+ without gap":  {`f("`, `"+"`, `")`},
	"+ over lines":   {"x = '", "' +\n        '", "'"},
	"PHP":            {`$x = '`, `' . '`, `';`},
	"Lua":            {`x = "`, `" .. "`, `"`},
	"Haskell":        {`x = "`, `" ++ "`, `"`},
	"C++":            {`cout << "`, `" << "`, `";`},
	"SQL":            {`select '`, `' || '`, `';`},
	"VB":             {`x = "`, `" & "`, `"`},
	"in JSON":        {`{"code":"x = \"`, `\" + \"`, `\";"}`},
	"in JSON, tight": {`{"code":"x = \"`, `\"+\"`, `\";"}`},
}

// wrappings wrap lines as mail, markdown, diffs and comments do.
var wrappings = map[string]struct{ first, joint, last string }{
	"lines":            {"the key:\n", "\n", "\nthat was it"},
	"CRLF":             {"the key:\r\n", "\r\n", "\r\n"},
	"quoted-printable": {"the key is ", "=\r\n", "\r\n"},
	"mail":             {"> the key is\n> ", "\n> ", "\n> that was it"},
	"mail, twice":      {">> the key is\n>> ", "\n>> ", "\n"},
	"diff":             {"+the key is\n+", "\n+", "\n+it was"},
	"old diff":         {"-the key is\n-", "\n-", "\n-it was"},
	"shell comment":    {"# the key is\n# ", "\n# ", "\n#\n"},
	"comment":          {"// the key is\n// ", "\n// ", "\nfunc"},
	"in JSON":          {`{"text":"> the key is\n> `, `\n> `, `\n"}`},
	"block comment":    {"/* the key is\n * ", "\n * ", "\n */"},
}

func leastPiece(name string) int {
	if slices.Contains([]string{"Lua", "Haskell", "C++", "SQL"}, name) {
		return 8
	}
	return 3
}

func TestPiecesOfAnySizeAreFound(t *testing.T) {
	g, v := gitHubToken(1), vaultValue(1)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
	for name, c := range concatenations {
		for n := leastPiece(name); n < 24; n++ {
			for _, secret := range []string{g, v} {
				text := c.first + strings.Join(chop(secret, n), c.joint) + c.last
				if !slices.ContainsFunc(s.Scan([]byte(text), "body"), scanner.Finding.Blocks) {
					t.Errorf("%s, pieces of %d: got nothing that blocks in %q", name, n, text)
				}
			}
		}
	}
	for name, c := range wrappings {
		for n := 1; n < 30; n++ {
			for _, secret := range []string{g, v} {
				text := c.first + secret[:n] + c.joint + secret[n:] + c.last
				if !slices.ContainsFunc(s.Scan([]byte(text), "body"), scanner.Finding.Blocks) {
					t.Errorf("%s, broken after %d: got nothing that blocks in %q", name, n, text)
				}
			}
		}
	}
}

func TestPiecesAreRedactedWhereverAStreamIsCut(t *testing.T) {
	v := vaultValue(1)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
	for name, c := range concatenations {
		text := c.first + strings.Join(chop(v, max(5, leastPiece(name))), c.joint) + c.last
		cutAnywhere(t, s, name, text)
	}
	for name, c := range wrappings {
		for _, n := range []int{3, 9, 20} {
			cutAnywhere(t, s, name, c.first+v[:n]+c.joint+v[n:]+c.last)
		}
	}
}

func TestPiecesInUTF16AreRedactedWhereverAStreamIsCut(t *testing.T) {
	v := vaultValue(1)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
	for _, text := range []string{"it is " + v[:20] + "\n" + v[20:] + " as said", `x = "` + v[:20] + `" + "` + v[20:] + `";`} {
		for _, bigEndian := range []bool{false, true} {
			if !strings.Contains(redact(t, s, "text/plain", wide(text, bigEndian)), "[REDACTED") {
				t.Errorf("%q: got nothing redacted", text)
			}
			cutAnywhere(t, s, "UTF-16", wide(text, bigEndian))
		}
	}
}

// cutAnywhere tests that text comes out the same whatever it is cut into.
func cutAnywhere(t *testing.T, s *scanner.Scanner, name, text string) {
	t.Helper()
	whole := redact(t, s, "text/plain", text)
	for cut := 1; cut < len(text); cut++ {
		if got := redact(t, s, "text/plain", text[:cut], text[cut:]); got != whole {
			t.Errorf("%s, cut at %d: got %q, want %q", name, cut, got, whole)
			return
		}
	}
	if got := redact(t, s, "text/plain", chop(text, 1)...); got != whole {
		t.Errorf("%s, byte by byte: got %q, want %q", name, got, whole)
	}
}

func TestPiecesThatAreNoSecretPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, text := range []string{
		"commit " + strings.Repeat("a1b2c3d4", 5) + "\n- " + strings.Repeat("a1b2c3d4", 5) + "\n- " + strings.Repeat("b1b2c3d4", 5),
		`x = "sk-" + "template" + "name1"`, `"key" . "number1" . "of2"`, "abc1\n# def2\n// ghi3\n", `a = "/" + b + "/" + "c1234567"`,
	} {
		clean, _ := s.Sanitize([]byte(text))
		if string(clean) != text {
			t.Errorf("got %q, want %q", clean, text)
		}
	}
}
