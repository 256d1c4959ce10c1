package manual_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/superinstance/keeper/docs"
	"github.com/superinstance/keeper/internal/manual"
)

// hostile is a description whose every text tries to be more than text.
func hostile(t *testing.T) []byte {
	t.Helper()
	evil := `\"><script>alert(1)</script><img src=x onerror=alert(2)>[x](javascript:alert(3))`
	return fmt.Appendf(nil, `{"info":{"title":"Keeper","version":"%[1]s","description":"%[1]s"},"tags":[{"name":"Calls","description":"%[1]s"}],
		"paths":{"/p/{id}":{"post":{"operationId":"call","summary":"%[1]s","description":"%[1]s","tags":["Calls"],"security":[{"bearer":[]}],
		"parameters":[{"name":"id","in":"path","description":"%[1]s","schema":{"type":"string","enum":["a","b"]}}],
		"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"},"example":{"text":"%[1]s"}}}},
		"responses":{"200":{"description":"%[1]s","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"},"example":"%[1]s"}}}}}}},
		"components":{"schemas":{"Thing":{"properties":{"text":{"type":["string","null"],"description":"%[1]s"}}}}}}`, evil)
}

func pages(t *testing.T, document []byte) (*manual.Manual, []string) {
	t.Helper()
	m := manual.New(document)
	paths, err := m.Paths()
	if err != nil {
		t.Fatal(err)
	}
	return m, paths
}

func page(t *testing.T, m *manual.Manual, at string) string {
	t.Helper()
	p, found, err := m.Page(at)
	if err != nil || !found {
		t.Fatalf("%s: got %v, %v, want a page", at, found, err)
	}
	return string(p.Body)
}

func TestEachCodeOfTheErrorsPageHasItsOwn(t *testing.T) {
	m, _ := pages(t, hostile(t))
	text, err := docs.Pages.ReadFile("errors.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?m)^## ([a-z_]+)$`).FindAllSubmatch(text, -1)
	if len(codes) < 40 {
		t.Fatalf("got %d codes in errors.md, want all", len(codes))
	}
	for _, code := range codes {
		got := page(t, m, "/docs/errors/"+string(code[1]))
		if !strings.Contains(got, "<h1><code>"+string(code[1])+"</code></h1>") || strings.Count(got, "<p>") < 3 {
			t.Errorf("%s: got %.300s, want a page about it", code[1], got)
		}
	}
	if got := page(t, m, "/docs/errors/scope_denied"); !strings.Contains(got, "lists what a scope covers") || strings.Contains(got, "secret_in_request") {
		t.Errorf("scope_denied: got %s, want what errors.md says of it alone", got)
	}
}

// walk visits every element of a page.
func walk(t *testing.T, text string, visit func(*html.Node)) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			visit(n)
		}
	}
}

func TestPagesNeedNothingFromElsewhereAndRunNothing(t *testing.T) {
	m, paths := pages(t, hostile(t))
	for _, at := range paths {
		p, _, _ := m.Page(at)
		if !strings.HasPrefix(p.Type, "text/html") {
			continue
		}
		walk(t, string(p.Body), func(n *html.Node) {
			for _, a := range n.Attr {
				loads := a.Key == "src" || a.Key == "href" && n.Data == "link"
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || loads && !strings.HasPrefix(a.Val, "/docs/") || strings.HasPrefix(a.Val, "javascript:") {
					t.Errorf("%s: got <%s %s=%q>, want no code, no style and nothing from elsewhere", at, n.Data, a.Key, a.Val)
				}
			}
			if n.Data == "script" && n.FirstChild != nil || n.Data == "style" || n.Data == "img" || n.Data == "iframe" || n.Data == "form" {
				t.Errorf("%s: got a <%s>, want none", at, n.Data)
			}
		})
	}
}

func TestEveryLinkOfThePagesLeadsSomewhere(t *testing.T) {
	m, paths := pages(t, hostile(t))
	ids := map[string]bool{"/openapi.json": true}
	links := map[string][]string{}
	for _, at := range paths {
		p, _, _ := m.Page(at)
		ids[at] = true
		if !strings.HasPrefix(p.Type, "text/html") {
			continue
		}
		walk(t, string(p.Body), func(n *html.Node) {
			for _, a := range n.Attr {
				switch {
				case a.Key == "id":
					ids[at+"#"+a.Val] = true
				case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
					links[at] = append(links[at], at+a.Val)
				case a.Key == "href" && strings.HasPrefix(a.Val, "/"):
					links[at] = append(links[at], a.Val)
				}
			}
		})
	}
	for at, all := range links {
		for _, to := range all {
			if !ids[to] {
				t.Errorf("%s: got a link to %s, where nothing is", at, to)
			}
		}
	}
}

func TestReferenceShowsEveryCallWithItsFieldsAndErrors(t *testing.T) {
	m, _ := pages(t, hostile(t))
	got := page(t, m, "/docs/api")
	for _, want := range []string{`id="call"`, "/p/{id}", "one of a, b", "string or null", `href="#schema-thing"`, "curl -X POST -H &#34;Authorization: Bearer $KEEPER_TOKEN&#34;", "&lt;script&gt;"} {
		if !strings.Contains(got, want) {
			t.Errorf("got no %s in the reference, want it", want)
		}
	}
}
