package scanner_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func TestHeaderNamesAreScannedInEachCase(t *testing.T) {
	for what, value := range map[string]string{
		"small":   "q7" + pick(newRand(1), "abcdefghijklm"+digits, 30),
		"hex":     pick(newRand(2), hexes, 40),
		"capital": "Q7" + pick(newRand(3), "ABCDEFGHIJKLM"+digits, 30),
	} {
		s := newScanner(t, scanner.Config{
			Matchers: []scanner.Matcher{knownValue(value)}, Actions: map[string]scanner.Action{scanner.TypeVault: scanner.Block},
		})
		for _, sent := range []string{value, "x-" + value, value + "-x"} {
			h := http.Header{"Content-Type": {plainText}}
			h.Add(sent, "1")
			found := s.ScanHead(&url.URL{Path: "/"}, h)
			if len(found) != 1 || !found[0].Blocks() || found[0].Type != scanner.TypeVault {
				t.Errorf("%s: got %d findings in a request, want one that blocks", what, len(found))
			}
			if got := shows(t, found, value[4:]); got != "" {
				t.Errorf("%s: a finding shows the value", what)
			}
			if found := s.RedactHeader(h); len(found) != 1 || len(h) != 1 || h.Get("Content-Type") != plainText {
				t.Errorf("%s: got %d findings and %d headers in a response, want one and the other header", what, len(found), len(h))
			}
		}
	}
}

func TestATokenIsFoundInAHeaderNameThatLostItsCase(t *testing.T) {
	h := http.Header{}
	h.Add("ghp"+"_"+pick(newRand(5), "abcdefghijklmnopqrstuvwxyz"+digits, 36), "1")
	if found := newScanner(t, scanner.Config{}).ScanHead(&url.URL{Path: "/"}, h); len(found) != 1 || !found[0].Blocks() || found[0].Location != "header" {
		t.Errorf("got %d findings, want one that blocks", len(found))
	}
}

func TestOrdinaryHeaderNamesAreClean(t *testing.T) {
	h := http.Header{}
	for name := range strings.FieldsSeq(`Accept Accept-Encoding Anthropic-Version Authorization Content-Type Cf-Cache-Status Openai-Processing-Ms
		Strict-Transport-Security X-Amzn-Requestid X-Ratelimit-Remaining-Tokens X-Stainless-Retry-Count Anthropic-Ratelimit-Input-Tokens-Reset
		Access-Control-Allow-Credentials Sec-Websocket-Extensions X-Envoy-Upstream-Service-Time X-Goog-Api-Client Nel Server-Timing`) {
		h.Add(name, "1")
	}
	if found := newScanner(t, scanner.Config{}).ScanHead(&url.URL{Path: "/"}, h); len(found) != 0 {
		t.Errorf("got %+v", found)
	}
}
