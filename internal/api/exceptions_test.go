package api_test

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// body is what stands between the braces of in, as JSON.
func body(in map[string]any) string {
	text, err := json.Marshal(in)
	if err != nil {
		panic(err) // the tests give texts and numbers alone
	}
	return string(text)
}

// redacts reports whether the scanner takes value out of a text.
func (k *keeper) redacts(value string) bool {
	k.t.Helper()
	got := k.want(k.call("POST", "/scan", k.admin, body(map[string]any{"text": "it is " + value + " here"})), 200)
	return got.body["sanitized"] != nil && !strings.Contains(got.text("sanitized"), value)
}

// allow lets the value pass for an hour and returns its exception.
func (k *keeper) allow(value string) map[string]any {
	k.t.Helper()
	in := body(map[string]any{"value": value, "rule": "github-pat", "reason": "a sample", "ttlHours": 1})
	made, _ := k.want(k.call("POST", "/scan/exceptions", k.admin, in), 200).body["exception"].(map[string]any)
	return made
}

func (k *keeper) onlyException() map[string]any {
	k.t.Helper()
	got := k.want(k.call("GET", "/scan/exceptions", k.admin, ""), 200)
	all, _ := got.body["exceptions"].([]any)
	if len(all) != 1 || got.body["total"] != 1.0 {
		k.t.Fatalf("got %s, want one exception", got.raw)
	}
	one, _ := all[0].(map[string]any)
	return one
}

func TestValuePassesTheScannerFromItsExceptionToItsEnd(t *testing.T) {
	t.Parallel()
	now, set := clock()
	k := newKeeper(t, settings{now: now})
	value, other := fake.NewKey("github"), fake.NewKey("github")
	if !k.redacts(value) {
		t.Fatal("before: got it let pass, want it redacted")
	}
	made := k.allow("export GITHUB_TOKEN=" + value + "\n")
	for name, want := range map[string]string{
		"rule": "github-pat", "reason": "a sample", "createdBy": "admin token", "state": "active",
		"createdAt": "2026-05-04T03:02:01Z", "expiresAt": "2026-05-04T04:02:01Z",
	} {
		if made[name] != want {
			t.Errorf("%s: got %v, want %s", name, made[name], want)
		}
	}
	if k.redacts(value) {
		t.Error("after: got it redacted, want it let pass")
	}
	if !k.redacts(other) {
		t.Error("another value: got it let pass, want it redacted")
	}
	set(-time.Second)
	if got := k.onlyException()["state"]; got != "pending" || !k.redacts(value) {
		t.Errorf("with the clock set back: got state %v, want pending and the value redacted", got)
	}
	set(time.Hour)
	if got := k.onlyException()["state"]; got != "expired" || !k.redacts(value) {
		t.Errorf("after its expiry: got state %v, want expired and the value redacted", got)
	}
	again := k.allow(value)
	if again["fingerprint"] != made["fingerprint"] || k.onlyException()["state"] != "active" || k.redacts(value) {
		t.Errorf("allowed again: got %v, want it active under the same fingerprint and the value let pass", again)
	}
}

func TestValueIsLetPassByTheFingerprintOfItsFindingAndTakenOffTheList(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	value := fake.NewKey("github")
	print, _ := k.allow(value)["fingerprint"].(string)
	gone := k.want(k.call("DELETE", "/scan/exceptions/"+print, k.admin, ""), 200)
	k.wantEntry(gone, "exception.removed", `"fingerprint":"`+print+`"`)
	if !k.redacts(value) {
		t.Error("taken off the list: got it let pass, want it redacted")
	}
	k.want(k.call("DELETE", "/scan/exceptions/"+print, k.admin, ""), 404, "not_found")
	in := body(map[string]any{"fingerprint": print, "rule": "github-pat", "reason": "a sample", "expiresAt": time.Now().Add(time.Hour)})
	made := k.want(k.call("POST", "/scan/exceptions", k.admin, in), 200)
	for _, detail := range []string{`"fingerprint":"` + print + `"`, `"rule":"github-pat"`, `"reason":"a sample"`, `"by":"admin token"`} {
		k.wantEntry(made, "exception.created", detail)
	}
	if k.redacts(value) {
		t.Error("by its fingerprint: got it redacted, want it let pass")
	}
	if strings.Contains(made.raw, value) || strings.Contains(gone.raw, value) {
		t.Error("got the value in an answer, want it nowhere")
	}
}

func TestExceptionsAreFilteredFromTheAuditLogByEvent(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	k.allow(fake.NewKey("github"))
	got := k.want(k.call("GET", "/audit?event=exception.created&minRisk=1", k.admin, ""), 200)
	if got.body["total"] != 1.0 {
		t.Errorf("got %s, want the one entry", got.raw)
	}
}

func TestExceptionThatCannotBeIsRefusedWithTheFieldsName(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	value, named := fake.NewKey("github"), "password = "+rand.Text()
	print, _ := k.allow(value)["fingerprint"].(string)
	k.want(k.call("DELETE", "/scan/exceptions/"+print, k.admin, ""), 200)
	right := map[string]any{"fingerprint": print, "rule": "github-pat", "reason": "a sample", "ttlHours": 1}
	byValue := map[string]any{"fingerprint": nil, "value": value}
	with := func(changes ...map[string]any) map[string]any {
		in := map[string]any{}
		for _, change := range append([]map[string]any{right}, changes...) {
			for name, value := range change {
				if in[name] = value; value == nil {
					delete(in, name)
				}
			}
		}
		return in
	}
	for name, c := range map[string]struct {
		field string
		in    map[string]any
	}{
		"neither fingerprint nor value": {"fingerprint", with(map[string]any{"fingerprint": nil})},
		"both":                          {"fingerprint", with(map[string]any{"value": value})},
		"another rule's fingerprint":    {"fingerprint", with(map[string]any{"rule": "gitlab-pat"})},
		"no rule":                       {"fingerprint", with(map[string]any{"rule": nil})},
		"a value for a fingerprint":     {"fingerprint", with(map[string]any{"fingerprint": value})},
		"another rule than the value's": {"rule", with(byValue, map[string]any{"rule": "gitlab-pat"})},
		"a value that is no secret":     {"value", with(byValue, map[string]any{"value": "an ordinary sentence"})},
		"two values":                    {"value", with(byValue, map[string]any{"value": value + " " + fake.NewKey("github")})},
		"a value of the vault":          {"value", with(byValue, map[string]any{"value": k.canary})},
		"one of the vault among others": {"value", with(byValue, map[string]any{"value": k.canary + " " + value})},
		"no expiry":                     {"expiresAt", with(map[string]any{"ttlHours": nil})},
		"two expiries":                  {"expiresAt", with(map[string]any{"expiresAt": time.Now().Add(time.Hour)})},
		"an expiry that is over":        {"expiresAt", with(map[string]any{"ttlHours": nil, "expiresAt": time.Now().Add(-time.Hour)})},
		"an expiry in years":            {"expiresAt", with(map[string]any{"ttlHours": nil, "expiresAt": time.Now().AddDate(2, 0, 0)})},
		"a life of years":               {"ttlHours", with(map[string]any{"ttlHours": 8785})},
		"no life":                       {"ttlHours", with(map[string]any{"ttlHours": 0})},
		"no reason":                     {"reason", with(map[string]any{"reason": nil})},
		"a blank reason":                {"reason", with(map[string]any{"reason": "  "})},
		"a reason of two lines":         {"reason", with(map[string]any{"reason": "a\nb"})},
		"a reason with a known format":  {"reason", with(map[string]any{"reason": "as " + fake.NewKey("github")})},
		"a reason with the vault's":     {"reason", with(map[string]any{"reason": "as " + k.canary})},
		"a reason with the value":       {"reason", with(byValue, map[string]any{"value": named, "rule": nil, "reason": "for " + named})},
		"a misspelt field":              {"ttlhours", with(map[string]any{"ttlhours": 1})},
	} {
		got := k.want(k.call("POST", "/scan/exceptions", k.admin, body(c.in)), 400, "invalid_request")
		if !strings.Contains(got.text("error"), c.field) || strings.Contains(got.raw, value) || strings.Contains(got.raw, named) {
			t.Errorf("%s: got %q, want it to name %s and no value", name, got.text("error"), c.field)
		}
	}
	if got := k.want(k.call("GET", "/scan/exceptions", k.admin, ""), 200); got.body["total"] != 0.0 {
		t.Errorf("after refusals: got %s, want no exception", got.raw)
	}
	if !k.redacts(value) {
		t.Error("after refusals: got the value let pass, want it redacted")
	}
}

func TestValuesRuleIsFoundWhereNoneIsNamed(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	in := body(map[string]any{"value": fake.NewKey("github"), "reason": "a sample", "ttlHours": 0.5})
	got := k.want(k.call("POST", "/scan/exceptions", k.admin, in), 200)
	if made, _ := got.body["exception"].(map[string]any); made["rule"] != "github-pat" {
		t.Errorf("got %v, want the rule github-pat", made)
	}
}
