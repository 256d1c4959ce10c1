package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/server"
)

// page fetches a page about an error, which must be one about the code.
func wantPage(t *testing.T, k *keepertest.Keeper, address, code string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatalf("%q: got no address of a page", address)
	}
	got := k.Do(t, req)
	if got.Status != http.StatusOK || !strings.Contains(string(got.Body), "<code>"+code+"</code></h1>") {
		t.Errorf("%s: got %d, want the page about %s", address, got.Status, code)
	}
}

func TestRefusalsLeadToTheirPageInThisKeeper(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.AdminAddr = "127.0.0.1:0"
		c.ProviderListen = map[string]string{"openai": "127.0.0.1:0"}
	}))
	asked := map[string]*http.Request{
		"the proxy route":       k.Request(t, http.MethodGet, "openai", "/v1/models", "", ""),
		"Slack's shape":         k.Request(t, http.MethodGet, "slack", "/api/auth.test", "", ""),
		"an envelope":           k.Request(t, http.MethodPost, "openai", "/v1/responses", "", "{}"),
		"a provider's listener": nil,
	}
	root, err := http.NewRequest(http.MethodGet, k.Server().ProviderURL("openai")+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	asked["a provider's listener"] = root
	for way, req := range asked {
		body := k.Do(t, req).JSON()
		address, _ := body["documentation_url"].(string)
		if address == "" {
			address, _ = body["documentationUrl"].(string)
		}
		if !strings.HasPrefix(address, k.URL()+"/docs/errors/") {
			t.Errorf("%s: got %q, want a page on the agents' listener", way, address)
			continue
		}
		wantPage(t, k, address, "token_missing")
	}
	_, refused := k.Manage(t, http.MethodGet, "/status", "", nil)
	address, _ := refused["documentationUrl"].(string)
	if !strings.HasPrefix(address, k.Server().AdminURL()+"/docs/") {
		t.Errorf("a management route: got %q, want a page on its own listener", address)
	}
	wantPage(t, k, address, "token_missing")
}

func TestRefusalsOfTheForwardProxyLeadToKeeperNotToTheHost(t *testing.T) {
	k := keepertest.Start(t)
	at, err := url.Parse(k.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at)}}
	resp, err := client.Get("http://api.openai.com/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	address, _ := body["documentation_url"].(string)
	if !strings.HasPrefix(address, k.URL()+"/docs/errors/") {
		t.Errorf("got %q, want a page of keeper's", address)
	}
	wantPage(t, k, address, resp.Header.Get("Keeper-Code"))
}

func TestANameThatIsNoneIsNotRepeated(t *testing.T) {
	k := keepertest.Start(t)
	for _, host := range []string{`evil.example"><script>`, "a b", "x_y", "-", "sk-proj-" + strings.Repeat("a1B2c3D4", 6), strings.Repeat("a", 300)} {
		req := k.Request(t, http.MethodGet, "openai", "/v1/models", "", "")
		req.Host = host
		got := k.Do(t, req)
		if address, _ := got.JSON()["documentation_url"].(string); got.Status == http.StatusUnauthorized && !strings.HasPrefix(address, k.URL()+"/docs/") {
			t.Errorf("Host %q: got %q, want keeper's own address", host, address)
		}
	}
	req := k.Request(t, http.MethodGet, "openai", "/v1/models", "", "")
	req.Host = "keeper.internal:8700"
	if got := k.Do(t, req).JSON()["documentation_url"]; got != "http://keeper.internal:8700/docs/errors/token_missing" {
		t.Errorf("got %v, want the page under the name that the agent used", got)
	}
}

func TestEveryCodeOfTheProxyHasItsPage(t *testing.T) {
	k := keepertest.Start(t)
	for _, codes := range proxy.Codes() {
		for _, code := range codes {
			wantPage(t, k, k.URL()+"/docs/errors/"+code, code)
		}
	}
}

func TestDescriptionHasTheProxyRouteWhereTheListenerHasIt(t *testing.T) {
	paths := func(k *keepertest.Keeper, at string) map[string]any {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, at+"/openapi.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		all, _ := k.Do(t, req).JSON()["paths"].(map[string]any)
		return all
	}
	one := keepertest.Start(t)
	split := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.AdminAddr = "127.0.0.1:0" }))
	const route = "/api/v1/proxy/{provider}/{path}"
	if got, _ := paths(one, one.URL())[route].(map[string]any); len(got) != 7 {
		t.Errorf("one listener: got %d methods of the proxy route, want 7", len(got))
	}
	agents, admin := paths(split, split.URL()), paths(split, split.Server().AdminURL())
	if agents[route] == nil || agents["/api/v1/vault"] != nil || admin[route] != nil || admin["/api/v1/vault"] == nil {
		t.Errorf("two listeners: got %d and %d paths, want each to tell of its own", len(agents), len(admin))
	}
}
