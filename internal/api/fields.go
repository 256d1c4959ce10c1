package api

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// field is what a name means wherever it stands in the description: in words, where
// the field has none of its own, and by an example.
type field struct {
	means   string
	example any
}

const (
	exampleTime  = "2026-03-01T09:30:00Z"
	exampleLater = "2026-03-02T09:30:00Z"
	exampleID    = "req_" + "5f0c3a9e71b24d68a0c4e7f2"
)

// fieldWords is the one table of what names mean. A name with the schema before it,
// "Check.status", goes before the name alone.
func fieldWords() map[string]field {
	return map[string]field{
		"agent":       {"The agent", nil},
		"agents":      {"The agents", nil},
		"agentId":     {"Id of the agent", "researcher"},
		"agentName":   {"Name of the agent, for people", "Researcher"},
		"agentSecret": {"Secret of the agent, with which it gets tokens", madeUp("ks_")},
		"id":          {"The id", "researcher"},
		"name":        {"The name", "openai"},
		"githubUser":  {"GitHub account that the agent stands for; keeper does not check it", "octocat"},
		"status":      {"How it stands", nil},
		"scopes":      {"Scopes, as provider:permission", []any{"openai:chat", "github:read"}},
		"scope":       {"The scope", "openai:chat"},
		"createdAt":   {"When it was made", exampleTime},
		"createdBy":   {"Who made it", "admin token"},
		"lastSeenAt":  {"When it was last used", exampleTime},
		"expiresAt":   {"When it ends", exampleLater},
		"issuedAt":    {"When it was issued", exampleTime},
		"timestamp":   {"When, in UTC", exampleTime},
		"since":       {"Since when", exampleTime},
		"until":       {"Until when", exampleLater},
		"message":     {"What was done, for people", "It is done."},
		"total":       {"How many there are", 1},
		"token":       {"A token of keeper's", madeUpToken()},
		"jti":         {"Id of the token", "tok_" + "b7d1c0a2e4"},
		"valid":       {"Whether the token is good now", true},
		"reason":      {"Why", "an example in our own documentation"},
		"code":        {"The code of an error, which has a page under /docs/errors", "token_expired"},
		"error":       {"One sentence that a person can act on", "This needs a token: send it in the header Authorization, after the word Bearer."},
		"requestId":   {"Id of the call, which its audit entries bear", exampleID},
		"provider":    {"Name of the provider", "openai"},
		"label":       {"Label of the credential among the provider's", "default"},
		"value":       {"The value. Keeper never shows it again", madeUp("sk-proj-")},
		"version":     {"Version", 2},
		"source":      {"Where it comes from", "api"},
		"preview":     {"What may be shown of it", "sk-proj-…9f"},
		"purpose":     {"Which key", "signing"},
		"problem":     {"What is wrong", "connection refused"},
		"what":        {"What is in trouble", "audit sink"},
		"kind":        {"What it is", "sink"},
		"type":        {"Its type", "file"},
		"title":       {"The name for people", "OpenAI"},
		"docs":        {"Address of the vendor's reference", "https://platform.openai.com/docs/api-reference"},
		"permissions": {"What scopes of it can cover", nil},
		"providers":   {"The providers, by name", nil},
		"secrets":     {"The secrets, without their values", nil},
		"tokens":      {"The tokens that are alive", nil},
		"findings":    {"What was found", nil},
		"rule":        {"The rule of the scanner that found it", "openai-api-key"},
		"confidence":  {"How sure the rule is; high blocks, high and medium are redacted", "high"},
		"description": {"What the rule looks for", "An API key of OpenAI"},
		"end":         {"End in bytes of the text as UTF-8, exclusive", 70},
		"text":        {"The text", "Please summarise this page."},
		"event":       {"What happened", "proxy.request"},
		"risk":        {"0 is ordinary, 1 a refusal or a warning, 2 a leak that was stopped", 0},
		"minRisk":     {"Entries of this risk at least", 1},
		"limit":       {"How many at most", 200},
		"format":      {"Format of the file", "ndjson"},
		"from":        {"Size of the earlier head", 100},
		"publicKey":   {"The key that it is signed with, as signed notes write it", "keeper/audit+2f1c9a40+" + base64.StdEncoding.EncodeToString([]byte("\x01 an example, not a key of ours "))},
		"checkpoint":  {"A signed head of the log", "keeper/audit\n1042\n…\n"},
		"fingerprint": {"Which value, by a keyed hash", "k7m2qv4d6yax3hpw5tzr2jcb8f"},
		"exception":   {"The exception", nil},

		"If-None-Match": {"ETag of the answer that the caller has; 304 where it is still that", `"k2mQ9x"`},
		"Last-Event-ID": {"", "1042"},

		"grant_type":           {"What is asked for", exchangeGrant},
		"subject_token":        {"", madeUpToken()},
		"subject_token_type":   {"Type of the token that is exchanged", jsonWebToken},
		"requested_token_type": {"Type of the token that is wanted; keeper's are both", accessToken},
		"access_token":         {"The token", madeUpToken()},
		"issued_token_type":    {"Type of the token", accessToken},
		"token_type":           {"How it is sent", "Bearer"},
		"ExchangeForm.scope":   {"", "openai:chat github:read"},
		"Exchanged.scope":      {"", "openai:chat github:read"},
		"OAuthError.error":     {"OAuth's word for it", "invalid_request"},
		"Outlet.name":          {"Its name in the configuration", "siem"},
		"Entry.id":             {"Number of the entry, from 1", "1042"},
		"Proof.id":             {"", 1042},
		"Agent.name":           {"", "Researcher"},
		"Permission.name":      {"What stands behind the colon of the scope", "chat"},
		"Finding.type":         {"Kind of secret", "api-key"},
		"CheckResult.code":     {"", "credential_refused"},
		"auditEntries":         {"Entries of the audit log", 1042},
		"checks":               {"What was looked at", nil},
		"ok":                   {"Whether it is well", true},
		"seconds":              {"How long it takes", 10},
		"window":               {"How far back: 5m, 1h or 24h", "1h"},
		"checkpointAt":         {"When the newest signed head was made", exampleTime},
		"totals":               {"Of the whole window", nil},
		"points":               {"One for each step of the window, oldest first", nil},
		"p50Ms":                {"What half of the calls took at most, in milliseconds; null where none ended", 120},
		"p95Ms":                {"What 95 of 100 calls took at most, in milliseconds; null where none ended", 480},
		"risks":                {"By risk", nil},
		"events":               {"By event", nil},
		"count":                {"How many", 12},
		"SignInRequest.code":   {"The code behind # in the link", madeUp("")},
		"Cluster.self":         {"", "5f0c3a9e71b24d68a0c4e7f2d1b3a596"},
		"Keeper.id":            {"", "5f0c3a9e71b24d68a0c4e7f2d1b3a596"},
		"Keeper.name":          {"", "vault-1, process 412"},
		"Keeper.address":       {"", "0.0.0.0:8080"},
		"Keeper.version":       {"", "1.0.0"},
		"Keeper.startedAt":     {"", exampleTime},
		"Keeper.seenAt":        {"", exampleLater},
		"Health.version":       {"Keeper's version", "1.0.0"},
		"Status.version":       {"Keeper's version", "1.0.0"},
	}
}

// madeUp is a key as one could look: it is made anew at each start and opens nothing.
func madeUp(prefix string) string { return prefix + rand.Text() }

func madeUpToken() string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return strings.Join([]string{part(`{"alg":"RS256"}`), part(`{"sub":"researcher"}`), part(rand.Text())}, ".")
}

// words lays the table over a document: each field and parameter without a
// description gets one, and each without an example too.
type words struct {
	table   map[string]field
	schemas map[string]*huma.Schema
}

func (w words) of(owner, name string) field {
	general := w.table[name]
	if own, known := w.table[owner+"."+name]; known {
		if own.means == "" {
			own.means = general.means
		}
		return own
	}
	return general
}

func (w words) schema(owner string, s *huma.Schema) {
	for name, p := range s.Properties {
		known := w.of(owner, name)
		if p.Ref != "" { // in OpenAPI 3.1 words may stand beside a reference
			p.Description = firstText(p.Description, known.means)
			continue
		}
		p.Description = firstText(p.Description, known.means)
		if len(p.Examples) == 0 && known.example != nil && fits(p, known.example) {
			p.Examples = []any{known.example}
		}
		if p.Type == huma.TypeArray {
			p.Nullable = false // a list is left out or there
		}
		w.schema(owner+"."+name, p)
	}
}

func (w words) parameter(p *huma.Param) {
	known := w.table[p.Name]
	p.Description = firstText(p.Description, known.means)
	if p.Example == nil && known.example != nil && fits(p.Schema, known.example) {
		p.Example = known.example
	}
}

func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// fits reports whether an example of the table is of the schema's type.
func fits(s *huma.Schema, example any) bool {
	if len(s.Enum) > 0 {
		for _, one := range s.Enum {
			if one == example {
				return true
			}
		}
		return false
	}
	switch example.(type) {
	case string:
		return s.Type == huma.TypeString
	case int:
		return s.Type == huma.TypeInteger || s.Type == huma.TypeNumber
	case bool:
		return s.Type == huma.TypeBoolean
	}
	return s.Type == huma.TypeArray
}

// example is a value of the schema, put together of its fields' own examples.
func (w words) example(s *huma.Schema) any {
	for s.Ref != "" {
		s = w.schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
	}
	switch {
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.Default != nil:
		return s.Default
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Format == "date-time":
		return exampleTime
	}
	switch s.Type {
	case huma.TypeObject:
		object := map[string]any{}
		for name, p := range s.Properties {
			object[name] = w.example(p)
		}
		return object
	case huma.TypeArray:
		return []any{w.example(s.Items)}
	case huma.TypeString:
		return "text"
	case huma.TypeBoolean:
		return true
	case huma.TypeInteger, huma.TypeNumber:
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	}
	return nil
}
