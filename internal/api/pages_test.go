package api_test

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// allCodes are those that the description of a listener names.
func (d description) allCodes() []string {
	found := map[string]bool{}
	for _, methods := range d.Paths {
		for _, op := range methods {
			for _, r := range op.Responses {
				for _, code := range r.Content["application/json"].Schema.codes() {
					found[code] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestEveryCodeThatIsDescribedHasItsPage(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	codes := k.described(k.all).allCodes()
	if len(codes) < 25 {
		t.Fatalf("got %v, want all codes", codes)
	}
	for _, code := range codes {
		for _, at := range []*httptest.Server{k.all, k.public} {
			got := k.send(at, "GET", "/docs/errors/"+code, "", "")
			if got.status != 200 || !strings.Contains(got.raw, "<code>"+code+"</code></h1>") {
				t.Errorf("%s: got %d, want its page", code, got.status)
			}
		}
	}
}

func TestErrorsLeadToTheirPage(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	refused := k.want(k.call("GET", "/status", "", ""), 401, "token_missing")
	page := k.call("GET", refused.text("documentationUrl"), "", "")
	if page.status != 200 || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Errorf("%s: got %d %s, want a page", refused.text("documentationUrl"), page.status, page.header.Get("Content-Type"))
	}
	k.want(k.call("GET", "/docs/errors/no_such_code", "", ""), 404, "not_found")
	k.want(k.call("POST", "/docs/api", "", ""), 405, "method_not_allowed")
}

func TestPagesAreServedUnderAStrictPolicyAndKept(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, path := range []string{"/docs", "/docs/api", "/docs/errors", "/docs/manual.css", "/docs/search.js"} {
		got := k.call("GET", path, "", "")
		policy := got.header.Get("Content-Security-Policy")
		if got.status != 200 || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self'") || strings.Contains(policy, "unsafe") ||
			got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: got %d %v, want it under a strict policy", path, got.status, got.header)
		}
		if again := k.call("GET", path, "", "", "If-None-Match", got.header.Get("ETag")); again.status != 304 || again.raw != "" {
			t.Errorf("%s again: got %d, want 304", path, again.status)
		}
	}
}

func TestReferenceOfTheAgentsListenerShowsTheirRoutesAlone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	all, public := k.call("GET", "/docs/api", "", ""), k.send(k.public, "GET", "/docs/api", "", "")
	if !strings.Contains(all.raw, "/api/v1/vault") || strings.Contains(public.raw, "/api/v1/vault") || !strings.Contains(public.raw, "/api/v1/auth/token") {
		t.Errorf("got the vault described to agents, or not to the operator")
	}
	var d description
	must(t, json.Unmarshal([]byte(k.call("GET", "/openapi.json", "", "").raw), &d))
	for path, methods := range d.Paths {
		for _, op := range methods {
			if !strings.Contains(all.raw, `id="`+op.OperationID+`"`) {
				t.Errorf("%s: got no %s in the page, want it", path, op.OperationID)
			}
		}
	}
}
