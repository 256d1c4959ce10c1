package api_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// description is the document as a reader of OpenAPI sees it, as far as the tests look.
type description struct {
	Paths      map[string]map[string]operation
	Tags       []struct{ Name, Description string }
	Components struct {
		Schemas         map[string]schema
		SecuritySchemes map[string]any
	}
}

type operation struct {
	OperationID, Summary, Description string
	Tags                              []string
	Security                          []map[string][]string
	Parameters                        []struct {
		Name, In, Description string
		Example               any
	}
	RequestBody struct{ Content map[string]media }
	Responses   map[string]struct {
		Description string
		Content     map[string]media
	}
}

type media struct {
	Schema  schema
	Example any
}

type schema struct {
	Ref         string `json:"$ref"`
	Type        any
	Description string
	Properties  map[string]schema
	Items       *schema
	AllOf       []schema
	AnyOf       []schema
	Enum        []any
}

// described returns the document of a listener.
func (k *keeper) described(of *httptest.Server) (d description) {
	k.t.Helper()
	resp, err := of.Client().Get(of.URL + "/openapi.json")
	must(k.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(k.t, err)
	must(k.t, json.Unmarshal(raw, &d))
	return d
}

// operation is the one that a request is to, or a zero one.
func (d description) operation(method, path string) operation {
	path, _, _ = strings.Cut(path, "?")
	asked := strings.Split(path, "/")
	for template, methods := range d.Paths {
		parts := strings.Split(template, "/")
		same := len(parts) == len(asked)
		for i := range min(len(parts), len(asked)) {
			same = same && (parts[i] == asked[i] || strings.HasPrefix(parts[i], "{") && asked[i] != "")
		}
		if op, there := methods[strings.ToLower(method)]; same && there && !strings.Contains(template, "/proxy/") {
			return op
		}
	}
	return operation{}
}

// codes are those that the schema of a refusal lists.
func (s schema) codes() (all []string) {
	for _, part := range slices.Concat(s.AllOf, s.AnyOf) {
		all = append(all, part.codes()...)
		for _, code := range part.Properties["code"].Enum {
			all = append(all, code.(string))
		}
	}
	return all
}

// wantDescribed fails the test unless the document tells of an answer like this.
func (k *keeper) wantDescribed(of *httptest.Server, method, path string, a answer) {
	k.t.Helper()
	k.mu.Lock()
	if k.documents == nil {
		k.documents = map[*httptest.Server]description{}
	}
	d, known := k.documents[of]
	k.mu.Unlock()
	if !known {
		d = k.described(of)
		k.mu.Lock()
		k.documents[of] = d
		k.mu.Unlock()
	}
	op := d.operation(method, path)
	if op.OperationID == "" {
		return
	}
	told, there := op.Responses[strconv.Itoa(a.status)]
	code := a.code()
	if !there {
		k.t.Errorf("%s %s: got %d (%s), which the description of %s does not tell of; add the code to its route", method, path, a.status, code, op.OperationID)
		return
	}
	if a.text("documentationUrl")+a.text("error_uri") == "" {
		return
	}
	if known := told.Content["application/json"].Schema.codes(); !slices.Contains(known, code) {
		k.t.Errorf("%s %s: got %d with code %s, want one of those that the description of %s tells of: %v", method, path, a.status, code, op.OperationID, known)
	}
}

func TestDescriptionIsComplete(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	d := k.described(k.all)
	for name, s := range d.Components.Schemas {
		for field, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("schema %s: field %s has no description; give it a doc tag", name, field)
			}
		}
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			at := method + " " + path
			if op.Summary == "" || op.Description == "" || len(op.Tags) != 1 || op.Tags[0] == "" || op.Security == nil {
				t.Errorf("%s: got %q, %q, tags %v, security %v, want all of them", at, op.Summary, op.Description, op.Tags, op.Security)
			}
			for _, p := range op.Parameters {
				if p.Description == "" {
					t.Errorf("%s: parameter %s has no description; give it a doc tag", at, p.Name)
				}
			}
			for media, body := range op.RequestBody.Content {
				if body.Example == nil {
					t.Errorf("%s: the body as %s has no example", at, media)
				}
			}
			for status, r := range op.Responses {
				if r.Description == "" || status == "default" {
					t.Errorf("%s: answer %s has no description, or no status", at, status)
				}
				for media, body := range r.Content {
					if body.Example == nil {
						t.Errorf("%s: answer %s as %s has no example", at, status, media)
					}
				}
			}
		}
	}
	if len(d.Tags) < 5 || d.Components.SecuritySchemes["bearer"] == nil || d.Components.SecuritySchemes["session"] == nil {
		t.Errorf("got sections %v and security %v, want them all", d.Tags, d.Components.SecuritySchemes)
	}
}

func TestExamplesHoldNoTextOfTheSources(t *testing.T) {
	t.Parallel()
	one, other := newKeeper(t, settings{}), newKeeper(t, settings{})
	value := func(k *keeper) any {
		body := k.described(k.all).Paths["/api/v1/vault"]["post"].RequestBody.Content["application/json"].Example
		return body.(map[string]any)["value"]
	}
	if a, b := value(one), value(other); a == b || a == nil {
		t.Errorf("the example of a secret: got %v and %v, want one that is made at each start", a, b)
	}
}

func TestAgentsListenerDescribesItsOwnRoutesAlone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	var want []string
	for _, r := range contract {
		path, _, _ := strings.Cut("/api/v1"+r.path, "?")
		path = strings.NewReplacer("/api/v1/.", "/.", "/api/v1/ca.pem", "/ca.pem", "/api/v1/openapi", "/openapi").Replace(path)
		if r.public {
			want = append(want, path)
		}
	}
	want = append(want, "/api/v1/auth/exchange", "/livez", "/readyz")
	slices.Sort(want)
	got := k.described(k.public)
	if paths := slices.Sorted(maps.Keys(got.Paths)); !slices.Equal(paths, want) {
		t.Errorf("got %v, want %v", paths, want)
	}
	if got.Components.SecuritySchemes["session"] != nil || got.Components.Schemas["Secrets"].Properties != nil {
		t.Errorf("got %v and the schema of the vault's list, want neither it nor a cookie", got.Components.SecuritySchemes)
	}
}
