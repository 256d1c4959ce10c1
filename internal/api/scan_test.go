package api_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// gitHubToken makes one that is random enough not to be taken for an example.
func gitHubToken() string { return "ghp" + "_" + (rand.Text() + rand.Text())[:36] }

// scanned is the answer of POST /scan.
type scanned struct {
	Safe      bool
	Findings  []map[string]any
	Sanitized *string
}

func (k *keeper) scan(token, text, context string) (answer, scanned) {
	k.t.Helper()
	body, err := json.Marshal(map[string]string{"text": text, "context": context})
	must(k.t, err)
	got := k.want(k.call("POST", "/scan", token, string(body)), 200)
	var s scanned
	must(k.t, json.Unmarshal([]byte(got.raw), &s))
	return got, s
}

func TestScanNamesPlaceFormAndOffset(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	token, leak := k.token("tester", "keeper:scan"), gitHubToken()
	text := "{\"messages\": [{},\n {\"é\": \"" + strings.Replace(leak, "g", `\u0067`, 1) + "\"}]}"
	got, s := k.scan(token, text, "")
	if len(s.Findings) != 1 || s.Safe {
		t.Fatalf("got %s, want one finding, and unsafe", got.raw)
	}
	f := s.Findings[0]
	at := strings.Index(text, `\u0067`)
	if f["location"] != "text.messages[1].é" || f["form"] == nil || f["start"] != float64(at) || f["line"] != 2.0 || f["column"] != 9.0 {
		t.Errorf("got %v, want text.messages[1].é at byte %d, line 2, column 9, and its form", f, at)
	}
	k.wantEntry(got, "scan.blocked", `"location":"text.messages[1].é"`)
	if _, s := k.scan(token, text, "a log"); s.Findings[0]["location"] != "a log.messages[1].é" {
		t.Errorf("got location %v, want it to begin with the context", s.Findings[0]["location"])
	}
}

func TestScanFindsWhatABodyScanFinds(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	engine, err := scanner.New(scanner.Config{})
	must(t, err)
	token := k.token("tester", "keeper:scan")
	text := `{"a":"` + gitHubToken() + `","password":"` + rand.Text() + `x!","b":["Bearer ` + rand.Text() + rand.Text() + `"],"c":"hello"}`
	body := engine.NewBodyScan("application/json")
	body.Write([]byte(text))
	body.Close()
	var want, got []string
	for _, f := range body.Findings() {
		want = append(want, fmt.Sprint(f.Rule, f.Confidence, f.Start, f.End, f.Form))
	}
	_, s := k.scan(token, text, "")
	for _, f := range s.Findings {
		form, _ := f["form"].(string)
		got = append(got, fmt.Sprint(f["rule"], f["confidence"], f["start"], f["end"], form))
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") || len(want) < 3 {
		t.Errorf("got %q, want %q, and three at least", got, want)
	}
	if strings.Count(*s.Sanitized, "[REDACTED:") != len(want) {
		t.Errorf("got %q, want every finding replaced", *s.Sanitized)
	}
}

func TestScanTellsFingerprintsToTheOperatorAlone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	leak := gitHubToken()
	got, s := k.scan(k.admin, leak, "")
	fingerprint, _ := s.Findings[0]["fingerprint"].(string)
	if fingerprint == "" {
		t.Fatalf("to the operator: got %s, want a fingerprint", got.raw)
	}
	k.wantEntry(got, "scan.blocked", fingerprint)
	got, s = k.scan(k.token("tester", "*"), leak, "")
	if len(s.Findings) != 1 || strings.Contains(got.raw, "fingerprint") || strings.Contains(got.raw, fingerprint) {
		t.Errorf("to an agent: got %s, want the finding without a fingerprint", got.raw)
	}
}

func TestScanOfATextFullOfSecretsIsBounded(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	var text strings.Builder
	for range 3000 {
		text.WriteString(gitHubToken() + "\n")
	}
	got, s := k.scan(k.token("tester", "keeper:scan"), text.String(), "")
	if n := len(s.Findings); n < 1000 || n >= 3000 || strings.Count(*s.Sanitized, "[REDACTED:github-pat]\n") != 3000 {
		t.Errorf("got %d findings, want a thousand or so, and all 3000 replaced", n)
	}
	for _, e := range k.entriesOf(got) {
		if n := strings.Count(string(e.Details), `"rule"`); n > 32 {
			t.Errorf("got %d findings in one audit entry, want 32 at most", n)
		}
	}
}
