package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// documentPath is where the description is, at the root as tools look for it.
const documentPath = "/openapi.json"

// What the description says beside what the routes say themselves.
const (
	about = "Keeper stands between agents and the APIs that they call: an agent holds a short-lived token, and keeper the keys. " +
		"These routes manage agents, tokens, keys and the audit log; `/api/v1/proxy/…` makes the calls. " +
		"Every error has a code, and every code a page under `/docs/errors`. Every answer bears `Keeper-Request-Id`, by which the audit log is searched."
	aboutBearer = "A token of an agent's, or the admin token. Routes say which scope it must cover."
	aboutCookie = "The dashboard's session, which its own sign-in sets; over TLS the cookie is called __Host-keeper_session."
)

// sections say under which heading a route stands, by the beginning of its path; the
// first that fits counts.
var sections = []struct{ prefix, name, about string }{
	{root + "/auth", "Authentication", "How agents register and get tokens, and how tokens end."},
	{root + "/tokens", "Authentication", ""},
	{root + "/agents", "Agents", "Who may call, and what."},
	{root + "/vault", "Vault", "The keys that keeper holds. No route shows a value."},
	{root + "/keys", "Vault", ""},
	{root + "/providers", "Providers", "The APIs that can be called, and what their scopes cover."},
	{root + "/proxy", "Calls", "Calls of agents to providers, by way of keeper."},
	{root + "/audit", "Audit", "What happened: reading, following, exporting and proving it."},
	{root + "/scan", "Scanner", "Looking for secrets in texts."},
	{"", "Keeper", "Keeper itself: health, figures, keys and this description."},
}

func sectionOf(path string) string {
	for _, s := range sections {
		if strings.HasPrefix(path, s.prefix) {
			return s.name
		}
	}
	return ""
}

// Codes that any route can answer with, and those that come with a guard or a body.
var (
	codesOfAll    = []string{"invalid_request", "cross_origin_refused", "internal_error", "audit_unavailable", "store_unavailable"}
	codesOfTokens = []string{codeTokenMissing, "token_invalid", "token_expired", "token_revoked", "session_ended", "session_key_missing", "scope_denied", codeRateLimited, "audit_tampered", "vault_corrupt"}
	codesOfGuards = map[guard][]string{holder: codesOfTokens, walkIn: codesOfTokens, proven: codesOfTokens, stranger: {codeRateLimited, "audit_tampered"}}
	guardSentence = map[guard]string{
		walkIn:   "A token is looked at where one is sent; without one, the route does what a stranger may ask.",
		proven:   "Needs a token or a session, whatever it covers.",
		stranger: "Needs no token. Addresses that fail too often are refused.",
		anyone:   "Needs no token.",
	}
)

// statusOf is the status that a code is answered with: the table's, or that of an error
// whose sentence names a field.
func statusOf(code string) int {
	particulars := map[string]int{
		"invalid_request": http.StatusBadRequest, "scope_denied": http.StatusForbidden, storeReply.code: storeReply.status,
		codeCluster: http.StatusConflict, "subject_token_invalid": http.StatusUnauthorized, "subject_token_expired": http.StatusUnauthorized,
	}
	if status, known := particulars[code]; known {
		return status
	}
	for _, row := range replies {
		if row.code == code {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// codes of a route, by status, sorted.
func (r route) byStatus(body bool) map[int][]string {
	all := slices.Concat(codesOfAll, codesOfGuards[r.guard], r.codes)
	if body {
		all = append(all, "body_too_large")
	}
	slices.Sort(all)
	grouped := map[int][]string{}
	for _, code := range slices.Compact(all) {
		status := statusOf(code)
		if r.oauth && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
			status = http.StatusBadRequest
		}
		grouped[status] = append(grouped[status], code)
	}
	return grouped
}

// refusals are the answers of a route that refuse, each with the codes it can bear.
func (s *surface) refusals(r route, body bool) map[string]*huma.Response {
	shape := s.schemaOf(errorBody{})
	if r.oauth {
		shape = s.schemaOf(oauthBody{})
	}
	all := map[string]*huma.Response{}
	for status, codes := range r.byStatus(body) {
		all[strconv.Itoa(status)] = Refusal(shape, codes)
	}
	return all
}

// Refusal describes an answer of the shape that bears one of the codes.
func Refusal(shape *huma.Schema, codes []string) *huma.Response {
	named := &huma.Schema{Properties: map[string]*huma.Schema{"code": {Description: "Which", Type: huma.TypeString, Enum: texts(codes)}}}
	return &huma.Response{
		Description: "Refused: " + linked(codes) + ".",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{AllOf: []*huma.Schema{shape, named}}}},
	}
}

// linked names codes in Markdown, each with its page.
func linked(codes []string) string {
	links := make([]string, len(codes))
	for i, code := range codes {
		links[i] = fmt.Sprintf("[`%s`](%s%s)", code, errorPages, code)
	}
	return strings.Join(links, ", ")
}

func texts(list []string) []any {
	all := make([]any, len(list))
	for i, text := range list {
		all[i] = text
	}
	return all
}

// describe adds to an operation what its route says, once the framework has added what
// input and output say.
func (s *surface) describe(r route, op *huma.Operation) {
	op.Tags = []string{sectionOf(r.path)}
	op.Security = []map[string][]string{}
	sentence := guardSentence[r.guard]
	switch r.guard {
	case holder:
		op.Security = s.proofs()
		sentence = "Needs the scope `" + r.needs.String() + "`."
	case proven:
		op.Security = s.proofs()
	case walkIn:
		op.Security = append(s.proofs(), map[string][]string{})
	}
	op.Description = strings.TrimSpace(r.about + " " + sentence)
	if op.RequestBody != nil {
		op.RequestBody.Description = "What is asked for."
	}
	s.describeAnswers(r, op)
}

// proofs are the ways to show who calls; a cookie counts where the dashboard is.
func (s *surface) proofs() []map[string][]string {
	ways := []map[string][]string{{"bearer": {}}}
	if !s.public {
		ways = append(ways, map[string][]string{"session": {}})
	}
	return ways
}

func (s *surface) describeAnswers(r route, op *huma.Operation) {
	delete(op.Responses, "default")
	ok := op.Responses[strconv.Itoa(cmp.Or(op.DefaultStatus, http.StatusOK))]
	ok.Description = "What was asked for."
	if r.media != nil {
		ok.Content = r.media
	}
	delete(ok.Headers, "Content-Type") // which Content says
	for status, response := range s.refusals(r, op.RequestBody != nil) {
		op.Responses[status] = response
	}
	for status, shape := range r.also {
		s.describeAlso(op, strconv.Itoa(status), shape)
	}
	for _, response := range op.Responses {
		if response.Headers == nil {
			response.Headers = map[string]*huma.Param{}
		}
		response.Headers[requestIDHeader] = &huma.Param{
			Description: "Id of the call, which its audit entries bear", Schema: &huma.Schema{Type: huma.TypeString}, Example: exampleID,
		}
	}
}

// describeAlso adds an answer with a status of the route's own, beside that of a refusal
// where there is one. A nil shape has no body.
func (s *surface) describeAlso(op *huma.Operation, status string, shape any) {
	if shape == nil {
		op.Responses[status] = &huma.Response{Description: "Nothing has changed."}
		return
	}
	own := s.schemaOf(shape)
	if refusal, both := op.Responses[status]; both {
		content := refusal.Content["application/json"]
		content.Schema = &huma.Schema{AnyOf: []*huma.Schema{own, content.Schema}}
		refusal.Description = "The route's own answer of that status, or refused: " + strings.TrimPrefix(refusal.Description, "Refused: ")
		return
	}
	op.Responses[status] = &huma.Response{
		Description: "The route's own answer of that status.", Content: map[string]*huma.MediaType{"application/json": {Schema: own}},
	}
}

// complete ends the document: with the routes that others serve on this listener, and
// with words and examples for everything.
func (s *surface) complete() error {
	doc := s.huma.OpenAPI()
	delete(doc.Components.Schemas.Map(), "ErrorModel") // the framework's, which no route answers
	delete(doc.Components.Schemas.Map(), "ErrorDetail")
	if details := doc.Components.Schemas.Map()["Entry"]; details != nil {
		details.Properties["details"].Type, details.Properties["details"].AdditionalProperties = huma.TypeObject, true
	}
	if s.others != nil {
		s.others(doc, s.public)
	}
	if !s.public {
		doc.Components.SecuritySchemes["session"] = &huma.SecurityScheme{Type: "apiKey", In: "cookie", Name: "keeper_session", Description: aboutCookie}
	}
	w := words{fieldWords(), doc.Components.Schemas.Map()}
	for name, schema := range w.schemas {
		w.schema(name, schema)
	}
	used := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, op := range Operations(doc.Paths[path]) {
			w.operation(op)
			for _, tag := range op.Tags {
				used[tag] = true
			}
		}
	}
	for _, one := range sections {
		if used[one.name] && one.about != "" {
			doc.Tags = append(doc.Tags, &huma.Tag{Name: one.name, Description: one.about})
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("writing the description of the routes: %w", err)
	}
	s.document = text
	return nil
}

// Operations are those of a path, by method.
func Operations(p *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{
		http.MethodGet: p.Get, http.MethodPut: p.Put, http.MethodPost: p.Post, http.MethodDelete: p.Delete,
		http.MethodOptions: p.Options, http.MethodHead: p.Head, http.MethodPatch: p.Patch,
	}
	maps.DeleteFunc(all, func(_ string, op *huma.Operation) bool { return op == nil })
	return all
}

func (w words) operation(op *huma.Operation) {
	for _, p := range op.Parameters {
		w.parameter(p)
	}
	if op.RequestBody != nil {
		w.media(op.RequestBody.Content)
	}
	for _, response := range op.Responses {
		for name, h := range response.Headers {
			h.Description = firstText(h.Description, headerWords[name])
		}
		w.media(response.Content)
	}
}

var headerWords = map[string]string{
	"Cache-Control": "How long the answer may be kept", "ETag": "What If-None-Match is compared with", "Pragma": "As RFC 6749 wants it",
}

// media gives a body its example. That of a refusal bears the first of its codes.
func (w words) media(content map[string]*huma.MediaType) {
	for _, m := range content {
		if m.Example != nil || m.Schema == nil {
			continue
		}
		shape := m.Schema
		if len(shape.AnyOf) > 0 {
			shape = shape.AnyOf[0]
		}
		if len(shape.AllOf) == 2 {
			m.Example = w.refusal(shape)
			continue
		}
		m.Example = w.example(shape)
	}
}

// refusal is an example with the code and the sentence that belong together.
func (w words) refusal(shape *huma.Schema) any {
	object, _ := w.example(shape.AllOf[0]).(map[string]any)
	code, _ := shape.AllOf[1].Properties["code"].Enum[0].(string)
	object["code"] = code
	sentence := "One sentence that names what is wrong and the mend."
	for _, row := range replies {
		if row.code == code {
			sentence = row.sentence
			break
		}
	}
	for _, name := range []string{"error_description", "error"} {
		if _, there := object[name]; there {
			object[name] = sentence
			break
		}
	}
	for _, name := range []string{"documentationUrl", "error_uri"} {
		if _, there := object[name]; there {
			object[name] = errorPages + code
		}
	}
	return object
}
