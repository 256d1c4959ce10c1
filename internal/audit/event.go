package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
)

// Risk levels of an entry.
const (
	RiskNormal   = 0
	RiskWarning  = 1 // refusals and redactions
	RiskCritical = 2 // blocked secrets, misuse of the vault, revoked tokens in use
)

// Event is something that the log can hold. Only this package's structs are
// events: each has named fields of plain types, none has a body, a header's
// value, a query or a free-form map, so none can carry a secret.
type Event interface {
	describe() facts
}

// facts are what an entry's columns say of an event; the rest is its details.
type facts struct {
	name     string
	agentID  string
	provider string
	risk     int
}

// Finding is what the log says of a secret that was found: which rule, where,
// in what form, and never the value. Its fingerprint, which is keyed, is what an
// operator lets that one value pass by; Exempt says that he did.
type Finding struct {
	Type        string `json:"type"`
	Rule        string `json:"rule"`
	Location    string `json:"location"`
	Form        string `json:"form,omitempty"`
	Confidence  string `json:"confidence"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Exempt      bool   `json:"exempt,omitempty"`
}

// Call describes a proxied call without its query, headers or body. Path is
// the provider's path, in which the caller has replaced what was found secret.
type Call struct {
	Method       string   `json:"method"`
	Host         string   `json:"host,omitempty"` // that a client asked for whose proxy keeper is; masked as Path is
	Path         string   `json:"path"`
	Mode         string   `json:"mode"` // "transparent", "envelope", "forward", "tunnel" or "check"
	RequestBytes int64    `json:"requestBytes"`
	Carriers     []string `json:"carriers,omitempty"` // where credentials came off, by name
	Stream       string   `json:"stream,omitempty"`   // "websocket" or "grpc": what it brings is scanned as it comes, after the decision
}

// ProxyRequest is the decision on a proxied call, written before any effect.
type ProxyRequest struct {
	Agent    string    `json:"-"`
	Provider string    `json:"-"`
	Decision string    `json:"decision"`       // "forward" or "refuse"
	Code     string    `json:"code,omitempty"` // of a refusal
	Count    int       `json:"count,omitempty"`
	JTI      string    `json:"jti,omitempty"`
	Scope    string    `json:"scope,omitempty"` // the one that allowed it
	Label    string    `json:"label,omitempty"` // of the credential chosen
	Version  int       `json:"version,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	Quota    string    `json:"quota,omitempty"` // the one that is used up
	Risk     int       `json:"-"`
	Call
}

func (e ProxyRequest) describe() facts {
	return facts{"proxy.request", e.Agent, e.Provider, e.Risk}
}

// ProxyResponse is the outcome of a call that was forwarded.
type ProxyResponse struct {
	Agent         string    `json:"-"`
	Provider      string    `json:"-"`
	Outcome       string    `json:"outcome"`        // "complete", "cut", "agent_gone", "failed"; "unknown" where keeper was killed before it came
	Code          string    `json:"code,omitempty"` // why, where it is not complete
	Status        int       `json:"status,omitempty"`
	ResponseBytes int64     `json:"responseBytes"`
	DurationMS    int64     `json:"durationMs"`
	Findings      []Finding `json:"findings,omitempty"`
	Traffic       *Traffic  `json:"traffic,omitempty"`
	// CredentialRefused says that the provider does not take the credential.
	CredentialRefused bool `json:"credentialRefused,omitempty"`
	Risk              int  `json:"-"`
}

// Traffic is what went through a call whose messages stream both ways.
type Traffic struct {
	RequestBytes     int64 `json:"requestBytes"`     // of messages, to the provider
	MessagesSent     int64 `json:"messagesSent"`     // to the provider
	MessagesReceived int64 `json:"messagesReceived"` // by the agent
	CloseCode        int   `json:"closeCode,omitempty"`
}

func (e ProxyResponse) describe() facts {
	return facts{"proxy.response", e.Agent, e.Provider, e.Risk}
}

// ScanBlocked says that a request was refused for a secret in it.
type ScanBlocked struct {
	Agent    string    `json:"-"`
	Provider string    `json:"-"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Findings []Finding `json:"findings"`
}

func (e ScanBlocked) describe() facts {
	return facts{"scan.blocked", e.Agent, e.Provider, RiskCritical}
}

// ScanRedacted says that secrets were taken out of a response.
type ScanRedacted struct {
	Agent    string    `json:"-"`
	Provider string    `json:"-"`
	Findings []Finding `json:"findings"`
}

func (e ScanRedacted) describe() facts {
	return facts{"scan.redacted", e.Agent, e.Provider, RiskWarning}
}

// TextScanned is a use of the scanner on a text that is not a call.
type TextScanned struct {
	Agent    string    `json:"-"`
	Safe     bool      `json:"safe"`
	Findings []Finding `json:"findings,omitempty"`
}

func (e TextScanned) describe() facts {
	if e.Safe {
		return facts{"scan.passed", e.Agent, "", RiskNormal}
	}
	return facts{"scan.blocked", e.Agent, "", RiskWarning}
}

// ExceptionCreated says that from now on the scanner lets one value pass, or
// that what was said of it before is replaced. Reason is the operator's, in
// which the caller has found no secret.
type ExceptionCreated struct {
	Fingerprint string `json:"fingerprint"`
	Rule        string `json:"rule"`
	Reason      string `json:"reason"`
	ExpiresAt   string `json:"expiresAt"` // RFC 3339, UTC
	// Replaces is the fingerprint that the same value was listed by, under an earlier key.
	Replaces string `json:"replaces,omitempty"`
}

func (e ExceptionCreated) describe() facts {
	return facts{"exception.created", "", "", RiskWarning}
}

// ExceptionRemoved says that the scanner lets a value pass no more.
type ExceptionRemoved struct {
	Fingerprint string `json:"fingerprint"`
	Rule        string `json:"rule"`
}

func (e ExceptionRemoved) describe() facts {
	return facts{"exception.removed", "", "", RiskNormal}
}

// VaultModified is a change of a secret: Action is "set", "rotated",
// "deleted", "imported" or "rekeyed"; of one that a source gives, also
// "withdrawn", as the source has failed for too long, and "restored".
type VaultModified struct {
	Provider string `json:"-"`
	Label    string `json:"label,omitempty"`
	Version  int    `json:"version,omitempty"`
	Action   string `json:"action"`
	Source   string `json:"from,omitempty"`
}

func (e VaultModified) describe() facts {
	risk := RiskNormal
	if e.Action == "withdrawn" { // calls are refused from now on
		risk = RiskWarning
	}
	return facts{"vault.modified", "", e.Provider, risk}
}

// VaultAccess is a look at the vault: Action is "listed", or "denied" where an
// agent asked for a credential that others alone may use.
type VaultAccess struct {
	Agent    string `json:"-"`
	Provider string `json:"-"`
	Action   string `json:"action"`
	Label    string `json:"label,omitempty"`
}

func (e VaultAccess) describe() facts {
	risk := RiskNormal
	if e.Action == "denied" {
		risk = RiskCritical
	}
	return facts{"vault.access", e.Agent, e.Provider, risk}
}

// CredentialRefused says that a provider, or the issuer of its tokens, does not take
// a credential. Agent is whose call showed it; empty where it was the issuer. It is
// written at most once a minute for each credential.
type CredentialRefused struct {
	Agent    string `json:"-"`
	Provider string `json:"-"`
	Label    string `json:"label"`
	Version  int    `json:"version"`
	Status   int    `json:"status,omitempty"` // that the provider answered
	Reason   string `json:"reason"`           // one of keeper's own words, or a code that is known beforehand
}

func (e CredentialRefused) describe() facts {
	return facts{"vault.refused", e.Agent, e.Provider, RiskWarning}
}

// TokenValidated is an answer of the validation route.
type TokenValidated struct {
	Agent  string `json:"-"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason,omitempty"`
	JTI    string `json:"jti,omitempty"`
}

func (e TokenValidated) describe() facts {
	risk := RiskNormal
	if !e.Valid {
		risk = RiskWarning
	}
	return facts{"token.validated", e.Agent, "", risk}
}

// AgentRegistered is a new agent, or one that waits for approval.
type AgentRegistered struct {
	Agent  string   `json:"-"`
	Status string   `json:"status"`
	Scopes []string `json:"scopes"`
}

func (e AgentRegistered) describe() facts { return facts{"agent.registered", e.Agent, "", RiskNormal} }

// AgentUpdated is a change of an agent's status, grant, name or secret; Status is
// "deleted" for one that was removed. OldSecretUntil is set where the secret was changed.
type AgentUpdated struct {
	Agent        string   `json:"-"`
	Status       string   `json:"status"`
	StatusBefore string   `json:"statusBefore"`
	Scopes       []string `json:"scopes"`
	ScopesBefore []string `json:"scopesBefore"`

	OldSecretUntil string `json:"oldSecretUntil,omitempty"` // RFC 3339, UTC: until then the last secret is good
}

func (e AgentUpdated) describe() facts { return facts{"agent.updated", e.Agent, "", RiskNormal} }

// TokenIssued is a new token.
type TokenIssued struct {
	Agent     string   `json:"-"`
	JTI       string   `json:"jti"`
	Scopes    []string `json:"scopes"`
	ExpiresAt string   `json:"expiresAt"` // RFC 3339, UTC
}

func (e TokenIssued) describe() facts { return facts{"token.issued", e.Agent, "", RiskNormal} }

// SessionStarted says that somebody signed in to the dashboard. Session names the
// session and opens nothing. How is "link", for a one-time link, or "oidc".
type SessionStarted struct {
	Agent     string `json:"-"`
	Session   string `json:"session"`
	How       string `json:"how"`
	ExpiresAt string `json:"expiresAt"` // RFC 3339, UTC
}

func (e SessionStarted) describe() facts { return facts{"session.started", e.Agent, "", RiskNormal} }

// SessionEnded is the end of a session. Reason is "signed out", "idle", "expired",
// "revoked", "replaced", or "ended" where somebody ended it from elsewhere: then Of is
// who was signed in.
type SessionEnded struct {
	Agent   string `json:"-"`
	Session string `json:"session"`
	Reason  string `json:"reason"`
	Of      string `json:"of,omitempty"`
}

func (e SessionEnded) describe() facts { return facts{"session.ended", e.Agent, "", RiskNormal} }

// TokenRevoked is the end of one token, or of all of an agent's.
type TokenRevoked struct {
	Agent string `json:"-"`
	JTI   string `json:"jti,omitempty"`
	All   bool   `json:"all,omitempty"`
}

func (e TokenRevoked) describe() facts { return facts{"token.revoked", e.Agent, "", RiskWarning} }

// KeyRotated is the rotation of one of keeper's own keys but the log's, which is
// [KeySucceeded]: Purpose is "signing", "vault", "ca", "admin", "fingerprint" or "import". Stage is "announced" where the key that is named is trusted
// from now on and does not sign yet.
type KeyRotated struct {
	Purpose string `json:"purpose"`
	KeyID   string `json:"keyId"`
	Stage   string `json:"stage,omitempty"`
}

func (e KeyRotated) describe() facts { return facts{"vault.modified", "", "", RiskWarning} }

// KeeperStarted is written before the first call is taken.
type KeeperStarted struct {
	Version string `json:"version"`
	Config  string `json:"config,omitempty"` // digest of the settings, SHA-256 in hex
}

func (e KeeperStarted) describe() facts { return facts{"keeper.started", "", "", RiskNormal} }

// KeeperStopped is written after the last call has ended.
type KeeperStopped struct {
	Reason string `json:"reason"`
}

func (e KeeperStopped) describe() facts { return facts{"keeper.stopped", "", "", RiskNormal} }

// KeeperForgotten says that a keeper which is gone is no longer counted among those that
// share the database. It is written before that is done.
type KeeperForgotten struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Entries int64  `json:"entries"` // of its own that were in its folder alone when it was last seen: the log lacks them
}

func (e KeeperForgotten) describe() facts {
	risk := RiskWarning
	if e.Entries > 0 {
		risk = RiskCritical
	}
	return facts{"keeper.forgotten", "", "", risk}
}

// StateChanged says what a change, recorded by its own event, makes of the rows that
// keeper decides by. It is written before them.
type StateChanged struct {
	Objects []StateObject `json:"objects"`
	Cutoff  int64         `json:"cutoff,omitempty"` // from now on [State]'s, in seconds since 1970, where it changes
	Why     string        `json:"why,omitempty"`    // where keeper finds the change rather than makes it
}

func (e StateChanged) describe() facts { return facts{"state.changed", "", "", RiskNormal} }

// StateAccepted says that the operator let keeper start although rows were not those
// that the log says.
type StateAccepted struct {
	Objects []StateObject `json:"objects"` // Before is what the log says, After what was found
}

func (e StateAccepted) describe() facts { return facts{"state.accepted", "", "", RiskCritical} }

// Kinds of objects that a keeper makes in its first start, before it signs anything.
const (
	KindKey = "key"       // of keeper's own
	KindKEK = "vault key" // a key-encryption key
)

// StateObject is a row, or several that belong together, by the digest of what it
// says; an empty digest stands for none.
type StateObject struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Before string `json:"before,omitempty"` // SHA-256 in hex
	After  string `json:"after,omitempty"`
}

// Disputed says that a witness has seen a head of the log that is not of this one: the
// log was put back, or somebody showed the witness another.
type Disputed struct {
	Witness string `json:"witness"`
	Seen    int64  `json:"seen"`  // entries that the witness's newest head is over
	Shown   int64  `json:"shown"` // entries that the head was over that it did not take
}

func (e Disputed) describe() facts { return facts{"audit.disputed", "", "", RiskCritical} }

// KeySucceeded is a change of the key that signs the log: After signs from the next
// entry on. The head over this entry is signed by both keys and names them.
type KeySucceeded struct {
	Before string `json:"before"` // public keys, as signed notes write them
	After  string `json:"after"`
}

func (e KeySucceeded) describe() facts { return facts{"audit.rekeyed", "", "", RiskWarning} }

// Pruned says that old entries left the log, after they were exported and what was
// exported was verified.
type Pruned struct {
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Export string `json:"export"` // the file's name; the proof is beside it
	SHA256 string `json:"sha256"` // of that file, in hex
	Reason string `json:"reason"` // "age", "size" or "asked"
}

func (e Pruned) describe() facts { return facts{"audit.pruned", "", "", RiskWarning} }

// ConfigChanged says that keeper was started with other settings than before.
type ConfigChanged struct {
	Settings []Setting `json:"settings"` // all that there are
	First    bool      `json:"-"`        // nothing was recorded of them before
}

// ConfigReloaded says that other settings were taken over while keeper ran.
type ConfigReloaded struct {
	Settings []Setting `json:"settings"`          // all that there are, as they are in force now
	Changed  []string  `json:"changed"`           // the names of those that are others than before
	Refused  []string  `json:"refused,omitempty"` // of those that wait for a start
}

func (e ConfigReloaded) describe() facts { return facts{"config.reloaded", "", "", RiskWarning} }

// ConfigShared says that other settings are to be taken over by all keepers on the store.
// It is written before they are kept.
type ConfigShared struct {
	Before string `json:"before,omitempty"` // SHA-256 of the text, in hex; empty: there were none
	After  string `json:"after,omitempty"`  // of what is to be; empty: none
}

func (e ConfigShared) describe() facts { return facts{"config.shared", "", "", RiskWarning} }

// BackupMade says that a backup of keeper was asked for. It is written before the first
// byte of it. Keys says that the vault's key is in it.
type BackupMade struct {
	Recipients int  `json:"recipients"`
	Keys       bool `json:"keys"`
}

func (e BackupMade) describe() facts {
	risk := RiskNormal
	if e.Keys {
		risk = RiskCritical
	}
	return facts{"store.backup", "", "", risk}
}

// StoreRestored says that keeper started on a folder that a backup was restored to: what
// the log said behind the first Entries, and what it made of the store, is gone.
type StoreRestored struct {
	BackupAt   string `json:"backupAt"`   // RFC 3339, UTC
	RestoredAt string `json:"restoredAt"` // RFC 3339, UTC
	Entries    int64  `json:"entries"`
}

func (e StoreRestored) describe() facts { return facts{"store.restored", "", "", RiskCritical} }

// Setting is one by the digest of its value, SHA-256 in hex; Before is empty where it
// was not recorded yet.
type Setting struct {
	Name   string `json:"name"`
	Before string `json:"before,omitempty"`
	After  string `json:"after"`
}

func (e ConfigChanged) describe() facts {
	if e.First {
		return facts{"config.changed", "", "", RiskNormal}
	}
	return facts{"config.changed", "", "", RiskWarning}
}

// Refused is a refusal on one of keeper's own routes: a failed
// authentication, a lacking scope. Count is above zero where it stands for so
// many refusals of the same kind and source within a minute.
type Refused struct {
	Agent string `json:"-"`
	Route string `json:"route"`
	Code  string `json:"code"`
	Count int    `json:"count,omitempty"`
}

func (e Refused) describe() facts { return facts{"error", e.Agent, "", RiskWarning} }

// Origin says where a change or a call came from.
type Origin struct {
	RequestID string
	By        string // an agent's id, or "admin token"; empty for a stranger
	Source    string // the peer's address without its port
	// Exchange is whom an issuer vouched for. Nil: nobody.
	Exchange *Exchange
}

// Exchange says whom an issuer vouched for, whose token is exchanged for one of
// keeper's. The caller has found no secret in it.
type Exchange struct {
	Issuer  string `json:"issuer"`
	Rule    string `json:"rule,omitempty"` // empty where none matched
	Subject string `json:"subject"`
	TokenID string `json:"tokenId,omitempty"` // the subject token's jti
}

type originKey struct{}

// WithOrigin returns a context whose events bear o.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns the context's Origin, or a zero one.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}

// NewRequestID returns the id that a call's answer and entries bear: "req_" and
// 96 random bits in hex.
func NewRequestID() string {
	var b [12]byte
	rand.Read(b[:])
	return "req_" + hex.EncodeToString(b[:])
}
