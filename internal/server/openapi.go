package server

import (
	"crypto/rand"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/proxy"
)

const (
	proxyRoute = proxy.Prefix + "{provider}/{path}"
	aboutProxy = "The path behind the provider is the provider's own, from its root, kept byte for byte; here it may have slashes. " +
		"A credential is named by its label: `github@bot`. The token goes where the API key would: `Authorization`, `x-api-key`, `api-key`, `x-goog-api-key`, or `?key=`. " +
		"The answer is the provider's own, as it streams, with every secret in it replaced. What bears the header `Keeper-Code` is keeper's refusal, " +
		"in the shape that the provider's clients show; the one described here is that of most. " +
		"Every other method is passed on as these are, except CONNECT and TRACE."
	aboutEnvelope = " A POST without a token in its headers whose body is an envelope is answered in one: 200 with the provider's status and body."
)

// The bodies of the proxy route, for the description alone: the proxy writes them.
type (
	refusalBody struct {
		Type             string       `json:"type" doc:"error" enum:"error"`
		Error            refusalError `json:"error" doc:"As OpenAI's, Anthropic's and Google's clients read it"`
		Message          string       `json:"message" doc:"The sentence again, as others read it; it begins with keeper:"`
		DocumentationURL string       `json:"documentation_url" doc:"The page about the code, in this keeper"`
		RequestID        string       `json:"request_id" doc:"The id that the audit entries of the call bear" example:"req_example"`
	}
	refusalError struct {
		Type    string  `json:"type" doc:"Kind of error" enum:"authentication_error,permission_error,not_found_error,invalid_request_error,rate_limit_error,api_error"`
		Code    string  `json:"code" doc:"The code, as in the header Keeper-Code"`
		Message string  `json:"message" doc:"What was refused and the mend; it begins with keeper:" example:"keeper: scope github:write is needed"`
		Param   *string `json:"param" doc:"Always null"`
		Status  string  `json:"status" doc:"As google.rpc.Code names it" example:"PERMISSION_DENIED"`
	}
	envelopeBody struct {
		Token   string            `json:"token" doc:"A token of the agent's"`
		Method  string            `json:"method,omitempty" doc:"POST without it" example:"POST"`
		Headers map[string]string `json:"headers,omitempty" doc:"Of the call"`
		Body    any               `json:"requestBody,omitempty" doc:"JSON as it is to be sent, or a text where headers say that it is none"`
	}
	envelopeAnswer struct {
		Status   int              `json:"status" doc:"That the provider answered" example:"200"`
		Body     any              `json:"body" doc:"Its JSON, its text, or {base64: …}"`
		Findings []map[string]any `json:"responseScanFindings" nullable:"false" doc:"What was replaced in it"`
	}
	envelopeRefusal struct {
		Error     string           `json:"error" doc:"One sentence that a person can act on"`
		Code      string           `json:"code" doc:"The code, as in the header Keeper-Code"`
		RequestID string           `json:"requestId" doc:"The id that the audit entries of the call bear"`
		Docs      string           `json:"documentationUrl" doc:"The page about the code, in this keeper"`
		Findings  []map[string]any `json:"scanFindings,omitempty" doc:"What was found in the request"`
	}
)

// describeProxy adds the proxy route to a description, where the listener has it.
func (s *Server) describeProxy(doc *huma.OpenAPI, public bool) {
	if s.config.AdminAddr != "" && !public {
		return
	}
	schemas := doc.Components.Schemas
	of := func(body any) *huma.Schema { return schemas.Schema(reflect.TypeOf(body), true, "") }
	own := &huma.Schema{Description: "The provider's own body"}
	refused := &huma.Schema{AnyOf: []*huma.Schema{of(refusalBody{}), of(envelopeRefusal{}), own}}
	for _, method := range []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
	} {
		op := proxyOperation(method, refused, own)
		if method == http.MethodPost {
			op.Description += aboutEnvelope
			op.RequestBody.Content["application/json"] = &huma.MediaType{Schema: &huma.Schema{AnyOf: []*huma.Schema{of(envelopeBody{}), own}}, Example: envelopeExample()}
			op.Responses["200"].Content["application/json"] = &huma.MediaType{Schema: &huma.Schema{AnyOf: []*huma.Schema{of(envelopeAnswer{}), own}}, Example: map[string]any{
				"status": http.StatusOK, "body": map[string]any{"id": "resp_1"}, "responseScanFindings": []any{},
			}}
		}
		doc.AddOperation(op)
	}
}

func envelopeExample() map[string]any {
	return map[string]any{
		"token": rand.Text(), "method": http.MethodPost, "requestBody": map[string]any{"model": "gpt-5", "input": "Hello"},
	}
}

func proxyOperation(method string, refused, own *huma.Schema) *huma.Operation {
	text, least := huma.TypeString, 1
	op := &huma.Operation{
		OperationID: "proxy" + method[:1] + strings.ToLower(method[1:]), Method: method, Path: proxyRoute, Tags: []string{"Calls"},
		Summary: "Call a provider with " + method, Description: aboutProxy,
		Security: []map[string][]string{{"bearer": {}}, {}},
		Parameters: []*huma.Param{
			{Name: "provider", In: "path", Required: true, Description: "The provider, and behind @ the label of a credential", Schema: &huma.Schema{Type: text, MinLength: &least}, Example: "openai"},
			{Name: "path", In: "path", Required: true, Description: "The path at the provider", Schema: &huma.Schema{Type: text, MinLength: &least}, Example: "models"},
		},
		Responses: map[string]*huma.Response{
			"200":     {Description: "The provider's answer.", Headers: requestIDHeader(), Content: map[string]*huma.MediaType{"*/*": {Schema: own, Example: "…"}}},
			"default": {Description: "The provider's answer, of whatever status.", Headers: requestIDHeader(), Content: map[string]*huma.MediaType{"*/*": {Schema: own, Example: "…"}}},
		},
	}
	if method != http.MethodGet && method != http.MethodHead {
		op.RequestBody = &huma.RequestBody{Description: "What the provider wants.", Content: map[string]*huma.MediaType{"*/*": {Schema: own, Example: "…"}}}
	}
	for status, codes := range proxy.Codes() {
		op.Responses[strconv.Itoa(status)] = proxyRefusal(codes, refused)
	}
	return op
}

func requestIDHeader() map[string]*huma.Param {
	return map[string]*huma.Param{"Keeper-Request-Id": {
		Description: "Id of the call, which its audit entries bear", Schema: &huma.Schema{Type: huma.TypeString},
	}}
}

// proxyRefusal describes the answers of a status: keeper's where they bear a code.
func proxyRefusal(codes []string, refused *huma.Schema) *huma.Response {
	response := api.Refusal(refused, codes)
	response.Description = "With the header Keeper-Code, " + strings.ToLower(response.Description[:1]) + response.Description[1:] + " Without it, the provider's own answer."
	response.Headers = requestIDHeader()
	response.Headers["Keeper-Code"] = &huma.Param{Description: "The code of keeper's refusal; absent from a provider's answer", Schema: &huma.Schema{Type: huma.TypeString, Enum: anys(codes)}}
	sentence := "keeper: a sentence that names rule, scope or mend"
	response.Content = map[string]*huma.MediaType{
		"application/json": {Schema: refused, Example: map[string]any{
			"type": "error", "message": sentence, "documentation_url": errorPages + codes[0], "request_id": "req_example",
			"error": map[string]any{"type": proxy.ErrorType(codes[0]), "code": codes[0], "message": sentence, "param": nil, "status": proxy.ErrorStatus(codes[0])},
		}},
		"*/*": {Schema: &huma.Schema{Description: "The refusal in another shape, or the provider's own body"}, Example: "…"},
	}
	return response
}

func anys(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}
