package export_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

var producer = export.Producer{Version: "1.2.3", Host: "vault-1.example"}

var when = time.Date(2026, 11, 24, 5, 36, 28, 123456789, time.UTC)

// sample is an event as the log would hold it.
type sample struct {
	name     string
	event    string
	agent    string
	provider string
	risk     int
	by       string
	source   string
	details  any
}

var (
	found = []audit.Finding{
		{Type: "api_key", Rule: "openai-key", Location: "body", Form: "base64", Confidence: "high"},
		{Type: "api_key", Rule: "openai-key", Location: "header", Confidence: "high"},
		{Type: "password", Rule: "password-field", Location: "body", Confidence: "low", Exempt: true},
	}
	chat = audit.Call{Method: "POST", Path: "/v1/chat/completions", Mode: "transparent", RequestBytes: 812, Carriers: []string{"Authorization"}}
)

// samples hold each event of internal/audit at least once.
var samples = []sample{
	{"forwarded call", "proxy.request", "ci-bot", "openai", 0, "", "10.1.2.3", audit.ProxyRequest{
		Decision: "forward", JTI: "jti-1", Scope: "openai:chat", Label: "main", Version: 2, Findings: found[2:], Call: chat}},
	{"refused call", "proxy.request", "", "openai", 1, "", "2001:db8::7", audit.ProxyRequest{
		Decision: "refuse", Code: "token_missing", Count: 41, Call: audit.Call{Method: "PATCH", Path: "/v1/x", Mode: "envelope"}}},
	{"complete answer", "proxy.response", "ci-bot", "openai", 0, "", "10.1.2.3", audit.ProxyResponse{
		Outcome: "complete", Status: 200, ResponseBytes: 4711, DurationMS: 1503}},
	{"answer that failed", "proxy.response", "ci-bot", "openai", 1, "", "10.1.2.3", audit.ProxyResponse{
		Outcome: "failed", Code: "upstream_timeout", DurationMS: 30000}},
	{"unknown outcome", "proxy.response", "ci-bot", "openai", 1, "", "", audit.ProxyResponse{Outcome: "unknown"}},
	{"blocked request", "scan.blocked", "ci-bot", "openai", 2, "", "10.1.2.3", audit.ScanBlocked{
		Method: "POST", Path: "/v1/chat/completions", Findings: found}},
	{"redacted answer", "scan.redacted", "ci-bot", "openai", 1, "", "10.1.2.3", audit.ScanRedacted{Findings: found}},
	{"text with a secret", "scan.blocked", "ci-bot", "", 1, "ci-bot", "10.1.2.3", audit.TextScanned{Findings: found}},
	{"text without", "scan.passed", "ci-bot", "", 0, "ci-bot", "10.1.2.3", audit.TextScanned{Safe: true}},
	{"exception", "exception.created", "", "", 1, "admin token", "127.0.0.1", audit.ExceptionCreated{
		Fingerprint: "abc", Rule: "password-field", Reason: "a fixture", ExpiresAt: "2027-01-01T00:00:00Z"}},
	{"exception removed", "exception.removed", "", "", 0, "admin token", "127.0.0.1", audit.ExceptionRemoved{Fingerprint: "abc", Rule: "password-field"}},
	{"secret set", "vault.modified", "", "openai", 0, "admin token", "127.0.0.1", audit.VaultModified{
		Label: "main", Version: 3, Action: "set", Source: "environment"}},
	{"secret deleted", "vault.modified", "", "openai", 0, "admin token", "127.0.0.1", audit.VaultModified{Label: "main", Action: "deleted"}},
	{"vault key rotated", "vault.modified", "", "", 1, "admin token", "127.0.0.1", audit.KeyRotated{Purpose: "vault", KeyID: "k2"}},
	{"vault listed", "vault.access", "", "", 0, "admin token", "127.0.0.1", audit.VaultAccess{Action: "listed"}},
	{"vault denied", "vault.access", "ci-bot", "openai", 2, "", "10.1.2.3", audit.VaultAccess{Action: "denied", Label: "main"}},
	{"credential refused", "vault.refused", "ci-bot", "openai", 1, "", "10.1.2.3", audit.CredentialRefused{Label: "main", Version: 3, Status: 401, Reason: "status 401"}},
	{"token issued", "token.issued", "ci-bot", "", 0, "admin token", "127.0.0.1", audit.TokenIssued{
		JTI: "jti-1", Scopes: []string{"openai:chat", "keeper:scan"}, ExpiresAt: "2027-01-01T00:00:00Z"}},
	{"token by exchange", "token.issued", "ci-bot", "", 0, "", "10.1.2.3", struct {
		audit.TokenIssued
		Exchange audit.Exchange `json:"exchange"`
	}{audit.TokenIssued{JTI: "jti-2", Scopes: []string{"github:read"}, ExpiresAt: "2027-01-01T00:00:00Z"}, audit.Exchange{
		Issuer: "https://issuer.example", Rule: "main", Subject: "repo:acme/app:ref:refs/heads/main", TokenID: "6f1f5a2e"}}},
	{"signed in", "session.started", "ci-bot", "", 0, "ci-bot", "10.1.2.3", audit.SessionStarted{Session: "QWERTYUIOPAS", How: "link", ExpiresAt: "2027-01-01T00:00:00Z"}},
	{"signed out", "session.ended", "ci-bot", "", 0, "ci-bot", "10.1.2.3", audit.SessionEnded{Session: "QWERTYUIOPAS", Reason: "signed out"}},
	{"ended from elsewhere", "session.ended", "ci-bot", "", 0, "admin token", "10.1.2.3", audit.SessionEnded{Session: "QWERTYUIOPAS", Reason: "ended", Of: "ci-bot"}},
	{"valid token", "token.validated", "ci-bot", "", 0, "ci-bot", "10.1.2.3", audit.TokenValidated{Valid: true, JTI: "jti-1"}},
	{"invalid token", "token.validated", "", "", 1, "", "10.1.2.3", audit.TokenValidated{Reason: "token_expired"}},
	{"token revoked", "token.revoked", "ci-bot", "", 1, "admin token", "127.0.0.1", audit.TokenRevoked{JTI: "jti-1"}},
	{"agent registered", "agent.registered", "ci-bot", "", 0, "admin token", "127.0.0.1", audit.AgentRegistered{
		Status: "active", Scopes: []string{"openai:chat"}}},
	{"agent disabled", "agent.updated", "ci-bot", "", 0, "admin token", "127.0.0.1", audit.AgentUpdated{
		Status: "disabled", StatusBefore: "active", Scopes: []string{"openai:chat"}, ScopesBefore: []string{"openai:*"}}},
	{"agent renamed", "agent.updated", "ci-bot", "", 0, "admin token", "127.0.0.1", audit.AgentUpdated{Status: "active", StatusBefore: "active"}},
	{"keeper started", "keeper.started", "", "", 0, "", "", audit.KeeperStarted{Version: "1.2.3"}},
	{"keeper stopped", "keeper.stopped", "", "", 0, "", "", audit.KeeperStopped{Reason: "signal"}},
	{"keeper forgotten", "keeper.forgotten", "", "", 2, "admin token", "127.0.0.1", audit.KeeperForgotten{ID: "00ff", Name: "host, process 7", Entries: 3}},
	{"state changed", "state.changed", "", "", 0, "", "", audit.StateChanged{
		Objects: []audit.StateObject{{Kind: "agent", ID: "ci-bot", After: "00ff"}}, Cutoff: 1700000000, Why: "a change failed"}},
	{"state accepted", "state.accepted", "", "", 2, "", "", audit.StateAccepted{Objects: []audit.StateObject{{Kind: "agent", ID: "x"}}}},
	{"stranger at a route", "error", "", "", 1, "", "10.9.9.9", audit.Refused{Route: "GET /api/v1/vault", Code: "token_invalid", Count: 3}},
	{"scope lacking", "error", "ci-bot", "", 1, "ci-bot", "10.1.2.3", audit.Refused{Route: "GET /api/v1/vault", Code: "scope_denied"}},
	{"settings changed", "config.changed", "", "", 1, "", "", map[string]any{
		"settings": []any{map[string]any{"name": "scan.mode", "after": "00ff"}}}},
	{"settings reloaded", "config.reloaded", "", "", 1, "admin token", "127.0.0.1", audit.ConfigReloaded{
		Settings: []audit.Setting{{Name: "scan", Before: "00fe", After: "00ff"}}, Changed: []string{"scan"}, Refused: []string{"addr"}}},
	{"shared settings", "config.shared", "", "", 1, "admin token", "127.0.0.1", audit.ConfigShared{Before: "00fe", After: "00ff"}},
	{"backup made", "store.backup", "", "", 0, "admin token", "127.0.0.1", audit.BackupMade{Recipients: 2}},
	{"backup restored", "store.restored", "", "", 2, "", "", audit.StoreRestored{BackupAt: "2026-01-02T03:04:05Z", RestoredAt: "2026-01-03T03:04:05Z", Entries: 1234}},
	{"disputed log", "audit.disputed", "", "", 2, "", "", map[string]any{"witness": "w1", "seen": 900, "shown": 800}},
	{"log's key changed", "audit.rekeyed", "", "", 1, "admin token", "127.0.0.1", map[string]any{"before": "keeper/audit/a+00000001+AQ==", "after": "keeper/audit/a+00000002+AQ=="}},
	{"pruned log", "audit.pruned", "", "", 1, "admin token", "127.0.0.1", map[string]any{
		"first": 1, "last": 500, "export": "audit-1-500.ndjson", "sha256": "00ff", "reason": "age"}},
	{"event of tomorrow", "tomorrow.changed", "", "", 1, "admin token", "socket", map[string]any{"setting": "scan.mode", "level": 7}},
	{"hostile path", "proxy.request", "ci-bot", "openai", 0, "", "10.1.2.3", audit.ProxyRequest{
		Decision: "forward", Label: "=cmd|' /C calc'!A0", Call: audit.Call{Method: "GET\r\nX", Path: hostile, Mode: "transparent"}}},
}

const hostile = "=a\\b|c=d \"q\", 'x'\r\n\x1b[31m\t\u0085\u009b\u2028\u202e\x00 outcome=success é😀"

// entry is s as entry number seq. Details are as the log makes them: the event's
// own fields, then who and from where.
func (s sample) entry(tb testing.TB, seq int64) *store.AuditEntry {
	tb.Helper()
	b, err := json.Marshal(s.details)
	if err != nil {
		tb.Fatal(err)
	}
	all := map[string]any{}
	if err := json.Unmarshal(b, &all); err != nil {
		tb.Fatal(err)
	}
	for name, text := range map[string]string{"by": s.by, "source": s.source} {
		if text != "" {
			all[name] = text
		}
	}
	if b, err = json.Marshal(all); err != nil {
		tb.Fatal(err)
	}
	return &store.AuditEntry{
		Seq: seq, Time: when.Add(time.Duration(seq) * time.Second), Event: s.event, AgentID: s.agent,
		Provider: s.provider, Risk: s.risk, RequestID: "req_0123", Details: b,
	}
}

func entries(tb testing.TB) []*store.AuditEntry {
	all := make([]*store.AuditEntry, len(samples))
	for i, s := range samples {
		all[i] = s.entry(tb, int64(i+1))
	}
	return all
}

// each runs check on every sample in the format f.
func each(t *testing.T, f export.Format, check func(t *testing.T, s sample, line []byte)) {
	for i, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			check(t, s, f.Append(nil, s.entry(t, int64(i+1)), producer))
		})
	}
}

func TestSamplesHoldEveryEventOfTheLog(t *testing.T) {
	source, err := os.ReadFile("../audit/event.go")
	if err != nil {
		t.Fatal(err)
	}
	sampled := map[string]bool{}
	for _, s := range samples {
		sampled[s.event] = true
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`facts\{"([a-z.]+)"`).FindAllSubmatch(source, -1) {
		names[string(m[1])] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !sampled[name] {
			t.Errorf("no sample of the event %q: add one, and a row to kinds in kind.go", name)
		}
	}
}
