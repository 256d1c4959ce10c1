package policy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
	"pgregory.net/rapid"
)

// readsGraphQL reports whether a token that may only read may send the body.
func readsGraphQL(t testing.TB, c *policy.Catalogue, contentType, query, body string) bool {
	t.Helper()
	spec := policy.CallSpec{Provider: "github", Method: "POST", EscapedPath: "/graphql", RawQuery: query, Header: http.Header{}}
	if contentType != "" {
		spec.Header.Set("Content-Type", contentType)
	}
	call := newCall(t, spec)
	if !c.NeedsBody(call) {
		t.Fatal("NeedsBody: got false for POST /graphql, want true")
	}
	_, err := c.Authorize(claimsOf(t, "github:read"), call.WithBody([]byte(body)))
	_, writeErr := c.Authorize(claimsOf(t, "github:write"), call.WithBody([]byte(body)))
	if (err == nil) == (writeErr == nil) {
		t.Fatalf("%q: read got %v and write got %v, want exactly one of them allowed", body, err, writeErr)
	}
	return err == nil
}

func requestOf(t testing.TB, document string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestGraphQLDocumentsOfQueriesAloneAreReads(t *testing.T) {
	c := builtin(t)
	for _, document := range []string{
		`{viewer{login}}`, `query{viewer{login}}`, `query A($n: Int = 5, $o: In = {a: [1, {b: "}"}]}) @d(x: {y: 1}) { a(first: $n) { ...F } } fragment F on T { b }`,
		"# mutation { x }\n{ a }", "{ a } # mutation", `{ a(text: "mutation { b }") }`, "{ a(text: \"\"\"\nmutation { b } \\\"\"\" \"\"\") }", `{ a(t: "\"mutation") }`,
		`query A { a } query B { b }`, "\n\t ,{ a },", `{ __schema { mutationType { name } } }`, `{ a(n: -1.5e3, m: 0) }`, "{ a }\r\n# x\r\n", `{ ... on T { a } ...F } fragment F on T { b }`,
		`{ a(t: "é") }`,
	} {
		if !readsGraphQL(t, c, "application/json", "", requestOf(t, document)) {
			t.Errorf("%q: got a mutation, want a query", document)
		}
	}
}

func TestWhatIsNotCertainlyAQueryIsAMutation(t *testing.T) {
	c := builtin(t)
	for _, document := range []string{
		`mutation{a}`, `mutation M { a }`, `subscription { a }`, `query A { a } mutation B { b }`, `mutation B { b } query A { a }`, `{ a } mutation { b }`,
		"# query\nmutation { a }", "#\rmutation { a }", "#\r\"\"\"\nmutation { a } #\"\"\"", "{ a } #\u2028 mutation", `"" mutation { a }`, `"d" query { a }`, `fragment F on T { a }`, ``, ` `, `{`, `{ a`, `}`,
		`{ a } }`, `{ a(x: "unterminated) }`, `{ a(x: """unterminated) }`, "{ a(x: \"line\nbreak\") }", `{ a(x: "\q") }`, `{ a ) }`, `Query { a }`, `QUERY { a }`, `type T { a: B }`,
		`query A`, `query A {`, `query ({ a }`, "\ufeff{ a }", `{ a } ; { b }`, `{ a % b }`, `{ mutation }`, "{ a }\x00", `extend type Mutation { a: B }`, `{ a } schema { query: Q }`,
	} {
		if readsGraphQL(t, c, "application/json", "", requestOf(t, document)) {
			t.Errorf("%q: got a query, want a mutation", document)
		}
	}
}

func TestBodiesThatServersCouldReadInTwoWaysAreMutations(t *testing.T) {
	c := builtin(t)
	q := `"query":"{a}"`
	for _, body := range []string{
		``, `null`, `[]`, `""`, `[{` + q + `}]`, `{` + q + `} {` + q + `}`, `{` + q + `}]`, `{` + q, `{` + q + `,}`, `{"query":"mutation{a}",` + q + `}`, `{` + q + `,"query":"mutation{a}"}`,
		`{` + q + `,"quer\u0079":"mutation{a}"}`, `{` + q + `,"Query":"mutation{a}"}`, `{"query":null}`, `{"query":["{a}"]}`, `{"query":1}`, `{"variables":{}}`, `{` + q + `,"id":"x"}`,
		`{` + q + `,"extensions":{"persistedQuery":{}}}`, `{` + q + `,"operationName":1}`, `{` + q + `,"variables":"{}"}`, "{\"query\":\"{a}\xff\"}", `/* */{` + q + `}`, `query=mutation{a}`,
		`{"query":"{a} \ud800"}`,
	} {
		if readsGraphQL(t, c, "application/json", "", body) {
			t.Errorf("%q: got a query, want a mutation", body)
		}
	}
	for _, body := range []string{` {` + q + `, "variables" : { "query": "mutation", "query": 1 } , "operationName": null } `, `{"operationName":"A","query":"query A{a}","variables":null}`} {
		if !readsGraphQL(t, c, "application/json", "", body) {
			t.Errorf("%q: got a mutation, want a query", body)
		}
	}
}

func TestMediaTypeDecidesHowABodyIsRead(t *testing.T) {
	c := builtin(t)
	plain, splitting := `{"query":"{a}"}`, `{"query":"{a}","variables":{"x":"&query=mutation{a}&"}}`
	for _, v := range []struct {
		contentType, query, body string
		want                     bool
	}{
		{"application/json", "", plain, true}, {"application/json; charset=utf-8", "", plain, true}, {"application/json", "", splitting, true},
		{"", "", plain, true}, {"application/x-www-form-urlencoded", "", plain, true},
		{"", "", splitting, false}, {"application/x-www-form-urlencoded", "", splitting, false}, {"application/x-www-form-urlencoded", "", strings.ReplaceAll(splitting, "&", ";"), false},
		{"application/json; charset=utf-16", "", plain, false}, {"multipart/form-data; boundary=x", "", plain, false}, {"application/graphql", "", `{a}`, false},
		{"text/plain", "", plain, false}, {"application/json, text/plain", "", plain, false}, {"nonsense/", "", plain, false},
		{"application/json", "query=mutation{a}", plain, false}, {"application/json", "x=y", plain, false},
	} {
		if got := readsGraphQL(t, c, v.contentType, v.query, v.body); got != v.want {
			t.Errorf("%q ?%s %q: got query %v, want %v", v.contentType, v.query, v.body, got, v.want)
		}
	}
	spec := policy.CallSpec{Provider: "github", Method: "POST", EscapedPath: "/graphql", Header: http.Header{"Content-Type": {"application/json", "application/x-www-form-urlencoded"}}}
	if _, err := try(t, c, []string{"github:read"}, spec, plain); err == nil {
		t.Error("two media types: got a query, want a mutation")
	}
}

func TestBodyThatWasNotReadNeedsReadAndWrite(t *testing.T) {
	c := builtin(t)
	call := newCall(t, policy.CallSpec{Provider: "github", Method: "POST", EscapedPath: "/graphql"})
	for _, scopes := range [][]string{{"github:read"}, {"github:write"}} {
		if _, err := c.Authorize(claimsOf(t, scopes...), call); err == nil {
			t.Errorf("%v: got it allowed, want a refusal", scopes)
		}
	}
	if _, err := c.Authorize(claimsOf(t, "github:read", "github:write"), call); err != nil {
		t.Errorf("both: got %v, want it allowed", err)
	}
}

func TestOnlyCallsThatDependOnTheirBodyNeedIt(t *testing.T) {
	c := builtin(t)
	for text, want := range map[string]bool{
		"github POST /graphql": true, "github POST /graphql/": true, "linear POST /graphql": true, "gitlab POST /api/graphql": true, "github POST //graphql": true,
		"github GET /graphql": false, "github POST /repos/o/r/issues": false, "openai POST /v1/chat/completions": false, "nobody POST /graphql": false,
	} {
		provider, call, _ := strings.Cut(text, " ")
		spec, _ := specOf(provider, call)
		if got := c.NeedsBody(newCall(t, spec)); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

// mutationDocuments draws documents that hold an operation other than a query,
// between definitions that hide things in strings and comments.
func mutationDocuments() *rapid.Generator[string] {
	filler := rapid.SampledFrom([]string{
		"", " ", "\n", ",", "# mutation\n", "#\"\"\"\n", "query A { a }", "{ a(x: \"}\") }", "{ a(x: \"\"\" } \"\"\") }", "fragment F on T { a }", "query B($x: I = {a: 1}) { b }", "{ a(x: \"\\\"\") }", "{ a } # \"\n",
	})
	return rapid.Custom(func(t *rapid.T) string {
		before := rapid.SliceOfN(filler, 0, 4).Draw(t, "before")
		after := rapid.SliceOfN(filler, 0, 4).Draw(t, "after")
		operation := rapid.SampledFrom([]string{"mutation{x}", "mutation M($a: B) { x }", "mutation @d { x }", "subscription S { x }"}).Draw(t, "operation")
		return strings.Join(before, "") + operation + strings.Join(after, "")
	})
}

func TestMutationAmongOtherDefinitionsIsFound(t *testing.T) {
	c := builtin(t)
	rapid.Check(t, func(rt *rapid.T) {
		document := mutationDocuments().Draw(rt, "document")
		if readsGraphQL(t, c, "application/json", "", requestOf(t, document)) {
			rt.Fatalf("%q: got a query, want a mutation", document)
		}
	})
}

func FuzzMutationIsNeverAQuery(f *testing.F) {
	c := builtin(f)
	for _, seed := range [][2]string{{"", ""}, {"{a}", "{b}"}, {"# x\n", `"`}, {"{ a(x: \"\"\"\"\"\") }", "}"}, {"query A($x: I = {a: 1}) { b }\n", "#"}, {"{", "}"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		alone := readsGraphQL(t, c, "application/json", "", requestOf(t, before))
		whole := readsGraphQL(t, c, "application/json", "", requestOf(t, before+"\nmutation M { m }\n"+after))
		if alone && whole {
			t.Fatalf("%q is whole, and yet a mutation after it is not seen", before)
		}
		readsGraphQL(t, c, "application/json", "", before)
	})
}
