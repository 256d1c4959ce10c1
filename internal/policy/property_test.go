package policy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
	"pgregory.net/rapid"
)

// plainCalls are calls as an honest client writes them.
func plainCalls() *rapid.Generator[policy.CallSpec] {
	return rapid.Custom(func(t *rapid.T) policy.CallSpec {
		call := rapid.SampledFrom([]string{
			"openai POST /v1/chat/completions", "openai GET /v1/models", "openai DELETE /v1/responses/r1", "openai POST /v1/embeddings", "openai GET /v1/files/f1/content", "openai DELETE /v1/models/m",
			"gemini POST /v1beta/models/m:generateContent", "gemini POST /v1beta/models/m:embedContent", "github GET /repos/o/r", "github POST /repos/o/r/issues", "github POST /graphql",
			"github GET /o/r/info/refs?service=git-upload-pack", "github GET /o/r/info/refs?service=git-receive-pack", "github POST /o/r/git-receive-pack",
			"gitlab GET /api/graphql", "gitlab GET /g/s/p.git/info/refs?service=git-receive-pack", "slack GET /api/chat.postMessage", "slack GET /api/users.list", "linear POST /graphql",
		}).Draw(t, "call")
		provider, text, _ := strings.Cut(call, " ")
		spec, _ := specOf(provider, text)
		return spec
	})
}

func scopesOf() *rapid.Generator[[]string] {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"openai:chat", "openai:embeddings", "openai:files", "openai:models", "openai:read", "openai:write", "gemini:chat", "gemini:embeddings", "gemini:read",
		"github:read", "github:write", "gitlab:read", "gitlab:write", "slack:read", "slack:chat", "slack:write", "linear:read", "*:read", "*:write",
	}), 0, 4, rapid.ID)
}

// tricks rewrite a path in ways that some server undoes.
var tricks = map[string]func(path string, at int) string{
	"escape a byte": func(p string, at int) string { return p[:at] + escaped(p[at]) + p[at+1:] },
	"escape a byte twice": func(p string, at int) string {
		return p[:at] + strings.ReplaceAll(escaped(p[at]), "%", "%25") + p[at+1:]
	},
	"escape a slash":    func(p string, at int) string { return replaceFrom(p, at, "/", "%2f") },
	"backslash":         func(p string, at int) string { return replaceFrom(p, at, "/", `\`) },
	"escaped backslash": func(p string, at int) string { return replaceFrom(p, at, "/", "%5C") },
	"double a slash":    func(p string, at int) string { return replaceFrom(p, at, "/", "//") },
	"leading slash":     func(p string, at int) string { return "/" + p },
	"trailing slash":    func(p string, at int) string { return p + "/" },
	"parameter":         func(p string, at int) string { return replaceFrom(p, at, "/", ";x=y/") },
	"last parameter":    func(p string, at int) string { return p + ";x" },
	"escaped query":     func(p string, at int) string { return p + "%3Fa=b" },
	"dot segment":       func(p string, at int) string { return replaceFrom(p, at, "/", "/./") },
	"escaped dots":      func(p string, at int) string { return replaceFrom(p, at, "/", "/x/%2e%2E/") },
	"dots behind slash": func(p string, at int) string { return "/x%2f.." + p },
}

func escaped(b byte) string {
	const digits = "0123456789abcdef"
	return "%" + string(digits[b>>4]) + string(digits[b&15])
}

func replaceFrom(p string, at int, old, with string) string {
	return p[:at] + strings.Replace(p[at:], old, with, 1)
}

func TestNoPathTrickOpensWhatThePlainPathDoesNot(t *testing.T) {
	c := builtin(t)
	names := make([]string, 0, len(tricks))
	for name := range tricks {
		names = append(names, name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		spec, scopes := plainCalls().Draw(rt, "plain"), scopesOf().Draw(rt, "scopes")
		_, plainErr := try(t, c, scopes, spec, "")
		tricked := spec
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 3).Draw(rt, "tricks") {
			at := rapid.IntRange(0, len(tricked.EscapedPath)-1).Draw(rt, "at")
			if !strings.HasPrefix(tricked.EscapedPath[at:], "%") {
				tricked.EscapedPath = tricks[name](tricked.EscapedPath, at)
			}
		}
		if _, err := try(t, c, scopes, tricked, ""); plainErr != nil && err == nil {
			rt.Fatalf("%v: %s %q is refused, yet %q is allowed", scopes, spec.Method, spec.EscapedPath, tricked.EscapedPath)
		}
	})
}

func TestCaseNeverMatchesANarrowPermission(t *testing.T) {
	c := builtin(t)
	for call, scope := range map[string]string{
		"openai POST /v1/Chat/Completions": "openai:chat", "openai POST /V1/embeddings": "openai:embeddings", "openai GET /v1/Files/f1": "openai:files",
		"github POST /GraphQL": "github:read", "github GET /o/r/Info/Refs?service=git-upload-pack": "github:read", "slack GET /API/users.list": "slack:read",
		"gemini POST /v1beta/models/m:GenerateContent": "gemini:chat", "gitlab GET /api/GraphQL?query=x": "gitlab:read", "github POST /o/r/Git-Upload-Pack": "github:read",
	} {
		provider, text, _ := strings.Cut(call, " ")
		spec, _ := specOf(provider, text)
		if _, err := try(t, c, []string{scope}, spec, `{"query":"{a}"}`); err == nil {
			t.Errorf("%s for %s: got it allowed, want a refusal", scope, call)
		}
	}
}

func TestNarrowerTokenNeverOpensWhatAWiderOneDoesNot(t *testing.T) {
	c := builtin(t)
	rapid.Check(t, func(rt *rapid.T) {
		spec, narrow, more := plainCalls().Draw(rt, "call"), scopesOf().Draw(rt, "narrow"), scopesOf().Draw(rt, "more")
		_, narrowErr := try(t, c, narrow, spec, "")
		_, wideErr := try(t, c, append(append([]string{}, narrow...), more...), spec, "")
		if narrowErr == nil && wideErr != nil {
			rt.Fatalf("%v allows %s %s, and with %v beside it is refused: %v", narrow, spec.Method, spec.EscapedPath, more, wideErr)
		}
	})
}

func FuzzWhatIsAllowedIsAllowedWithoutTheTrick(f *testing.F) {
	c := builtin(f)
	chat := claimsOf(f, "openai:chat")
	for _, path := range []string{"/v1/chat/completions", "/v1/responses/x", "/v1/%63hat/completions", "/v1/../x", "//v1/models", `/v1\models`, "/v1/models;x", "/%2525", "/"} {
		f.Add("GET", path, "a=b", "DELETE")
		f.Add("POST", path, "_method=GET", "")
	}
	f.Fuzz(func(t *testing.T, method, path, query, override string) {
		spec := policy.CallSpec{Provider: "openai", Method: method, EscapedPath: path, RawQuery: query, Header: http.Header{}}
		if override != "" {
			spec.Header.Set("X-Http-Method-Override", override)
		}
		call, err := policy.NewCall(spec)
		if err != nil {
			denied(t, err)
			return
		}
		grant, err := c.Authorize(chat, call)
		if err != nil {
			if d := denied(t, err); d.Message == "" || grant.Valid() {
				t.Fatalf("%q: got an empty refusal or a valid grant beside it", path)
			}
			return
		}
		plain := strings.TrimSuffix(path, "/")
		switch method + " " + plain {
		case "POST /v1/chat/completions", "POST /v1/responses", "POST /v1/completions", "GET /v1/models":
			return
		}
		if id, ok := strings.CutPrefix(plain, "/v1/responses/"); !ok || id == "" || strings.ContainsAny(id, `/\`) || method != "GET" && method != "DELETE" {
			t.Fatalf("openai:chat allowed %s %q", method, path)
		}
	})
}
