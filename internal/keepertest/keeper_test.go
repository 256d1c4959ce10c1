package keepertest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

func TestEveryVendorIsReachedThroughKeeper(t *testing.T) {
	k := keepertest.Start(t)
	for i, c := range calls() {
		if c.vendor == "mistral" {
			continue // keeper knows the real one
		}
		token := k.Token(t, "agent-"+c.vendor, c.vendor+":*")
		res := k.Call(t, c.method, c.vendor, c.path, token, c.body)
		if res.Status/100 != 2 || res.Err != nil || !strings.Contains(string(res.Body), c.want) {
			t.Errorf("call %d, %s %s%s: got %d %q %v, want success with %q", i, c.method, c.vendor, c.path, res.Status, res.Body, res.Err, c.want)
			continue
		}
		if got, want := k.Provider().Last().Credential, k.Provider().Key(c.vendor); got != want {
			t.Errorf("%s%s: got another credential, want the one stored", c.vendor, c.path)
		}
	}
}

func TestAuditIsReadWholeAndInOrder(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "reader", "openai:chat")
	for range 3 {
		k.Call(t, http.MethodGet, "openai", "/v1/models", token, "")
	}
	whole := k.AwaitAudit(t, "event=proxy.response", 3)
	paged := k.Audit(t, "event=proxy.response&limit=1")
	ids := func(entries []keepertest.Entry) (ids []string) {
		for _, e := range entries {
			ids = append(ids, e.ID)
		}
		return ids
	}
	if len(whole) != 3 || !slices.Equal(ids(whole), ids(paged)) {
		t.Errorf("pages of one: got %q, want %q", ids(paged), ids(whole))
	}
	sorted := slices.IsSortedFunc(whole, func(a, b keepertest.Entry) int { return a.Timestamp.Compare(b.Timestamp) })
	if !sorted || whole[0].AgentID != "reader" || whole[0].Provider != "openai" || whole[0].Details["outcome"] != "complete" {
		t.Errorf("entries: got %+v, want complete calls of reader, oldest first", whole)
	}
}

func TestRestartKeepsTokensAndSecrets(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "lasting", "stripe:customers")
	k.Restart(t)
	if res := k.Call(t, http.MethodGet, "stripe", "/v1/customers", token, ""); res.Status != http.StatusOK {
		t.Errorf("a call after a restart: got %d %q, want 200", res.Status, res.Body)
	}
}

func TestOptionsChangeTheKeeper(t *testing.T) {
	p := keepertest.NewProvider(t)
	k := keepertest.Start(t, keepertest.At(p), keepertest.Without("openai"),
		keepertest.Configured(func(c *server.Config) { c.AdminAddr = "127.0.0.1:0" }))
	token := k.Token(t, "a", "openai:chat", "anthropic:chat")
	if res := k.Call(t, http.MethodGet, "openai", "/v1/models", token, ""); res.Header.Get("Keeper-Code") != "no_credential" {
		t.Errorf("without a secret: got %d %q, want no_credential", res.Status, res.Header.Get("Keeper-Code"))
	}
	if res := k.Call(t, http.MethodGet, "anthropic", "/v1/models", token, ""); res.Status != http.StatusOK || len(p.Requests()) != 1 {
		t.Errorf("with a secret: got %d and %d requests at the given provider, want 200 and one", res.Status, len(p.Requests()))
	}
}

func TestASecretThatShowsAnywhereFailsTheTest(t *testing.T) {
	places := map[string]func(*keepertest.Keeper, testing.TB){
		"a captured output": func(k *keepertest.Keeper, _ testing.TB) {
			k.Capture("a captured output", []byte("x "+fake.InForm("base64", k.Provider().Key("openai"))))
		},
		"the answer to GET /leak": func(k *keepertest.Keeper, t testing.TB) {
			k.Canary().Plant("what the vault does not know", "Zq7vK2mX9pLr4TnB")
			k.Provider().Handle("openai", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("Zq7vK2mX9pLr4TnB")) })
			k.Call(t, http.MethodGet, "openai", "/leak", k.Token(t, "a", "openai:*"), "")
		},
	}
	for name, leak := range places {
		recorder := &failures{TB: t}
		k := keepertest.Start(recorder)
		leak(k, recorder)
		recorder.cleanUp()
		if len(recorder.said) != 1 || !strings.Contains(recorder.said[0], strings.TrimPrefix(name, "the answer to GET ")) {
			t.Errorf("a secret in %s: got failures %q, want one that names the place", name, recorder.said)
		}
	}
}
