package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

func TestBuiltinCatalogueHoldsEveryProvider(t *testing.T) {
	c, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Providers() {
		got = append(got, p.Name)
		if p.Title == "" || !strings.HasPrefix(p.Docs, "https://") || len(p.KeyIn) == 0 || p.Client == nil || len(p.RealKeys()) == 0 {
			t.Errorf("%s: got title %q, docs %q, keyIn %q, keys %q, want them all given", p.Name, p.Title, p.Docs, p.KeyIn, p.RealKeys())
		}
		if found, ok := c.Provider(strings.ToUpper(p.Name)); !ok || found != p {
			t.Errorf("%s in upper case: got %v, want the same provider", p.Name, ok)
		}
		for _, e := range p.Client.BaseURLs {
			if slices.Contains(p.RealKeys(), e.Env) {
				t.Errorf("%s: got %s for an address and a key", p.Name, e.Env)
			}
		}
	}
	want := strings.Fields(`anthropic aws aws-bedrock aws-s3 azure-openai cloudflare cohere datadog deepseek elevenlabs fireworks gemini github gitlab groq huggingface jira linear
		mcp mistral notion openai openrouter perplexity replicate sendgrid sentry slack stripe telegram together twilio vercel vertex xai`)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := c.Provider("nobody"); ok {
		t.Error("nobody: got a provider, want none")
	}
}

func TestBuiltinInjectionsAreTheVendors(t *testing.T) {
	c := builtin(t)
	for name, want := range map[string]string{
		"openai": "Authorization=Bearer {value}", "anthropic": "x-api-key={value}", "gemini": "x-goog-api-key={value}", "azure-openai": "api-key={value}",
		"github": "Authorization=Bearer {value}", "gitlab": "PRIVATE-TOKEN={value}", "elevenlabs": "xi-api-key={value}", "linear": "Authorization={value}",
		"datadog": "DD-API-KEY={1} DD-APPLICATION-KEY={2}", "twilio": "basic", "jira": "basic", "stripe": "Authorization=Bearer {value}",
	} {
		r, _ := c.Route(newCall(t, policy.CallSpec{Provider: name, Method: "GET", EscapedPath: "/x"}))
		if got := injectionText(r.Inject); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for provider, want := range map[string]string{"anthropic": "anthropic-version", "notion": "Notion-Version", "github": "User-Agent"} {
		if r, _ := c.Route(newCall(t, policy.CallSpec{Provider: provider, Method: "GET", EscapedPath: "/x"})); r.Headers[want] == "" {
			t.Errorf("%s: got headers %v, want %s", provider, r.Headers, want)
		}
	}
	for provider, want := range map[string]string{"openai": policy.StreamOpenAI, "anthropic": policy.StreamAnthropic, "gemini": policy.StreamGemini, "github": policy.StreamNone} {
		if r, _ := c.Route(newCall(t, policy.CallSpec{Provider: provider, Method: "GET", EscapedPath: "/x"})); r.Stream != want {
			t.Errorf("%s: got stream %q, want %q", provider, r.Stream, want)
		}
	}
}

func injectionText(in policy.Injection) string {
	if in.Basic != nil {
		return strings.TrimSpace("basic " + in.Basic.User)
	}
	var all []string
	for name, template := range in.Headers {
		all = append(all, name+"="+template)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestExplainListsTheCallsOfAPermission(t *testing.T) {
	p, _ := builtin(t).Provider("github")
	want := []string{
		"GET,HEAD /{rest...}", "POST /graphql graphql query", "POST /api/graphql graphql query",
		"git: GET /{owner}/{repo}/info/refs service=git-upload-pack", "git: POST /{owner}/{repo}/git-upload-pack",
	}
	for _, name := range []string{"github:read", "GitHub:Read", "read"} {
		if got := p.Explain(name); !slices.Equal(got, want) {
			t.Errorf("Explain(%q): got %q, want %q", name, got, want)
		}
	}
	if got := p.Explain("write"); !slices.Equal(got, []string{"every call that read does not cover", "git: every call that read does not cover"}) {
		t.Errorf("write: got %q", got)
	}
	for _, name := range []string{"openai:read", "nothing", ""} {
		if got := p.Explain(name); got != nil {
			t.Errorf("Explain(%q): got %q, want nil", name, got)
		}
	}
	if got := p.Explain("github:*"); !slices.Equal(got, []string{"every call"}) {
		t.Errorf("github:*: got %q, want every call", got)
	}
}

func TestBaseURLMovesEveryRouteOfAProvider(t *testing.T) {
	before := builtin(t)
	c, err := before.WithBaseURL("GitHub", "http://127.0.0.1:9/ghes/")
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"GET /user", "GET /o/r/info/refs"} {
		spec, _ := specOf("github", call)
		r, _ := c.Route(newCall(t, spec))
		if r.BaseURL.String() != "http://127.0.0.1:9/ghes" || !r.OperatorNamed {
			t.Errorf("%s: got %s, named %v, want the operator's", call, r.BaseURL, r.OperatorNamed)
		}
		if old, _ := before.Route(newCall(t, spec)); old.OperatorNamed || old.BaseURL.Hostname() == "127.0.0.1" {
			t.Errorf("%s: the catalogue before changed", call)
		}
	}
	r, _ := c.Route(newCall(t, policy.CallSpec{Provider: "github", Method: "GET", EscapedPath: "/o/r/info/refs"}))
	if injectionText(r.Inject) != "basic x-access-token" || r.Refusal != policy.RefusalGit {
		t.Errorf("git route: got %+v, want it otherwise as before", r)
	}
}

func TestProviderMadeByItsAddressHasTheDefaults(t *testing.T) {
	c, err := builtin(t).WithBaseURL("ACME-x", "http://[::1]:9")
	if err != nil {
		t.Fatal(err)
	}
	p, ok := c.Provider("acme-x")
	if !ok || p.EnvName() != "ACME_X" || !slices.Equal(p.PermissionNames(), []string{"read", "write"}) {
		t.Fatalf("got %v, %+v, want acme-x with read and write", ok, p)
	}
	for call, scope := range map[string]string{"GET /a": "acme-x:read", "HEAD /": "acme-x:read", "OPTIONS /a/b": "acme-x:read", "POST /a": "acme-x:write", "PURGE /a": "acme-x:write"} {
		spec, _ := specOf("acme-x", call)
		g, err := try(t, c, []string{"acme-x:read", "acme-x:write"}, spec, "")
		if err != nil || g.Scope().String() != scope || injectionText(g.Route().Inject) != "Authorization=Bearer {value}" {
			t.Errorf("%s: got %s, %q, %v, want %s and Bearer", call, g.Scope(), injectionText(g.Route().Inject), err, scope)
		}
	}
}

func TestOverridesAreLaidOverFieldByField(t *testing.T) {
	c, err := builtin(t).With(policy.Provider{
		Name: "Anthropic", BaseURL: "https://gateway.example/anthropic", Headers: map[string]string{"Anthropic-Version": "2030-01-01", "X-Team": "a"},
		Permissions: map[string][]string{"chat": {"POST /v1/messages"}, "extra": {"GET /v1/extra"}},
	}, policy.Provider{Name: "linear", Inject: &policy.Injection{Headers: map[string]string{"Authorization": "Bearer {value}"}}})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := c.Provider("anthropic")
	if p.Title != "Anthropic" || p.Stream != policy.StreamAnthropic || injectionText(*p.Inject) != "x-api-key={value}" {
		t.Errorf("got %q %q %q, want the builtin's", p.Title, p.Stream, injectionText(*p.Inject))
	}
	r, _ := c.Route(newCall(t, policy.CallSpec{Provider: "anthropic", Method: "GET"}))
	if r.BaseURL.String() != "https://gateway.example/anthropic" || r.Headers["Anthropic-Version"] != "2030-01-01" || r.Headers["X-Team"] != "a" || len(r.Headers) != 2 {
		t.Errorf("got %s and %v, want the gateway and one version header", r.BaseURL, r.Headers)
	}
	if got := p.Explain("chat"); !slices.Equal(got, []string{"POST /v1/messages"}) {
		t.Errorf("chat: got %q, want it replaced", got)
	}
	if p.Explain("files") == nil || p.Explain("extra") == nil {
		t.Error("files, extra: got one missing, want both")
	}
	linear, _ := c.Route(newCall(t, policy.CallSpec{Provider: "linear", Method: "GET"}))
	if injectionText(linear.Inject) != "Authorization=Bearer {value}" || linear.BaseURL.String() != "https://api.linear.app" || linear.OperatorNamed {
		t.Errorf("linear: got %+v, want Bearer at the vendor's own address", linear)
	}
}

func TestRoutesGivenByTheOperatorMayBePrivateWithoutTheProviderBeingSo(t *testing.T) {
	c, err := builtin(t).With(policy.Provider{Name: "openai", Routes: []policy.RouteRule{{Name: "local", Calls: []string{"POST /v1/embeddings"}, BaseURL: "http://10.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	local, _ := c.Route(newCall(t, policy.CallSpec{Provider: "openai", Method: "POST", EscapedPath: "/v1/embeddings"}))
	rest, _ := c.Route(newCall(t, policy.CallSpec{Provider: "openai", Method: "GET", EscapedPath: "/v1/models"}))
	if !local.OperatorNamed || local.BaseURL.Host != "10.0.0.1" || rest.OperatorNamed || rest.BaseURL.Host != "api.openai.com" {
		t.Errorf("got %+v and %+v, want only the first named by the operator", local, rest)
	}
}

func TestChangingAProviderChangesNoDecision(t *testing.T) {
	c := builtin(t)
	p, _ := c.Provider("openai")
	p.Permissions["embeddings"], p.BaseURL = []string{"ANY /{rest...}"}, "https://evil.example"
	p.Inject.Headers["Authorization"] = "{value}"
	spec, _ := specOf("openai", "POST /v1/chat/completions")
	if _, err := try(t, c, []string{"openai:embeddings"}, spec, ""); err == nil {
		t.Error("got embeddings widened, want it as it was")
	}
	if r, _ := c.Route(newCall(t, spec)); r.BaseURL.Host != "api.openai.com" || injectionText(r.Inject) != "Authorization=Bearer {value}" {
		t.Errorf("got %+v, want it as it was", r)
	}
}

func TestBrokenDefinitionsAreRefusedNamingTheField(t *testing.T) {
	for _, v := range []struct{ yaml, want string }{
		{"baseURL: https://a.example", "name:"},
		{"name: keeper\nbaseURL: https://a.example", "reserved"},
		{"name: KEEPER\nbaseURL: https://a.example", "reserved"},
		{"name: a b\nbaseURL: https://a.example", "name:"},
		{"name: a", "baseURL: it is missing"},
		{"name: a\nbaseURL: ftp://a.example", "baseURL: want https://"},
		{"name: a\nbaseURL: a.example", "baseURL: want https://"},
		{"name: a\nbaseURL: https://", "baseURL: want https://"},
		{"name: a\nbaseURL: https://u:p@a.example", "baseURL: leave out user"},
		{"name: a\nbaseURL: https://a.example?x=1", "baseURL: leave out user"},
		{"name: a\nbaseURL: https://a.example?", "baseURL: leave out user"},
		{"name: a\nbaseURL: https://a.example/#x", "baseURL: leave out user"},
		{"name: a\nbaseURL: https://a.example/b/../c", "baseURL: the path"},
		{"name: a\nbaseURL: 'https://a.example:x'", "baseURL: it is not a URL"},
		{"name: a\nbaseURL: https://a.example\nrefusal: xml", "refusal: want one of"},
		{"name: a\nbaseURL: https://a.example\nstream: x", "stream: want one of"},
		{"name: a\nbaseURL: https://a.example\nkeyIn: ['a b c']", "keyIn[0]"},
		{"name: a\nbaseURL: https://a.example\nheaders: {Host: x}", "headers.Host"},
		{"name: a\nbaseURL: https://a.example\nheaders: {'a b': x}", "headers:"},
		{"name: a\nbaseURL: https://a.example\nheaders: {A: \"x\\ny\"}", "headers:"},
		{"name: a\nbaseURL: https://a.example\ninject: {}", "inject: want exactly one"},
		{"name: a\nbaseURL: https://a.example\ninject: {query: key, basic: {}}", "inject: want exactly one"},
		{"name: a\nbaseURL: https://a.example\ninject: {query: 'a&b'}", "inject.query"},
		{"name: a\nbaseURL: https://a.example\ninject: {query: key}", ""},
		{"name: a\nbaseURL: https://a.example\ninject: {basic: {user: 'a:b'}}", "inject.basic.user"},
		{"name: a\nbaseURL: https://a.example\ninject: {headers: {A: constant}}", "inject.headers.A"},
		{"name: a\nbaseURL: https://a.example\ninject: {headers: {A: '{values}'}}", "inject.headers.A"},
		{"name: a\nbaseURL: https://a.example\ninject: {headers: {A: '{value'}}", "inject.headers.A"},
		{"name: a\nbaseURL: https://a.example\ninject: {headers: {A: '{0}'}}", "inject.headers.A"},
		{"name: a\nbaseURL: https://a.example\ninject: {headers: {A: '{1}', B: '{3}'}}", "without a gap"},
		{"name: a\nbaseURL: https://a.example\ninject: {headers: {A: '{1}', B: '{value}'}}", "without a gap"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [GET]}", "permissions.read[0]"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [get /a]}", "permissions.read[0]: method"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [GET a]}", "must begin with /"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [GET /a/]}", "trailing /"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [GET /a/../b]}", "dot segment"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: ['GET /{a...}/{b...}']}", "twice"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: ['GET /x{a...}']}", "want /literal"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: ['GET /{}']}", "want /literal"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: ['GET /a}']}", "want /literal"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: ['GET /{a}{b}']}", "want /literal"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [GET /a graphql]}", "condition"},
		{"name: a\nbaseURL: https://a.example\npermissions: {read: [GET /a graphql both]}", "want query or mutation"},
		{"name: a\nbaseURL: https://a.example\npermissions: {'a:b': [GET /a]}", "permissions.a:b"},
		{"name: a\nbaseURL: https://a.example\npermissions: {Chat: [GET /a], chat: [GET /b]}", "permissions."},
		{"name: a\nbaseURL: https://a.example\nroutes: [{baseURL: https://b.example}]", "routes[0].calls"},
		{"name: a\nbaseURL: https://a.example\nroutes: [{calls: [GET /a], baseURL: 'x'}]", "routes[0].baseURL"},
		{"name: a\nbaseURL: https://a.example\nroutes: [{calls: [GET /a], refusal: x}]", "routes[0].refusal"},
		{"name: a\nbaseURL: https://a.example\nroutes: [{calls: [GET /a], inject: {}}]", "routes[0].inject"},
		{"name: a\nbaseURL: https://a.example\nroutes: [{calls: [GET /a], permissions: {read: [x]}}]", "routes[0].permissions.read[0]"},
		{"name: a\nbaseURL: https://a.example\nclient: {keys: [A_KEY]}", "client.keys"},
		{"name: a\nbaseURL: https://a.example\nclient: {secrets: [a-key]}", "client.secrets"},
		{"name: a\nbaseURL: https://a.example\nclient: {baseURLs: [{env: A, suffix: v1}]}", "client.baseURLs[0]"},
		{"name: a\nbaseURL: https://a.example\nclient: {git: [a.example]}", "client.git[0]"},
	} {
		p, err := policy.Parse("a.yaml", []byte(v.yaml))
		if err != nil {
			t.Fatalf("Parse(%q): got %v, want a definition", v.yaml, err)
		}
		_, err = builtin(t).With(p)
		if v.want == "" {
			if err != nil {
				t.Errorf("%q: got %v, want it accepted", v.yaml, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), v.want) || !strings.HasPrefix(err.Error(), "provider 1") {
			t.Errorf("%q: got %v, want an error of provider 1 with %q", v.yaml, err, v.want)
		}
	}
}

func TestUnknownKeysAndOtherNonsenseInAFileAreErrorsNamingIt(t *testing.T) {
	for _, text := range []string{"name: a\nbaseUrl: https://a.example", "name: a\nname: b", "- a", "name: [a", "routes: [{paths: []}]", "inject: {header: {}}", "client: {key: A}"} {
		if _, err := policy.Parse("mine.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "mine.yaml") {
			t.Errorf("%q: got %v, want an error naming mine.yaml", text, err)
		}
	}
}

func TestOperatorsAddressesAreChecked(t *testing.T) {
	c := builtin(t)
	for _, raw := range []string{"", "x", "https://u@a.example", "https://a.example?key=v", "https://a.example#f", "file:///etc", "http:opaque", "https://a.example/%2e%2e/b"} {
		if _, err := c.WithBaseURL("openai", raw); err == nil {
			t.Errorf("%q: got a catalogue, want an error", raw)
		} else if strings.Contains(err.Error(), "u@a") || strings.Contains(err.Error(), "key=v") {
			t.Errorf("%q: got %v, want an error without the address", raw, err)
		}
	}
	for _, name := range []string{"keeper", "Keeper", "a b", "*", ""} {
		if _, err := c.WithBaseURL(name, "https://a.example"); err == nil {
			t.Errorf("%q: got a catalogue, want an error", name)
		}
	}
	if _, err := c.With(policy.Provider{Name: "a", BaseURL: "https://a.example"}, policy.Provider{Name: "A"}); err == nil {
		t.Error("the same name twice: got a catalogue, want an error")
	}
}
