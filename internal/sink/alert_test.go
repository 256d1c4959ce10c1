package sink_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store"
)

// alerted returns the texts that a log of those entries makes.
func alerted(t *testing.T, spec sink.Spec, entries ...store.AuditEntry) (texts []string) {
	t.Helper()
	h := newHook(t, nil)
	spec.Name, spec.Type, spec.URL = "a", "alert", plain(h.URL)
	b := newBench(0, spec)
	for _, e := range entries {
		b.log.add(e)
	}
	b.shelf.rows["a"] = store.Cursor{Name: "a"}
	closeSet(t, b.open(t))
	for _, p := range h.taken {
		var body map[string]string
		if err := json.Unmarshal(p.body, &body); err != nil || len(body) != 1 {
			t.Fatalf("body %s: got %v, want a text alone", p.body, err)
		}
		same(t, "content type", p.header.Get("Content-Type"), "application/json; charset=utf-8")
		texts = append(texts, body["text"])
	}
	return texts
}

func TestAlertSaysWhatHappened(t *testing.T) {
	for want, e := range map[string]store.AuditEntry{
		"*Critical*, 2026-03-04 05:06:07 UTC: A secret was found in a call of agent `ci` to provider `github` (`POST /user`), which was stopped. " +
			"Rule: `github-pat` in `body`. From `10.0.0.7`. Request `req_1`: `keeper explain req_1`": {
			Event: "scan.blocked", AgentID: "ci", Provider: "github", Risk: 2, RequestID: "req_1",
			Details: []byte(`{"findings":[{"rule":"github-pat","location":"body"},{"rule":"github-pat","location":"body"}],"method":"POST","path":"/user","source":"10.0.0.7"}`),
		},
		"*Critical*, 2026-03-04 05:06:07 UTC: Agent `ci` asked for a credential of provider `github` (label `prod`) that it may not use. Request `req_2`: `keeper explain req_2`": {
			Event: "vault.access", AgentID: "ci", Provider: "github", Risk: 2, RequestID: "req_2", Details: []byte(`{"action":"denied","label":"prod"}`),
		},
		"*Critical*, 2026-03-04 05:06:07 UTC: One of 7 calls of agent `ci` to provider `github` (`GET /`) was refused. Reason: `token_revoked`. Request `req_3`: `keeper explain req_3`": {
			Event: "proxy.request", AgentID: "ci", Provider: "github", Risk: 2, RequestID: "req_3", Details: []byte(`{"decision":"refuse","code":"token_revoked","count":7,"method":"GET","path":"/"}`),
		},
		"*Critical*, 2026-03-04 05:06:07 UTC: Keeper was started although what it decides by is not what its log says: `agent a`, `agent b`, `agent c`, and 1 more. Entry 1 of the audit log.": {
			Event: "state.accepted", Risk: 2,
			Details: []byte(`{"objects":[{"kind":"agent","id":"a"},{"kind":"agent","id":"b"},{"kind":"agent","id":"c"},{"kind":"agent","id":"d"}]}`),
		},
		"*Critical*, 2026-03-04 05:06:07 UTC: Event `brand.new` of a stranger. Entry 1 of the audit log.": {Event: "brand.new", Risk: 2, Details: []byte("no JSON")},
	} {
		e.Time = start
		same(t, "texts", alerted(t, sink.Spec{}, e), []string{want})
	}
}

func TestAlertsAreOfWhatIsCriticalUnlessTheSpecSaysOtherwise(t *testing.T) {
	all := []store.AuditEntry{{Event: "error", Risk: 1}, {Event: "error", Risk: 2}, {Event: "keeper.started"}}
	for lines, spec := range map[int]sink.Spec{
		1: {}, 2: {MinRisk: 1}, 3: {Events: []string{"error", "keeper.started"}}, 0: {MinRisk: 1, Events: []string{"scan.blocked"}},
	} {
		texts := alerted(t, spec, all...)
		same(t, fmt.Sprintf("texts of %+v", spec), len(strings.Join(texts, "\n")) > 0, lines > 0)
		if lines > 0 {
			same(t, "lines", count(texts[0], "\n")+1, lines)
		}
	}
}

func TestManyAlertsShareAMessageAndTheRestIsCounted(t *testing.T) {
	var all []store.AuditEntry
	for seq := range int64(300) {
		all = append(all, entry(seq+1))
	}
	texts := alerted(t, sink.Spec{}, all...)
	same(t, "messages", len(texts), 1)
	lines := strings.Split(texts[0], "\n")
	same(t, "lines", len(lines), 11)
	same(t, "last line", lines[10], "and 90 more, see the audit log from entry 33 on")
	if !strings.Contains(lines[0], entry(3).RequestID) {
		t.Errorf("first line: got %s, want entry 3", lines[0])
	}
}

// What an agent can choose, its path above all, makes no mention, link or markup.
func TestNothingInAnAlertIsMarkupThatAnAgentChose(t *testing.T) {
	for _, attack := range []string{
		"<!channel>", "<!here|x>", "<@U012345>", "<https://evil.test|log in>", "@channel", "@here", "@everyone", "&lt;!channel&gt;",
		"`<!channel>`", "` @here `", "``` @here", "x\n@channel\n*Critical*", "\u202eevil", "\u200b@here", "\x00\x1b[31m", "\xff<!here>", strings.Repeat("<", 5000), strings.Repeat("`@here", 1000),
	} {
		quoted, err := json.Marshal(attack)
		if err != nil {
			t.Fatal(err)
		}
		details := `{"findings":[{"rule":Q,"location":Q}],"path":Q,"method":Q,"route":Q,"code":Q,"label":Q,"action":Q,"by":Q,"source":Q,"outcome":Q,"reason":Q,"purpose":Q,"decision":Q,"rule":Q,"objects":[{"kind":Q,"id":Q}],"settings":[{"name":Q}],"witness":Q,"export":Q}`
		e := store.AuditEntry{AgentID: attack, Provider: attack, RequestID: attack, Risk: 2, Details: []byte(strings.ReplaceAll(details, "Q", string(quoted)))}
		for _, event := range append(events(t), attack) {
			e.Event = event
			text := alerted(t, sink.Spec{}, e)[0]
			harmless(t, text)
			if t.Failed() {
				t.Fatalf("event %q with %q: got %s", event, attack, text)
			}
		}
	}
}

func harmless(t *testing.T, text string) {
	t.Helper()
	if len(text) > 3000 {
		t.Errorf("got %d bytes, want at most 3000", len(text))
	}
	if strings.ContainsAny(text, "<>\n\x00\x1b\u202e") {
		t.Error("got a sign that is markup")
	}
	for _, name := range []string{"channel", "here", "everyone"} {
		if strings.Contains(text, "@"+name) {
			t.Errorf("got a mention of %s", name)
		}
	}
	spans := strings.Split(text, "`")
	if len(spans)%2 == 0 {
		t.Error("got a span of code that does not end")
	}
	for i, outside := range spans {
		if i%2 == 0 && (strings.ContainsAny(outside, "@&") || strings.Contains(outside, "evil")) {
			t.Errorf("got %q outside of spans of code", outside)
		}
	}
}

// events are all that the log knows.
func events(t *testing.T) (names []string) {
	t.Helper()
	paths, err := filepath.Glob("../audit/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok || len(literal.Elts) == 0 {
				return true
			}
			if name, ok := literal.Type.(*ast.Ident); ok && name.Name == "facts" {
				if text, ok := literal.Elts[0].(*ast.BasicLit); ok {
					event, _ := strconv.Unquote(text.Value)
					names = append(names, event)
				}
			}
			return true
		})
	}
	if len(names) < 15 {
		t.Fatalf("got the events %v, want all", names)
	}
	return names
}

func TestEveryEventOfTheLogCanBeNamedAndHasASentence(t *testing.T) {
	for _, event := range events(t) {
		texts := alerted(t, sink.Spec{Events: []string{event}}, store.AuditEntry{Event: event})
		if len(texts) != 1 || strings.Contains(texts[0], "Event") {
			t.Errorf("%s: got %q, want a sentence of its own", event, texts)
		}
	}
}
