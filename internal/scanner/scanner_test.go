package scanner_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func gitHubToken(seed uint64) string { return "ghp" + "_" + pick(newRand(seed), alnum, 36) }

// webToken makes an unsigned JSON Web Token with these claims.
func webToken(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256","typ":"JWT","kid":"a1"}`)) + "." + enc([]byte(claims)) + "." + enc(randomBytes(newRand(6), 256))
}

func find(findings []scanner.Finding, rule string) *scanner.Finding {
	for _, f := range findings {
		if f.Rule == rule {
			return &f
		}
	}
	return nil
}

func TestPrefixedSecretsAreFoundWhereverTheyStand(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, rule := range scanner.Rules() {
		if !hasShape(rule) || len(rule.Names) > 0 || rule.Confidence == scanner.Low {
			continue
		}
		missed := map[string]string{}
		for seed := range uint64(12) {
			l := trueSample(t, newRand(seed), rule)
			for place, found := range everywhere(t, s, l.secret) {
				if !slices.ContainsFunc(found, scanner.Finding.Redacts) {
					missed[place] = l.secret
				}
			}
		}
		for place, sample := range missed {
			t.Errorf("%s: missed in %s: %.80q", rule.ID, place, sample)
		}
	}
}

// everywhere scans secret in the places of a request.
func everywhere(tb testing.TB, s *scanner.Scanner, secret string) map[string][]scanner.Finding {
	tb.Helper()
	text, err := json.Marshal(map[string]any{"messages": []any{map[string]string{"content": "use\n" + secret + "\nplease"}}})
	if err != nil {
		tb.Fatal(err)
	}
	nested, err := json.Marshal(map[string]string{"arguments": string(text)})
	if err != nil {
		tb.Fatal(err)
	}
	form := url.Values{"text": {"it is " + secret + " there"}}.Encode()
	return map[string][]scanner.Finding{
		"JSON":        s.Scan(text, "body"),
		"nested JSON": s.Scan(nested, "body"),
		"a form":      s.Scan([]byte(form), "body"),
		"a header":    s.ScanHead(&url.URL{Path: "/v1"}, http.Header{"X-Note": {secret}}),
		"a query":     s.ScanHead(&url.URL{Path: "/v1", RawQuery: url.Values{"q": {secret}}.Encode()}, nil),
		"a path":      s.ScanHead(&url.URL{Path: "/v1/" + url.PathEscape(secret) + "/x"}, nil),
	}
}

func TestEscapedTokensAreFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	token := gitHubToken(1)
	var hidden strings.Builder
	for _, c := range token {
		hidden.WriteString(`\u00` + hexOf([]byte{byte(c)}))
	}
	percent := ""
	for _, c := range token {
		percent += "%" + hexOf([]byte{byte(c)})
	}
	for _, text := range []string{
		`{"a":"line\n` + token + `"}`, `{"a":"\u0067` + token[1:] + `"}`, `{"a":"` + hidden.String() + `"}`,
		"text=" + percent, "text=a%20" + token + "%0A", `"{\"a\":\"\\n` + token + `\"}"`, strings.ReplaceAll(percent, "%", "%25"),
	} {
		f := find(s.Scan([]byte(text), "body"), "github-pat")
		if f == nil || !f.Blocks() {
			t.Errorf("%q: got %+v, want a blocking finding", text, f)
		}
		if clean, _ := s.Sanitize([]byte(text)); strings.Contains(string(clean), token[4:]) {
			t.Errorf("%q: Sanitize left %q", text, clean)
		}
	}
}

func TestKeepersOwnCredentialsBlock(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for text, rule := range map[string]string{
		webToken(`{"iss":"keeper","sub":"agent-1","scopes":["*"]}`): "keeper-token",
		"keeper_as" + "_" + pick(newRand(1), alnum, 43):             "keeper-agent-secret",
	} {
		f := find(s.Scan([]byte("it is "+text+", so"), "body"), rule)
		if f == nil || !f.Blocks() {
			t.Errorf("%s: got %+v, want a blocking finding", rule, f)
		}
	}
	if f := find(s.Scan([]byte(webToken(`{"iss":"other","sub":"1"}`)), "body"), "jwt"); f == nil || f.Blocks() || !f.Redacts() {
		t.Errorf("another issuer's token: got %+v, want it redacted and not blocked", f)
	}
}

func TestValuesAreFoundByTheirNames(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(2)
	value := pick(r, alnum, 32)
	for text, rule := range map[string]string{
		`{"apiKey": "` + value + `"}`:                                                          "generic-api-key",
		"export INTERNAL_SERVICE_TOKEN=" + value:                                               "generic-api-key",
		"<ClientSecret>" + value + "</ClientSecret>":                                           "generic-api-key",
		`{\"client_secret\": \"` + value + `\"}`:                                               "generic-api-key",
		`{"name": "DB_PASSWORD", "value": "` + value + `"}`:                                    "password",
		`<add key="ClearTextPassword" value="Tr` + "0ub4dor&3x" + `"/>`:                        "password",
		"Authorization: Bearer " + value:                                                       "bearer-token",
		"authorization: basic " + base64.StdEncoding.EncodeToString([]byte("app:"+value[:12])): "basic-auth",
		"mysql://root:" + value + "@10.0.0.1/db":                                               "database-url",
		"https://ci:" + value + "@git.invalid/x.git":                                           "url-userinfo",
		"curl -s -u admin:" + value + " https://x.invalid":                                     "curl-auth-user",
		`"auth": "` + base64.StdEncoding.EncodeToString([]byte("me:"+value)) + `"`:             "basic-auth",
		"AWS_SECRET_ACCESS_KEY=" + pick(r, alnum+"/+", 40):                                     "aws-secret-access-key",
		"bot 123456789:AA" + pick(r, alnum, 33):                                                "telegram-bot-token",
	} {
		f := find(s.Scan([]byte(text), "body"), rule)
		if f == nil || !f.Redacts() {
			t.Errorf("%s in %q: got %+v", rule, text, s.Scan([]byte(text), "body"))
		}
	}
}

func TestPlaceholdersAndCodeAreNoSecrets(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, text := range []string{
		"OPENAI_API_KEY=sk-" + "proj-" + strings.Repeat("x", 48), "api_key = 'your-api-key-goes-here-1234'", "password: ${DB_PASSWORD_2024}",
		`apiKey: process.env.OPENAI_API_KEY_V2,`, "token = getToken2(request.headers['x-api-key'])", "postgres://user:password@localhost:5432/db",
		"aws_access_key_id = AKIA" + "IOSFODNN7" + "EXAMPLE", `{"token_type":"bearer","expires_in":3600}`, "password = os.environ['PASSWORD_1']",
		"https://user:pass@example.com/", "-----BEGIN " + "PRIVATE KEY-----\n...\n-----END " + "PRIVATE KEY-----", "const passwordField2 = document.getElementById2",
		"ghp" + "_" + strings.Repeat("a", 36), `secret: {{ .Values.secretName1 }}`, "Bearer authentication is described in section 4.2.1 below",
	} {
		for _, f := range s.Scan([]byte(text), "body") {
			if f.Redacts() {
				t.Errorf("%q: %s, %s confidence", text, f.Rule, f.Confidence)
			}
		}
	}
}

func TestPublicKeysAndCertificatesPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	body := strings.TrimPrefix(pemSample(2).secret, "-----BEGIN "+"RSA PRIVATE KEY-----")
	body = strings.TrimSuffix(body, "-----END "+"RSA PRIVATE KEY-----")
	for _, label := range []string{"CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY", "PGP PUBLIC KEY BLOCK"} {
		text := "-----BEGIN " + label + "-----" + body + "-----END " + label + "-----\n"
		if got := s.Scan([]byte(text), "body"); len(got) > 0 {
			t.Errorf("%s: got %+v, want nothing", label, got)
		}
	}
}

func TestFindingsNeverHoldTheValue(t *testing.T) {
	value := pick(newRand(3), alnum, 32)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	for _, l := range append(streamSamples(t), line{"", value, ""}) {
		for _, f := range s.Scan([]byte(l.text()), "body") {
			report, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(l.secret); strings.Contains(string(report), l.secret[n/2:n-3]) {
				t.Errorf("%s: the report holds the end of the secret: %s", f.Rule, report)
			}
			if f.Type == scanner.TypeVault && f.Preview != "" {
				t.Errorf("preview of a vault value: got %q, want none", f.Preview)
			}
		}
	}
}

func TestVaultMatchWinsOverWhatItOverlaps(t *testing.T) {
	value := gitHubToken(4)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	clean, findings := s.Sanitize([]byte("a " + value + " b " + value + " c"))
	if want := "a [REDACTED:vault:acme] b [REDACTED:vault:acme] c"; string(clean) != want {
		t.Errorf("got %q, want %q", clean, want)
	}
	for _, f := range findings {
		if f.Type != scanner.TypeVault || !f.Blocks() {
			t.Errorf("got %+v, want a blocking vault match", f)
		}
	}
}

func TestMatchersSeeDecodedText(t *testing.T) {
	value := "pw" + pick(newRand(5), alnum, 14) + "/+x"
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	for _, text := range []string{url.QueryEscape(value), strings.ReplaceAll(value, "/", `\/`), `\u0070` + value[1:]} {
		if f := find(s.Scan([]byte("v="+text), "body"), "vault:acme"); f == nil {
			t.Errorf("%q: no finding", text)
		}
	}
}

func TestOperatorDecidesWhatARuleDoes(t *testing.T) {
	text := []byte("it is " + gitHubToken(6) + " here")
	for action, want := range map[scanner.Action][2]bool{scanner.Block: {true, true}, scanner.Redact: {false, true}, scanner.Warn: {false, false}} {
		s := newScanner(t, scanner.Config{Actions: map[string]scanner.Action{"github-pat": action}})
		f := find(s.Scan(text, "body"), "github-pat")
		if f == nil || f.Blocks() != want[0] || f.Redacts() != want[1] {
			t.Errorf("%s: got %+v, want blocks %t, redacts %t", action, f, want[0], want[1])
		}
	}
	s := newScanner(t, scanner.Config{Actions: map[string]scanner.Action{"github-pat": scanner.Allow}})
	if got := s.Scan(text, "body"); len(got) > 0 {
		t.Errorf("allow: got %+v, want nothing", got)
	}
}

func TestOperatorAddsRules(t *testing.T) {
	rule := scanner.Rule{ID: "acme", Description: "Acme key", Type: scanner.TypeAPIKey, Confidence: scanner.High, Prefixes: []string{"acme_"}, Pattern: `acme_[a-z0-9]{24}`}
	s := newScanner(t, scanner.Config{Rules: []scanner.Rule{rule}})
	secret := "acme" + "_" + pick(newRand(1), hexes, 24)
	if clean, _ := s.Sanitize([]byte("x " + secret)); string(clean) != "x [REDACTED:acme]" {
		t.Errorf("got %q", clean)
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	good := scanner.Rule{ID: "acme", Confidence: scanner.High, Prefixes: []string{"acme_"}, Pattern: `acme_x`}
	with := func(change func(*scanner.Rule)) scanner.Config {
		r := good
		change(&r)
		return scanner.Config{Rules: []scanner.Rule{r}}
	}
	for what, c := range map[string]scanner.Config{
		"unknown rule":     {Actions: map[string]scanner.Action{"no-such-rule": scanner.Warn}},
		"unknown action":   {Actions: map[string]scanner.Action{"github-pat": "ignore"}},
		"vault allowed":    {Actions: map[string]scanner.Action{scanner.TypeVault: scanner.Allow}},
		"taken id":         with(func(r *scanner.Rule) { r.ID = "github-pat" }),
		"no confidence":    with(func(r *scanner.Rule) { r.Confidence = "" }),
		"no pattern":       with(func(r *scanner.Rule) { r.Pattern = "" }),
		"bad pattern":      with(func(r *scanner.Rule) { r.Pattern = "(" }),
		"short prefix":     with(func(r *scanner.Rule) { r.Prefixes = []string{"a"} }),
		"no token prefix":  with(func(r *scanner.Rule) { r.Prefixes = []string{"%%x"} }),
		"neither":          with(func(r *scanner.Rule) { r.Prefixes = nil }),
		"capitals in name": with(func(r *scanner.Rule) { r.Prefixes, r.Names = nil, []string{"ACME"} }),
	} {
		if _, err := scanner.New(c); err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
}

func TestHeadIsScannedByPlace(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	token := gitHubToken(7)
	found := s.ScanHead(&url.URL{Path: "/a/" + token, RawQuery: "x=1&foo=" + token},
		http.Header{"X-Foo": {"fine", token}, "Authorization": {"Bearer " + pick(newRand(1), alnum, 40)}, token: {"x"}})
	var places []string
	for _, f := range found {
		places = append(places, f.Location)
		if strings.Contains(f.Location, token[4:]) {
			t.Errorf("the location holds the token: %q", f.Location)
		}
	}
	for _, want := range []string{"path", "query.foo", "header.X-Foo", "header.Authorization", "header"} {
		if !slices.Contains(places, want) {
			t.Errorf("no finding in %q; got %q", want, places)
		}
	}
	if f := find(found, "bearer-token"); f == nil || f.Type != scanner.TypeAuthHeader {
		t.Errorf("got %+v, want type %q", f, scanner.TypeAuthHeader)
	}
	if f := s.ScanHead(&url.URL{}, http.Header{"X-Api-Key": {pick(newRand(2), alnum, 40)}}); len(f) == 0 || f[0].Location != "header.X-Api-Key" {
		t.Errorf("bare key: got %+v", f)
	}
	clean := http.Header{"User-Agent": {"OpenAI/JS 6.49.0"}, "X-Stainless-Runtime-Version": {"v26.10.0"}, "Idempotency-Key": {uuidOf(newRand(1))}, "Traceparent": {"00-" + pick(newRand(1), hexes, 32) + "-" + pick(newRand(2), hexes, 16) + "-01"}}
	if got := s.ScanHead(&url.URL{Path: "/v1/chat/completions", RawQuery: "page_token=" + pick(newRand(4), alnum, 40)}, clean); len(got) > 0 {
		t.Errorf("clean head: got %+v", got)
	}
}

func TestResponseHeadersAreRedacted(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	token := gitHubToken(8)
	h := http.Header{"X-Token": {"a " + token + " and " + token}, "Content-Type": {"text/plain"}, "X-" + token: {"v"}}
	if found := s.RedactHeader(h); len(found) == 0 {
		t.Error("got no finding")
	}
	if got, want := h["X-Token"][0], "a [REDACTED:github-pat] and [REDACTED:github-pat]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(h) != 2 || h.Get("Content-Type") != "text/plain" {
		t.Errorf("got %d headers, want the name that holds a token gone and the rest kept", len(h))
	}
}

func TestScannerIsSafeForConcurrentUse(t *testing.T) {
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(gitHubToken(1))}})
	text := []byte(`{"a":"\u0067` + gitHubToken(9)[1:] + ` ` + gitHubToken(1) + `"}`)
	want := len(s.Scan(text, "body"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if got := len(s.Scan(text, "body")); got != want {
					t.Errorf("got %d findings, want %d", got, want)
				}
			}
		})
	}
	group.Wait()
}
