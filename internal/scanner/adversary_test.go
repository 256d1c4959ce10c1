package scanner_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// shows says whether the report of any finding has a part of secret that its
// preview may not have.
func shows(tb testing.TB, findings []scanner.Finding, secret string) string {
	tb.Helper()
	for _, f := range findings {
		report, err := json.Marshal(f)
		if err != nil {
			tb.Fatal(err)
		}
		for at := 0; at+4 <= len(secret); at++ {
			if strings.Contains(string(report), secret[at:at+4]) {
				return string(report)
			}
		}
	}
	return ""
}

func TestPreviewOfSecretsThatOverlapShowsNeither(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	hidden := pick(newRand(1), digits+"GHJKLM", 12)
	text := `{"password": "` + hidden + `-sk-` + "proj-" + pick(newRand(2), alnum, 48) + `"}`
	findings := s.Scan([]byte(text), "body")
	if len(findings) == 0 {
		t.Fatal("got no finding, want one")
	}
	if got := shows(t, findings, hidden); got != "" {
		t.Errorf("got %s, want nothing of the password in it", got)
	}
}

func TestPreviewOfASecretThatIsFoundLateShowsNothing(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	hidden := pick(newRand(1), alnum, 7)
	secret := hidden + pick(newRand(2), alnum, 7) + "." + "atlasv1." + pick(newRand(3), alnum, 64)
	var out strings.Builder
	r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
	d := dialects[0]
	for _, piece := range chop("it is "+secret+" there", 7) {
		if _, err := r.Write([]byte(d.event(piece))); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := shows(t, r.Findings(), strings.ReplaceAll(secret, "atlasv1", "")); got != "" {
		t.Errorf("got %s, want nothing of the secret in it", got)
	}
}

func TestPlacesNeverNameASecretWhateverItsRuleDoes(t *testing.T) {
	value := "q7" + pick(newRand(1), "abcdefghijklm"+digits, 20)
	for _, a := range []scanner.Action{scanner.Warn, scanner.Redact, scanner.Block} {
		s := newScanner(t, scanner.Config{
			Matchers: []scanner.Matcher{knownValue(value)},
			Actions:  map[string]scanner.Action{scanner.TypeVault: a},
		})
		h := http.Header{value: {value}, "X-" + value: {"1"}}
		u := &url.URL{Path: "/", RawQuery: value + "=" + value}
		findings := append(s.ScanHead(u, h), s.RedactHeader(h)...)
		if len(findings) < 6 {
			t.Errorf("%s: got %d findings, want one for each name and value", a, len(findings))
		}
		if got := shows(t, findings, value); got != "" {
			t.Errorf("%s: got %s, want nothing of the value in it", a, got)
		}
	}
}

func TestRuleThatBlocksIsNotHiddenByWhatItOverlaps(t *testing.T) {
	secret := "s." + pick(newRand(1), alnum, 24)
	text := []byte(`{"password": "` + secret + `"}`)
	for action, want := range map[scanner.Action][2]bool{scanner.Block: {true, true}, scanner.Redact: {false, true}} {
		s := newScanner(t, scanner.Config{Actions: map[string]scanner.Action{
			"vault-legacy-token": action, "password": scanner.Warn, "generic-api-key": scanner.Warn,
		}})
		findings := s.Scan(text, "body")
		if len(findings) != 1 || findings[0].Blocks() != want[0] || findings[0].Redacts() != want[1] {
			t.Errorf("%s: got %+v, want one that blocks %t, redacts %t", action, findings, want[0], want[1])
		}
	}
}

func TestInputFullOfSecretsKeepsTheGravestFinding(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	hint := "s." + pick(newRand(1), alnum, 24) + " "
	text := strings.Repeat(hint, 5000) + gitHubToken(2) + " " + strings.Repeat(hint, 5000)
	findings := scanBody(t, s, chop(text, 4000)...)
	if len(findings) == 0 || len(findings) > 1100 {
		t.Errorf("got %d findings, want a bounded number", len(findings))
	}
	if f := find(findings, "github-pat"); f == nil || !f.Blocks() {
		t.Errorf("got %+v, want the token among them", f)
	}
	out := redact(t, s, "text/plain", strings.Repeat(gitHubToken(2)+" ", 3000))
	if want := strings.Repeat("[REDACTED:github-pat] ", 3000); out != want {
		t.Errorf("got %d bytes, want %d: each of them redacted", len(out), len(want))
	}
}

func TestSecretBehindManyDoubtfulOnesIsFoundAsByItself(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(5)
	flood := string(stuffed(r, 200<<10, func() string { return "password=" + pick(r, alnum, 10) + "1aB " }))
	tail := "password=" + pick(r, alnum, 8) + "1-" + gitHubToken(2) + " " // of which the name's value and the token overlap
	want := s.Scan([]byte(tail), "body")
	if len(want) != 1 || !want[0].Blocks() || want[0].Start != len("password=") {
		t.Fatalf("got %+v, want one finding, of the whole value", want)
	}
	for _, text := range []string{flood + tail, flood + tail + flood} {
		found := scanBody(t, s, text)
		last := found[len(found)-1]
		if last.Start -= len(flood); last.Start != want[0].Start || last.End-len(flood) != want[0].End || last.Rule != want[0].Rule {
			t.Errorf("got %+v, want %+v", last, want[0])
		}
	}
	s = newScanner(t, scanner.Config{Actions: map[string]scanner.Action{"password": scanner.Block}})
	flood = string(stuffed(r, 200<<10, func() string { return "api_key=" + pick(r, alnum, 20) + "1aB " }))
	if found := scanBody(t, s, flood+"password="+pick(r, alnum, 10)+"1aB"); !found[len(found)-1].Blocks() {
		t.Errorf("got %+v last, want the password, which the operator has blocked", found[len(found)-1])
	}
}

// TestRulesMatchAsTheirExpressionsDo is about patterns that are matched without
// the regular expression: what is found must be what that would have found.
func TestRulesMatchAsTheirExpressionsDo(t *testing.T) {
	r := newRand(9)
	for _, pattern := range []string{
		`acme_[a-f]{4,9}`, `acme_[a-f]{4,9}[0-9]{2}`, `acme_[a-f0-9]{4,9}[0-9]{2}`, `acme_(?:ab|abc)?[a-d]{6}`, `acme_(?:live|test)_[a-d]+={0,2}`,
		`acme_[a-d]{2,}?[a-d]{6}`, `(?i)acme_[a-d]{4}x[a-d]{4}`, `\bacme_[a-d]{8}`, `acme_(?:a|ab)(?:c|bcd)[a-d]{6}`, `acme_[a-d]*_[a-d]{4}`, `acme_(?:[a-d]{3}-){3}x`,
	} {
		s := newScanner(t, scanner.Config{Rules: []scanner.Rule{{ID: "acme", Confidence: scanner.High, Prefixes: []string{"acme_"}, Pattern: pattern}}})
		expr := regexp.MustCompile(`\A(?:` + pattern + `)(?:[^A-Za-z0-9_-]|\z)`)
		hits := 0
		for range 4000 {
			text := "acme_" + pick(r, "abcd0-_=", 1+r.IntN(16))
			if r.IntN(2) == 0 {
				text = sampleOf(t, r, strings.ReplaceAll(pattern, `\b`, ""))
			}
			want := expr.MatchString(text)
			got := find(s.Scan([]byte(text), "text"), "acme") != nil
			if !want && got { // it may end before what is no part of a token
				want = regexp.MustCompile(`\A(?:` + pattern + `)`).MatchString(text)
			}
			if got {
				hits++
			}
			if got != want && len(text) >= 12 {
				t.Errorf("%s on %q: got %t, want %t", pattern, text, got, want)
				break
			}
		}
		if hits == 0 {
			t.Errorf("%s: got no hit", pattern)
		}
	}
}

func TestCodeThatNamesSecretsPasses(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	zeros := strings.Repeat("0", 8)
	for _, text := range []string{
		"dec.privateKey = ed25519PrivateKey\n", "type PrivateKey = ed25519.PrivateKey\n",
		"exports.findX509Credential = exports.rememberX509Credential = exports.a", "exports.exchangeX509Token = exchangeX509Token;",
		"function pbkdf2(password: Uint8Array, salt: Uint8Array): void", "const SUBJECT_TOKEN = 'urn:openai:params:oauth:token-type:x509';",
		"Token: `urn:uuid:" + uuidOf(newRand(1)) + "`,",
		`createTokenAuth("` + "ghp" + `_PersonalAccessToken012456789` + zeros + `")`, `token: '` + "ghs" + `_InstallallationOrActionToken` + zeros + `',`,
		`"` + "ghu" + `_InstallationUserToServer` + zeros + `0000"`,
	} {
		for _, f := range s.Scan([]byte(text), "body") {
			if f.Redacts() {
				t.Errorf("%q: got %s (%s), want nothing", text, f.Rule, f.Confidence)
			}
		}
	}
	random := pick(newRand(3), alnum, 24)
	for _, text := range []string{"private_key = " + random + "\n", "API_KEY=" + random, "api_key: k." + random} {
		if _, findings := s.Sanitize([]byte(text)); len(findings) != 1 || !findings[0].Redacts() {
			t.Errorf("%q: got %+v, want one finding that redacts", text, findings)
		}
	}
}

func TestPrivateKeyThatIsCutShortIsFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	begin := "-----BEGIN RSA " + "PRIVATE KEY-----\n"
	for text, want := range map[string]bool{
		begin + "MIIEpAIBAAKCAQEA":                  true,
		begin + "MIIEpAIBAAKCAQEA...\n-----END RSA": true,
		begin + "b3BlbnNzaC1rZXkt":                  true,
		begin + "MIIE":                              false,
		begin + "your key here":                     false,
		"the line " + begin + "begins a key":        false,
	} {
		found := s.Scan([]byte(text), "body")
		if got := len(found) > 0 && found[0].Blocks(); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
