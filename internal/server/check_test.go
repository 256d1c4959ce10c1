package server_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
)

// test asks keeper to test a credential and returns what it says.
func testCredential(t *testing.T, k *keepertest.Keeper, provider string, body any) map[string]any {
	t.Helper()
	status, told := k.Admin(t, http.MethodPost, "/providers/"+provider+"/test", body)
	if status != http.StatusOK {
		t.Fatalf("testing the credential of %s: got %d %v, want 200", provider, status, told)
	}
	return told
}

func wantTold(t *testing.T, told map[string]any, ok bool, status int, code string) {
	t.Helper()
	got, _ := told["code"].(string)
	if told["ok"] != ok || told["status"] != float64(status) || got != code || told["message"] == "" {
		t.Errorf("got %v, want ok %v, status %d, code %q and a message", told, ok, status, code)
	}
}

func TestCredentialThatTheProviderTakesIsSaidToBeGood(t *testing.T) {
	k := keepertest.Start(t)
	told := testCredential(t, k, "openai", nil)
	wantTold(t, told, true, 200, "")
	entries := k.AwaitAudit(t, "requestId="+told["requestId"].(string), 2)
	if len(entries) != 2 || entries[0].Event != "proxy.request" || entries[1].Event != "proxy.response" ||
		entries[0].AgentID != policy.Operator || entries[0].Details["mode"] != "check" || entries[0].Details["path"] != "/v1/models" {
		t.Errorf("audit of the test: got %+v, want the decision and the outcome of one call of the operator's", entries)
	}
	if told := testCredential(t, k, "slack", map[string]any{}); told["ok"] != true {
		t.Errorf("slack: got %v, want ok, by its answer's field", told)
	}
}

func TestCredentialThatTheProviderRefusesIsSaidToBeRefused(t *testing.T) {
	k := keepertest.Start(t)
	for provider, status := range map[string]int{"openai": 401, "slack": 200} {
		k.Store(t, provider, "", fake.NewKey(provider))
		wantTold(t, testCredential(t, k, provider, nil), false, status, "credential_refused")
	}
	_, vault := k.Admin(t, http.MethodGet, "/vault", nil)
	marked := false
	for _, one := range vault["secrets"].([]any) {
		row := one.(map[string]any)
		marked = marked || row["provider"] == "openai" && row["refusedSince"] != nil
	}
	if !marked {
		t.Errorf("the vault's list: got %v, want openai's credential marked as refused", vault)
	}
}

func TestCredentialIsTestedByItsLabelWhomeverItIsFor(t *testing.T) {
	k := keepertest.Start(t)
	k.Store(t, "openai", "spare", fake.NewKey("openai"), "nobody-yet")
	wantTold(t, testCredential(t, k, "openai", map[string]any{"label": "spare"}), false, 401, "credential_refused")
	wantTold(t, testCredential(t, k, "OpenAI", nil), true, 200, "") // "default" goes first
	wantTold(t, testCredential(t, k, "openai", map[string]any{"label": "other"}), false, 0, "no_credential")
}

func TestCredentialOfAProviderThatIsNotThereCannotBeTested(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	k := keepertest.Start(t, keepertest.Without("github"), keepertest.Configured(func(c *server.Config) {
		c.ProviderURLs["mistral"] = "http://" + address
	}))
	k.Store(t, "mistral", "", fake.NewKey("generic"))
	wantTold(t, testCredential(t, k, "mistral", nil), false, 0, "upstream_unreachable")
	wantTold(t, testCredential(t, k, "github", nil), false, 0, "no_credential")
	wantTold(t, testCredential(t, k, "azure-openai", nil), false, 0, "provider_unknown")
	for provider, want := range map[string]int{"linear": 400, "nobody": 404} {
		if status, told := k.Admin(t, http.MethodPost, "/providers/"+provider+"/test", nil); status != want || told["error"] == "" {
			t.Errorf("%s: got %d %v, want %d and a sentence", provider, status, told, want)
		}
	}
}

func TestOnlyWhoMaySetCredentialsMayTestThem(t *testing.T) {
	k := keepertest.Start(t)
	for _, scope := range []string{"keeper:read", "openai:*"} {
		token := k.Token(t, "agent-"+scope[:6], scope)
		if status, told := k.Manage(t, http.MethodPost, "/providers/openai/test", token, nil); status != http.StatusForbidden {
			t.Errorf("with %s: got %d %v, want 403", scope, status, told)
		}
	}
	token := k.Token(t, "deputy", "keeper:write")
	if status, told := k.Manage(t, http.MethodPost, "/providers/openai/test", token, nil); status != http.StatusOK || told["ok"] != true {
		t.Errorf("with keeper:write: got %d %v, want ok", status, told)
	}
	if got := k.Call(t, http.MethodGet, "openai", "/v1/models", token, "").Status; got != http.StatusForbidden {
		t.Errorf("the same call by the deputy: got %d, want 403", got)
	}
}
