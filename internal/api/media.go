package api

import (
	"mime"

	"github.com/danielgtaylor/huma/v2"

	"github.com/superinstance/keeper/internal/export"
)

// What routes do, as the description tells it beside their summaries.
const (
	aboutRegister = "Without `keeper:write` it is a request, which the operator's registration policy answers: refused, kept until it is approved, or granted."
	aboutIssue    = "With the agent's secret, or with `keeper:write` without it. An unknown agent and a wrong secret are one and the same 401."
	aboutValidate = "A bad token is answered with 401 in a shape of its own, that says why."
	aboutRevoke   = "One of `jti`, `token` and `agentId`. Without `keeper:write` an agent can revoke a token of its own, by showing it. In force before the answer is sent."
	aboutSet      = "Setting a secret again is a rotation: the new version counts from the next call on. The provider need not be known, nor the agents be registered, yet."
	aboutTail     = "It ends when the caller goes, the token is revoked, or keeper stops. Each entry is an event `entry` whose id is the entry's; `pruned` names entries that are in the log no more; a comment every 15 seconds says that the stream lives."
	aboutForget   = "Its row goes, and with it how much of its part of the audit log was shipped: what was in its folder alone is not in the log, and the answer says how many entries that were when it was last seen. Not while it lives."
	aboutExport   = "Oldest entry first, of any length. An answer that breaks off never ends cleanly. The media type is that of `format`."
	aboutExchange = "For workloads that bear a token of their platform's: a form in, as RFC 8693 has it. Errors are OAuth's (RFC 6749, section 5.2), with keeper's `code` beside them, and 400 where elsewhere they would be 401 or 403."
)

// text is an answer that is no JSON.
func text(mediaType, what, example string) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: huma.TypeString, Description: what}, Example: example}}
}

func tailMedia() map[string]*huma.MediaType {
	return text("text/event-stream", "Server-sent events; the data of `entry` is an entry as the log's tree has it",
		": begins\n\nid: 1042\nevent: entry\ndata: {\"id\":\"1042\",\"event\":\"proxy.request\"}\n\n")
}

func proofMedia() map[string]*huma.MediaType {
	return text("application/x-ndjson", "Lines of JSON: a head, then what proves the entries under it", "{\"first\":1,\"last\":1042}\n")
}

func certificateMedia() map[string]*huma.MediaType {
	return text("application/x-pem-file", "A certificate in PEM", "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")
}

func metricsMedia() map[string]*huma.MediaType {
	return text("text/plain", "Prometheus' text format, or what else `Accept` asks for", "# HELP keeper_audit_entries Entries of the audit log.\nkeeper_audit_entries 1042\n")
}

func profileMedia() map[string]*huma.MediaType {
	return text("application/octet-stream", "A profile in the format of pprof, gzipped", "…")
}

// exportMedia is one media type for each format.
func exportMedia() map[string]*huma.MediaType {
	all := map[string]*huma.MediaType{}
	for _, format := range export.Formats() {
		schema := &huma.Schema{Type: huma.TypeString, Description: "The entries, in the format that was asked for"}
		var example any = "…"
		if format.ContentType() == "application/json" {
			schema.Type, example = huma.TypeArray, []any{}
			schema.Items = &huma.Schema{Type: huma.TypeObject, Description: "An entry"}
		}
		media, _, _ := mime.ParseMediaType(format.ContentType()) // of constants
		all[media] = &huma.MediaType{Schema: schema, Example: example}
	}
	return all
}

func backupMedia() map[string]*huma.MediaType {
	schema := &huma.Schema{Type: huma.TypeString, Description: "A backup, encrypted by age: keeper restore reads it"}
	return map[string]*huma.MediaType{"application/octet-stream": {Schema: schema, Example: "…"}}
}

func jwksMedia() map[string]*huma.MediaType {
	key := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "A JSON Web Key (RFC 7517)", Required: []string{"kty", "kid"}, Properties: map[string]*huma.Schema{
		"kty": {Type: huma.TypeString, Description: "Its type"}, "kid": {Type: huma.TypeString, Description: "Its id, as the head of a token names it"},
		"alg": {Type: huma.TypeString, Description: "What it signs with"}, "use": {Type: huma.TypeString, Description: "What it is for"},
	}}
	set := &huma.Schema{Type: huma.TypeObject, Description: "A JSON Web Key Set", Required: []string{"keys"}, Properties: map[string]*huma.Schema{
		"keys": {Type: huma.TypeArray, Items: key, Description: "Those that tokens may be signed with"},
	}}
	example := map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig", "n": "…", "e": "AQAB"}}}
	return map[string]*huma.MediaType{"application/json": {Schema: set, Example: example}}
}

func documentMedia() map[string]*huma.MediaType {
	schema := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "A document of OpenAPI 3.1", Required: []string{"openapi", "info", "paths"}, Properties: map[string]*huma.Schema{
		"openapi": {Type: huma.TypeString, Description: "Version of OpenAPI"}, "info": {Type: huma.TypeObject, AdditionalProperties: true, Description: "What is described"},
		"paths": {Type: huma.TypeObject, AdditionalProperties: true, Description: "The routes, by path"},
	}}
	return map[string]*huma.MediaType{"application/json": {Schema: schema, Example: map[string]any{"openapi": "3.1.0", "info": map[string]any{"title": "Keeper", "version": "1"}, "paths": map[string]any{}}}}
}
