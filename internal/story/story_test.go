package story_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/story"
)

// entryOf is an entry as the log has it, of its JSON.
func entryOf(t *testing.T, text string) store.AuditEntry {
	t.Helper()
	var e struct {
		ID, Event, AgentID, Provider string
		Risk                         int
		Details                      json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	return store.AuditEntry{ID: e.ID, Event: e.Event, AgentID: e.AgentID, Provider: e.Provider, Risk: e.Risk, Details: e.Details}
}

const decision = `{"id":"7","event":"proxy.request","agentId":"bot","provider":"openai","details":{"carriers":["authorization"],"decision":"forward","jti":"J","label":"default","method":"POST","mode":"envelope","path":"/v1/x","requestBytes":12,"scope":"openai:chat","source":"127.0.0.1","version":3}}`

var stories = map[string]struct {
	entries []string
	want    []string
	verdict string
}{
	"redacted": {
		[]string{
			decision,
			`{"id":"8","event":"scan.redacted","agentId":"bot","provider":"openai","details":{"findings":[{"rule":"github-pat","location":"body.a","form":"base64","confidence":"high"}]}}`,
			`{"id":"9","event":"proxy.response","agentId":"bot","provider":"openai","details":{"durationMs":5,"outcome":"complete","responseBytes":90,"status":200}}`,
		},
		[]string{
			"bot from 127.0.0.1 called POST /v1/x of openai in an envelope, with a body of 12 bytes.",
			"ok The token J was valid",
			"taken off: authorization.",
			"ok Its scope openai:chat covers the call.",
			"ok The scan of the request found no secret.",
			"with the credential default of openai, version 3, and wrote that down as entry 7 before it did.",
			"warn In the answer keeper found github-pat in body.a (base64), of high confidence, and replaced it before the agent saw it.",
			"ok The provider answered 200, 90 bytes in 5 ms.",
			"ok The agent got the whole answer.",
		}, "warn Redacted",
	},
	"under way": {[]string{decision}, []string{"before it did."}, "accent Under way"},
	"cut": {
		[]string{decision, `{"id":"9","event":"proxy.response","details":{"code":"token_revoked","outcome":"cut","responseBytes":1,"status":200}}`},
		[]string{"bad The answer was cut off before its end. Why: its token or its agent was revoked or disabled (token_revoked)."}, "bad Cut off",
	},
	"killed": {
		[]string{decision, `{"id":"9","event":"proxy.response","details":{"outcome":"unknown","responseBytes":0,"durationMs":0}}`},
		[]string{"warn The provider gave no answer.", "bad Keeper was killed before the end"}, "bad Unknown end",
	},
	"a credential that is not taken": {
		[]string{decision, `{"id":"9","event":"proxy.response","details":{"outcome":"complete","responseBytes":9,"durationMs":1,"status":401,"credentialRefused":true}}`},
		[]string{"warn The provider answered 401", "bad The provider did not take the credential."}, "ok Complete",
	},
	"blocked": {
		[]string{`{"id":"2","event":"proxy.request","agentId":"bot","provider":"openai","details":{"code":"secret_in_request","decision":"refuse","method":"POST","path":"/","findings":[{"rule":"github-pat","location":"body","confidence":"high","fingerprint":"fp_a"},{"rule":"password","location":"body","confidence":"medium"}]}}`,
			`{"id":"3","event":"scan.blocked","agentId":"bot","provider":"openai","details":{}}`},
		[]string{"bad The scan of the request found github-pat in body, of high confidence.", "warn The scan of the request found password", "bad Keeper refused it because there was a secret in the request (secret_in_request)."}, "bad Blocked",
	},
	"a stranger": {
		[]string{`{"id":"2","event":"proxy.request","details":{"code":"token_missing","count":40,"decision":"refuse","method":"GET","path":"/","source":"127.0.0.1"}}`},
		[]string{"A caller who proved nothing from 127.0.0.1 called GET / of no known provider.", "it showed no keeper token (token_missing)", "This stands for 40 refusals"}, "warn Refused",
	},
	"a quota": {
		[]string{`{"id":"2","event":"proxy.request","agentId":"bot","provider":"openai","details":{"code":"rate_limited","quota":"daily","decision":"refuse","method":"POST","path":"/"}}`},
		[]string{"Keeper refused it because the quota daily was used up (rate_limited)."}, "warn Refused",
	},
	"by way of keeper as a proxy": {
		[]string{`{"id":"2","event":"proxy.request","agentId":"bot","details":{"code":"host_unknown","decision":"refuse","method":"GET","path":"/","host":"www.example.com","mode":"forward"}}`},
		[]string{"bot called GET / of no known provider by way of keeper as its proxy, at host www.example.com.", "no provider has that host"}, "warn Refused",
	},
	"passed on unread": {
		[]string{`{"id":"2","event":"proxy.request","agentId":"bot","provider":"pinned","details":{"decision":"forward","method":"CONNECT","path":"/","host":"www.example.com","mode":"tunnel","scope":"pinned:tunnel"}}`},
		[]string{"bot opened a tunnel to www.example.com, of pinned, which is passed on unread.", "forward it without a credential, as pinned wants it"}, "accent Under way",
	},
	"a test of a credential": {
		[]string{`{"id":"2","event":"proxy.request","agentId":"admin token","provider":"openai","details":{"decision":"forward","method":"GET","path":"/v1/models","mode":"check"}}`},
		[]string{"admin token tested a credential of openai, by GET /v1/models."}, "accent Under way",
	},
	"one of keeper's own routes": {
		[]string{`{"id":"2","event":"error","agentId":"bot","details":{"code":"scope_denied","route":"GET /api/v1/audit","by":"bot"}}`},
		[]string{"warn bot was refused on GET /api/v1/audit because its scopes do not cover that (scope_denied)."}, "",
	},
	"a change, whose details have other types": {
		[]string{`{"id":"2","event":"agent.updated","agentId":"bot","details":{"by":"admin token","status":"disabled","statusBefore":"active","scopes":["a:b","c:d"]}}`},
		[]string{"Agent changed (bot) by admin token: scopes a:b c:d, status disabled, statusBefore active."}, "",
	},
	"an event that has no words, and details that are none": {
		[]string{`{"id":"2","event":"constructor","risk":2,"details":{"a":null,"b":{},"c":[1]}}`, `{"id":"3","event":"error","details":5}`},
		[]string{"warn constructor."}, "",
	},
}

func TestStoriesSayWhatBecameOfACall(t *testing.T) {
	for name, c := range stories {
		var entries []store.AuditEntry
		for _, text := range c.entries {
			entries = append(entries, entryOf(t, text))
		}
		var lines []string
		for _, s := range story.Tell(entries) {
			lines = append(lines, strings.TrimSpace(string(s.Kind)+" "+s.Text))
		}
		got := strings.Join(lines, "\n")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got\n%s\nwant %q in it", name, got, want)
			}
		}
		kind, word, _ := story.Verdict(entries)
		if got := strings.TrimSpace(string(kind) + " " + word); got != c.verdict {
			t.Errorf("%s: got the verdict %q, want %q", name, got, c.verdict)
		}
	}
}

func TestASentenceNamesTheFindingThatItTells(t *testing.T) {
	told := story.Tell([]store.AuditEntry{entryOf(t, stories["blocked"].entries[0])})
	if told[1].Finding == nil || told[1].Finding.Fingerprint != "fp_a" || told[1].Entry != "2" || told[0].Finding != nil {
		t.Errorf("got %+v, want the second to name the first finding", told)
	}
}

// The dashboard's lists name events and reasons without asking keeper.
func TestTheDashboardHasTheSameWords(t *testing.T) {
	text, err := os.ReadFile("../dashboard/static/js/lib/events.js")
	if err != nil {
		t.Fatal(err)
	}
	pair := regexp.MustCompile(`(?m)^\s*"?([\w.]+)"?: "(.*)",$`)
	for table, words := range map[string]func(string) string{"events": story.Event, "reasons": story.Reason} {
		_, body, _ := strings.Cut(string(text), "export const "+table+" = {\n")
		body, _, _ = strings.Cut(body, "\n};")
		all := pair.FindAllStringSubmatch(body, -1)
		if len(all) < 20 || len(all) != strings.Count(body, "\n")+1 {
			t.Fatalf("%s: got %d words, want one in each line of the dashboard's", table, len(all))
		}
		for _, one := range all {
			if got := words(one[1]); got != one[2] {
				t.Errorf("%s: got %s as %q, want %q as the dashboard has it", table, one[1], got, one[2])
			}
		}
	}
}
