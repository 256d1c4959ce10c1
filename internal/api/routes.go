package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/superinstance/keeper/internal/policy/scope"
)

const (
	root   = "/api/v1"
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// routes defines every route.
func (s *surface) routes() error {
	read, write := scope.Keeper(scope.Read), scope.Keeper(scope.Write)
	everything, err := scope.Parse("*")
	if err != nil {
		return fmt.Errorf("naming the scope of all: %w", err)
	}

	handle(s, route{id: "health", method: get, path: root + "/health", summary: "Whether a call could be served", guard: anyone, public: true, also: map[int]any{503: healthBody{}}}, s.health)
	handle(s, route{id: "jwks", method: get, path: "/.well-known/jwks.json", summary: "The public signing keys", guard: anyone, public: true, media: jwksMedia(), also: map[int]any{304: nil}}, s.jwks)
	handle(s, route{id: "ca", method: get, path: "/ca.pem", summary: "The certificate that clients trust where keeper is their proxy", guard: anyone, public: true, media: certificateMedia()}, s.certificate)
	handle(s, route{id: "livez", method: get, path: "/livez", summary: "Whether the process should go on; 503 where only a new one helps", guard: anyone, public: true, also: map[int]any{503: probeBody{}}}, s.livez)
	handle(s, route{id: "readyz", method: get, path: "/readyz", summary: "Whether calls should be sent here", guard: anyone, public: true, also: map[int]any{503: probeBody{}}}, s.readyz)
	if s.profiles {
		handle(s, route{id: "profile", method: get, path: "/debug/pprof/{name}", summary: "A profile of the process, as go tool pprof reads it", needs: everything, codes: []string{"not_found"}, media: profileMedia()}, s.profile)
	}
	handle(s, route{id: "metrics", method: get, path: "/metrics", summary: "Figures for Prometheus", needs: read, media: metricsMedia()}, s.serveMetrics)
	handle(s, route{id: "status", method: get, path: root + "/status", summary: "Keeper in figures", needs: read}, s.status)

	handle(s, route{id: "register", method: post, path: root + "/auth/register", summary: "Register an agent", guard: walkIn, public: true, about: aboutRegister, codes: []string{"already_exists", "registration_queue_full"}}, s.register)
	handle(s, route{id: "issueToken", method: post, path: root + "/auth/token", summary: "Issue a token", guard: walkIn, public: true, about: aboutIssue, codes: []string{"credentials_invalid", "agent_pending", "agent_disabled", "agent_revoked", "not_found"}}, s.issue)
	handle(s, route{id: "validateToken", method: post, path: root + "/auth/validate", summary: "Say what a token is good for", guard: stranger, public: true, about: aboutValidate, also: map[int]any{401: validatedBody{}}}, s.validate)
	handle(s, route{id: "revoke", method: post, path: root + "/auth/revoke", summary: "Revoke a token, or all of an agent's", guard: walkIn, public: true, about: aboutRevoke, codes: []string{"not_found"}}, s.revoke)
	s.handleExchange()
	s.handleSessions()
	handle(s, route{id: "listTokens", method: get, path: root + "/tokens", summary: "List the living tokens, of one agent or of all", needs: read, codes: []string{"not_found"}}, s.tokens)
	handle(s, route{id: "stats", method: get, path: root + "/stats", summary: "How many calls there were, and what became of them", needs: read}, s.stats)

	handle(s, route{id: "listQuotas", method: get, path: root + "/quotas", summary: "How much is used of the quotas in force", needs: read}, s.quotaList)

	handle(s, route{id: "cluster", method: get, path: root + "/cluster", summary: "The keepers on this store, and how it stands with each", needs: read}, s.cluster)
	handle(s, route{id: "forgetKeeper", method: remove, path: root + "/cluster/{id}", summary: "Forget a keeper that is gone for good", needs: everything, about: aboutForget, codes: []string{"not_found", codeCluster}}, s.forget)

	handle(s, route{id: "listAgents", method: get, path: root + "/agents", summary: "List the agents", needs: read}, s.agents)
	handle(s, route{id: "agent", method: get, path: root + "/agents/{id}", summary: "Show an agent", needs: read, codes: []string{"not_found"}}, s.agent)
	handle(s, route{id: "updateAgent", method: patch, path: root + "/agents/{id}", summary: "Approve or disable an agent, change its grant or name", needs: write, codes: []string{"not_found"}}, s.updateAgent)
	handle(s, route{id: "rotateAgentSecret", method: post, path: root + "/agents/{id}/secret", summary: "Give an agent another secret; the last one is good for a while", needs: write, codes: []string{"not_found"}}, s.rotateSecret)
	handle(s, route{id: "deleteAgent", method: remove, path: root + "/agents/{id}", summary: "Delete an agent", needs: write, codes: []string{"not_found"}}, s.deleteAgent)

	handle(s, route{id: "listSecrets", method: get, path: root + "/vault", summary: "List the secrets, never their values", needs: read}, s.secrets)
	handle(s, route{id: "setSecret", method: post, path: root + "/vault", summary: "Set or rotate a secret", needs: write, about: aboutSet}, s.setSecret)
	handle(s, route{id: "deleteSecret", method: remove, path: root + "/vault/{provider}", summary: "Delete one or all of a provider's secrets", needs: write, codes: []string{"not_found"}}, s.deleteSecret)
	handle(s, route{id: "rotateKey", method: post, path: root + "/keys/rotate", summary: "Rotate one of keeper's own keys", needs: everything, codes: []string{"invalid_configuration", codeCluster}}, s.rotateKey)
	handle(s, route{id: "listKeys", method: get, path: root + "/keys", summary: "List keeper's own keys, never what they are", needs: read}, s.listKeys)

	handle(s, route{id: "audit", method: get, path: root + "/audit", summary: "Read the audit log", needs: scope.Keeper(scope.Audit)}, s.entries)
	handle(s, route{id: "auditCall", method: get, path: root + "/audit/calls/{requestId}", summary: "Tell the story of one call, by the id that its answer bore", needs: scope.Keeper(scope.Audit), codes: []string{"not_found"}}, s.auditCall)
	handle(s, route{id: "auditFacets", method: get, path: root + "/audit/facets", summary: "What the newest entries that match are of", needs: scope.Keeper(scope.Audit)}, s.facets)
	handle(s, route{id: "auditVerification", method: get, path: root + "/audit/verification", summary: "How far the log is signed, and whether it was gone through", needs: scope.Keeper(scope.Audit)}, s.verification)
	handle(s, route{id: "verifyAudit", method: post, path: root + "/audit/verification", summary: "Go through the log in the background, and hold it against what was signed", needs: scope.Keeper(scope.Audit), status: http.StatusAccepted}, s.verify)
	handle(s, route{id: "auditTail", method: get, path: root + "/audit/tail", summary: "The audit log as it grows: an event stream of entries", needs: scope.Keeper(scope.Audit), about: aboutTail, media: tailMedia()}, s.tail)
	handle(s, route{id: "auditExport", method: get, path: root + "/audit/export", summary: "The audit log as a file, oldest entry first", needs: scope.Keeper(scope.Audit), about: aboutExport, media: exportMedia()}, s.export)
	handle(s, route{id: "auditExportProof", method: get, path: root + "/audit/export/proof", summary: "What proves an export in NDJSON without filters", needs: scope.Keeper(scope.Audit), codes: []string{"not_found"}, media: proofMedia()}, s.exportProof)
	handle(s, route{id: "auditArchive", method: post, path: root + "/audit/archive", summary: "Move old entries to files now, as the retention says", needs: everything}, s.archiveNow)
	handle(s, route{id: "backup", method: post, path: root + "/backup", summary: "A backup of keeper as it is now, encrypted by age", needs: everything, media: backupMedia()}, s.makeBackup)
	handle(s, route{id: "reload", method: post, path: root + "/reload", summary: "Take the configuration over as it is now", needs: everything, codes: []string{"invalid_configuration"}}, s.reloadNow)
	handle(s, route{id: "sharedSettings", method: get, path: root + "/settings", summary: "Show the settings that all keepers on the store share", needs: write, codes: []string{"not_found"}}, s.settingsNow)
	handle(s, route{id: "putSharedSettings", method: put, path: root + "/settings", summary: "Have all keepers on the store take settings over", needs: everything, limit: settingsBodyLimit, about: aboutSettings, codes: []string{"invalid_configuration"}}, s.putSettings)
	handle(s, route{id: "deleteSharedSettings", method: remove, path: root + "/settings", summary: "Share no settings any more", needs: everything, codes: []string{"not_found", "invalid_configuration"}}, s.deleteSettings)
	handle(s, route{id: "auditCheckpoint", method: get, path: root + "/audit/checkpoint", summary: "The signed head of the audit log", needs: scope.Keeper(scope.Audit), codes: []string{"not_found"}}, s.checkpoint)
	handle(s, route{id: "auditProof", method: get, path: root + "/audit/proof", summary: "Prove that an entry is in the log, or that the log goes on from an earlier head", needs: scope.Keeper(scope.Audit), codes: []string{"not_found"}}, s.proof)
	handle(s, route{id: "scan", method: post, path: root + "/scan", summary: "Look for secrets in a text", needs: scope.Keeper(scope.Scan), limit: scanBodyLimit}, s.scan)
	handle(s, route{id: "listExceptions", method: get, path: root + "/scan/exceptions", summary: "List the values that the scanner lets pass, by fingerprint", needs: everything}, s.exceptionList)
	handle(s, route{id: "allowValue", method: post, path: root + "/scan/exceptions", summary: "Let one value pass the scanner for a time", needs: everything, codes: []string{"already_exists", "not_found"}}, s.allow)
	handle(s, route{id: "disallowValue", method: remove, path: root + "/scan/exceptions/{fingerprint}", summary: "Let a value pass no longer", needs: everything, codes: []string{"not_found"}}, s.disallow)
	handle(s, route{id: "listProviders", method: get, path: root + "/providers", summary: "List the providers and what their scopes cover", needs: read}, s.providers)
	handle(s, route{id: "testCredential", method: post, path: root + "/providers/{name}/test", summary: "Test a credential by one harmless call", needs: write, codes: []string{"not_found"}}, s.testCredential)
	handle(s, route{id: "openapi", method: get, path: documentPath, summary: "This description", guard: anyone, public: true, media: documentMedia()}, s.describeAll)

	return s.complete()
}

// raw is an answer that is written as it is.
type raw struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *surface) describeAll(context.Context, *struct{}) (*raw, error) {
	return &raw{"application/json", s.document}, nil
}

func (s *surface) certificate(context.Context, *struct{}) (*raw, error) {
	return &raw{"application/x-pem-file", s.authority()}, nil
}

// done is the answer of a route that has nothing to show.
type done struct {
	Message string `json:"message" doc:"What was done"`
}

func said(message string) (*output[done], error) {
	return &output[done]{done{message}}, nil
}
