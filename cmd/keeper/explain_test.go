package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// entryOf is an entry as the route shows it.
func entryOf(t *testing.T, text string) (e auditEntry) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestStoriesSayWhatBecameOfACall(t *testing.T) {
	decision := `{"id":"7","event":"proxy.request","agentId":"bot","provider":"openai","timestamp":"2026-01-02T03:04:05Z","details":{"carriers":["authorization"],"decision":"forward","jti":"J","label":"default","method":"POST","mode":"envelope","path":"/v1/x","requestBytes":12,"scope":"openai:chat","source":"127.0.0.1","version":3}}`
	for name, c := range map[string]struct {
		entries []string
		want    []string
	}{
		"redacted": {
			[]string{decision,
				`{"id":"8","event":"scan.redacted","agentId":"bot","provider":"openai","details":{"findings":[{"rule":"github-pat","location":"body.a","form":"base64","confidence":"high"}]}}`,
				`{"id":"9","event":"proxy.response","agentId":"bot","provider":"openai","details":{"durationMs":5,"outcome":"complete","responseBytes":90,"status":200}}`},
			[]string{
				"bot from 127.0.0.1 called POST /v1/x of openai in an envelope, with a body of 12 bytes.",
				"The token J was valid",
				"taken off: authorization.",
				"Its scope openai:chat covers the call.",
				"with the credential default of openai, version 3, and wrote that down as entry 7 before it did.",
				"In the answer keeper found github-pat in body.a (base64), of high confidence, and replaced it before the agent saw it.",
				"The provider answered 200, 90 bytes in 5 ms.",
				"The agent got the whole answer. Entry 9.",
			},
		},
		"cut": {
			[]string{decision, `{"id":"9","event":"proxy.response","details":{"code":"token_revoked","outcome":"cut","responseBytes":1,"status":200}}`},
			[]string{"The answer was cut off before its end. Why: its token or its agent was revoked or disabled (token_revoked)."},
		},
		"killed": {
			[]string{decision, `{"id":"9","event":"proxy.response","details":{"outcome":"unknown","responseBytes":0,"durationMs":0}}`},
			[]string{"The provider gave no answer.", "Keeper was killed before the end"},
		},
		"a stranger": {
			[]string{`{"id":"2","event":"proxy.request","details":{"code":"token_missing","count":40,"decision":"refuse","method":"GET","path":"/","source":"127.0.0.1"}}`},
			[]string{"A caller who proved nothing from 127.0.0.1 called GET / of no known provider.", "it showed no keeper token (token_missing)", "This stands for 40 refusals"},
		},
		"by way of keeper as a proxy": {
			[]string{`{"id":"2","event":"proxy.request","agentId":"bot","details":{"code":"host_unknown","decision":"refuse","method":"GET","path":"/","host":"www.example.com","mode":"forward"}}`},
			[]string{"bot called GET / of no known provider by way of keeper as its proxy, at host www.example.com.", "no provider has that host"},
		},
		"passed on unread": {
			[]string{`{"id":"2","event":"proxy.request","agentId":"bot","provider":"pinned","details":{"decision":"forward","method":"CONNECT","path":"/","host":"www.example.com","mode":"tunnel","scope":"pinned:tunnel"}}`},
			[]string{"bot opened a tunnel to www.example.com, of pinned, which is passed on unread.", "forward it without a credential, as pinned wants it"},
		},
		"one of keeper's own routes": {
			[]string{`{"id":"2","event":"error","agentId":"bot","details":{"code":"scope_denied","route":"GET /api/v1/audit","by":"bot"}}`},
			[]string{"bot was refused on GET /api/v1/audit: its scopes do not cover that (scope_denied)."},
		},
		"a change, whose details have other types": {
			[]string{`{"id":"2","event":"agent.updated","agentId":"bot","details":{"by":"admin token","status":"disabled","statusBefore":"active"}}`},
			[]string{"agent.updated by ", "status=disabled"},
		},
	} {
		var entries []auditEntry
		for _, text := range c.entries {
			entries = append(entries, entryOf(t, text))
		}
		got := strings.Join(story(entries), "\n")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got\n%s\nwant %q in it", name, got, want)
			}
		}
	}
}
