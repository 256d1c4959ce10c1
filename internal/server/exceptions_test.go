package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// alarm is a running keeper and a value that its scanner takes for a secret.
type alarm struct {
	*keepertest.Keeper
	t     *testing.T
	token string
	value string
}

func newAlarm(t *testing.T) *alarm {
	t.Helper()
	k := keepertest.Start(t)
	a := &alarm{Keeper: k, t: t, token: k.Token(t, "worker", "openai:chat"), value: fake.NewKey("github")}
	k.Canary().Plant("the false alarm", a.value)
	return a
}

// call sends the value to the provider and checks whether it passes, and that
// the agent is told no fingerprint. It returns the decision's only finding.
func (a *alarm) call(what string, passes bool) map[string]any {
	a.t.Helper()
	got := a.Call(a.t, http.MethodPost, "openai", chatPath, a.token, `{"model":"m","messages":[],"note":"`+a.value+`"}`)
	want, code := http.StatusForbidden, "secret_in_request"
	if passes {
		want, code = http.StatusOK, ""
	}
	if got.Status != want || got.Header.Get("Keeper-Code") != code {
		a.t.Errorf("%s: got %d %s, want %d %s", what, got.Status, got.Header.Get("Keeper-Code"), want, code)
	}
	if strings.Contains(string(got.Body), "fp_") {
		a.t.Errorf("%s: got an answer with a fingerprint, want none", what)
	}
	decided := a.Audit(a.t, "event=proxy.request&requestId="+got.Header.Get("Keeper-Request-Id"))
	if len(decided) != 1 {
		a.t.Fatalf("%s: got %d decisions in the audit log, want one", what, len(decided))
	}
	findings, _ := decided[0].Details["findings"].([]any)
	if len(findings) != 1 {
		a.t.Fatalf("%s: got %d findings in the audit log, want one", what, len(findings))
	}
	found, _ := findings[0].(map[string]any)
	if exempt, _ := found["exempt"].(bool); exempt != passes {
		a.t.Errorf("%s: got exempt %v in the audit log, want %v", what, found["exempt"], passes)
	}
	return found
}

// allow lets what was found pass for so many hours.
func (a *alarm) allow(found map[string]any, hours float64) {
	a.t.Helper()
	in := map[string]any{"fingerprint": found["fingerprint"], "rule": found["rule"], "reason": "a sample", "ttlHours": hours}
	if status, answer := a.Admin(a.t, http.MethodPost, "/scan/exceptions", in); status != http.StatusOK {
		a.t.Fatalf("letting the value pass: got %d %v, want 200", status, answer["error"])
	}
}

// state is that of the one exception on the list.
func (a *alarm) state() any {
	a.t.Helper()
	_, answer := a.Admin(a.t, http.MethodGet, "/scan/exceptions", nil)
	list, _ := answer["exceptions"].([]any)
	if len(list) != 1 {
		a.t.Fatalf("the list: got %d exceptions, want one", len(list))
	}
	one, _ := list[0].(map[string]any)
	return one["state"]
}

func TestFalseAlarmPassesByItsFingerprintUntilItIsTakenOffTheList(t *testing.T) {
	a := newAlarm(t)
	found := a.call("before", false)
	a.allow(found, 24)
	a.call("let pass", true)
	a.Restart(t)
	a.call("after a restart", true)
	if status, answer := a.Admin(t, http.MethodPost, "/keys/rotate", map[string]any{"purpose": "vault"}); status != http.StatusOK {
		t.Fatalf("rotating the vault's key: got %d %v, want 200", status, answer["error"])
	}
	a.call("after a rotation of the vault's key", true)
	a.Restart(t)
	if again := a.call("after a rotation and a restart", true); again["fingerprint"] != found["fingerprint"] {
		t.Errorf("fingerprint: got %v, want %v as before", again["fingerprint"], found["fingerprint"])
	}
	status, answer := a.Admin(t, http.MethodDelete, "/scan/exceptions/"+found["fingerprint"].(string), nil)
	if status != http.StatusOK {
		t.Fatalf("taking it off the list: got %d %v, want 200", status, answer["error"])
	}
	a.call("taken off the list", false)
	a.Restart(t)
	a.call("taken off the list, after a restart", false)
}

func TestFalseAlarmPassesInWhateverFormItTravels(t *testing.T) {
	a := newAlarm(t)
	plain, forms := a.value, map[string]map[string]any{}
	for _, form := range []string{"json", "percent", "base64", "hex"} {
		a.value = fake.InForm(form, plain)
		forms[form] = a.call(form+", before", false)
	}
	a.value = plain
	found := a.call("plain, before", false)
	a.allow(found, 24)
	for form, before := range forms {
		a.value = fake.InForm(form, plain)
		if a.call(form+", let pass", true); before["fingerprint"] != found["fingerprint"] {
			t.Errorf("%s: got fingerprint %v, want %v as in clear", form, before["fingerprint"], found["fingerprint"])
		}
	}
}

func TestFalseAlarmIsBlockedAgainOnceItsTimeIsOver(t *testing.T) {
	a := newAlarm(t)
	a.allow(a.call("before", false), 24)
	found := a.call("let pass", true)
	a.allow(found, 1e-6) // some milliseconds, in place of the day
	patience, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for a.state() != "expired" {
		if patience.Err() != nil {
			t.Fatalf("its state: got %s, want expired", a.state())
		}
	}
	a.call("expired", false)
}

func TestAnswerKeepsTheValueThatIsLetPassAndNoOther(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat")
	values := map[string]string{"let pass": fake.NewKey("github"), "other": fake.NewKey("github")}
	for name, value := range values {
		k.Provider().Plant(name, value)
	}
	in := map[string]any{"value": values["let pass"], "reason": "a sample", "ttlHours": 1}
	if status, answer := k.Admin(t, http.MethodPost, "/scan/exceptions", in); status != http.StatusOK {
		t.Fatalf("letting a value pass: got %d %v, want 200", status, answer["error"])
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, kind := range []string{`{"model":"m","messages":[]}`, `{"model":"m","messages":[],"stream":true}`} {
			got := k.Call(t, http.MethodPost, "openai", chatPath, token, kind, "X-Fake", "leak=text;secret="+name)
			if kept := strings.Contains(string(got.Body), values[name]); kept != (name == "let pass") || got.Status != http.StatusOK {
				t.Errorf("%s, to %s: got %d and the value kept %v", name, kind, got.Status, kept)
			}
			if strings.Contains(string(got.Body), "fp_") {
				t.Errorf("%s, to %s: got a fingerprint, want none", name, kind)
			}
		}
	}
}

func TestFingerprintIsNotForAgents(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat", "keeper:scan", "keeper:read", "keeper:write")
	value := fake.NewKey("github")
	if status, answer := k.Manage(t, http.MethodPost, "/scan", token, map[string]any{"text": value}); status != http.StatusOK || strings.Contains(fmt.Sprint(answer), "fp_") {
		t.Errorf("scanning as an agent: got %d and fingerprint %v, want 200 and none", status, strings.Contains(fmt.Sprint(answer), "fp_"))
	}
	envelope := map[string]any{"token": token, "method": "POST", "requestBody": map[string]any{"note": value}}
	if status, answer := k.Manage(t, http.MethodPost, "/proxy/openai"+chatPath, "", envelope); status != http.StatusForbidden || strings.Contains(fmt.Sprint(answer), "fp_") {
		t.Errorf("envelope: got %d and fingerprint %v, want 403 and none", status, strings.Contains(fmt.Sprint(answer), "fp_"))
	}
	for _, c := range []struct{ method, path string }{
		{http.MethodGet, "/scan/exceptions"}, {http.MethodPost, "/scan/exceptions"}, {http.MethodDelete, "/scan/exceptions/f"},
	} {
		if status, _ := k.Manage(t, c.method, c.path, token, map[string]any{}); status != http.StatusForbidden {
			t.Errorf("%s %s as an agent: got %d, want 403", c.method, c.path, status)
		}
	}
}

func TestAnExceptionOutlivesARotationOfTheKeyThatNamesIt(t *testing.T) {
	a := newAlarm(t)
	found := a.call("before", false)
	in := map[string]any{"fingerprint": found["fingerprint"], "rule": found["rule"], "reason": "a sample", "ttlHours": 1}
	if status, body := a.Admin(t, http.MethodPost, "/scan/exceptions", in); status != http.StatusOK {
		t.Fatalf("allowing: got %d %v", status, body)
	}
	a.call("allowed", true)
	rotate(t, a.Keeper, "fingerprint")
	now := a.call("after a rotation", true)["fingerprint"]
	if now == found["fingerprint"] {
		t.Error("the finding has the fingerprint of before")
	}
	if moved := a.AwaitAudit(t, "event=exception.created", 2); moved[1].Details["replaces"] != found["fingerprint"] || moved[1].Details["fingerprint"] != now {
		t.Errorf("got %v, want that the value is listed by its new fingerprint", moved[1].Details)
	}
	rotate(t, a.Keeper, "fingerprint")
	a.Restart(t)
	a.call("after another, and a restart", true)
	a.Stop(t)
	isSound(t, a.DataDir())
}
