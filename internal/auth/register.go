package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// Registration says who may register an agent. A caller with keeper:write
// always may.
type Registration string

// The registration policies.
const (
	// RegisterAdmin: nobody else.
	RegisterAdmin Registration = "admin"
	// RegisterApproval: anyone may ask, and waits with no grant.
	RegisterApproval Registration = "approval"
	// RegisterOpen: anyone, with the configured scopes; for development.
	RegisterOpen Registration = "open"
)

func (r Registration) orDefault() (Registration, error) {
	switch r {
	case "":
		return RegisterAdmin, nil
	case RegisterAdmin, RegisterApproval, RegisterOpen:
		return r, nil
	default:
		return "", fmt.Errorf("registration must be %s, %s or %s", RegisterAdmin, RegisterApproval, RegisterOpen)
	}
}

const (
	agentSecretPrefix = "keeper_as_"
	agentSecretChars  = 43 // of 62: 256 bits
	base62            = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// RegisterRequest asks for a new agent.
type RegisterRequest struct {
	AgentID    string
	Name       string // empty: the id
	GitHubUser string // may be empty
	// Scopes is what is to be granted. From a caller without keeper:write it
	// is a wish: of the configured scopes, only those that it names.
	Scopes      scope.Set
	ScopesGiven bool // false: the configured scopes where registration is open, else none
	// Fit is asked once it is known that the caller may register what it asks for. Its
	// error refuses the agent. Nil: it is fit.
	Fit func() error
}

// Register adds an agent and returns it with its secret, which is kept nowhere
// and returned this once. by may be nobody, where the registration policy lets
// strangers in.
//
// Errors: ErrForbidden, ErrQueueFull, *ScopeError where the caller would grant
// beyond what it holds, *FieldError, store.ErrExists.
func (a *Authority) Register(ctx context.Context, by Claims, r RegisterRequest) (store.Agent, string, error) {
	status, grant, err := a.grantOnRegister(by, r)
	if err != nil {
		return store.Agent{}, "", fmt.Errorf("registering an agent: %w", err)
	}
	if err := r.check(); err != nil {
		return store.Agent{}, "", fmt.Errorf("registering an agent: %w", err)
	}
	if r.Fit != nil {
		if err := r.Fit(); err != nil {
			return store.Agent{}, "", fmt.Errorf("registering an agent: %w", err)
		}
	}
	if err := a.learn(ctx); err != nil { // who else was registered, and by what key the log is signed
		return store.Agent{}, "", fmt.Errorf("registering an agent: %w", err)
	}
	secret := newAgentSecret()
	added, err := a.add(ctx, r.row(status, grant, hashSecret(secret), a.now()))
	if err != nil {
		return store.Agent{}, "", fmt.Errorf("registering an agent: %w", err)
	}
	return added.public(), secret, nil
}

// grantOnRegister decides what a new agent of the caller's may do.
func (a *Authority) grantOnRegister(by Claims, r RegisterRequest) (store.AgentStatus, scope.Set, error) {
	now := a.entry.Load()
	open := now.registration == RegisterOpen
	switch {
	case open && !r.ScopesGiven:
		return store.Active, now.defaultScopes, nil
	case by.mayManage():
		if missing := by.lacking(r.Scopes); len(missing) > 0 {
			return "", nil, &ScopeError{Missing: missing}
		}
		return store.Active, r.Scopes, nil
	case open:
		return store.Active, within(now.defaultScopes, r.Scopes), nil
	case now.registration == RegisterApproval:
		return store.Pending, nil, nil
	default:
		return "", nil, ErrForbidden
	}
}

// within returns the scopes of wanted that limit covers.
func within(limit, wanted scope.Set) scope.Set {
	return slices.DeleteFunc(slices.Clone(wanted), func(s scope.Scope) bool { return !limit.Covers(s) })
}

func (r RegisterRequest) check() error {
	if err := checkAgentID(r.AgentID); err != nil {
		return err
	}
	if err := checkName("agentName", r.Name); err != nil {
		return err
	}
	if err := checkName("githubUser", r.GitHubUser); err != nil {
		return err
	}
	return checkGrant(r.Scopes)
}

func (r RegisterRequest) row(status store.AgentStatus, grant scope.Set, hash []byte, now time.Time) store.Agent {
	now = now.UTC()
	return store.Agent{
		ID: r.AgentID, Name: nameOrID(r.Name, r.AgentID), GitHubUser: r.GitHubUser,
		Status: status, Scopes: grant.Strings(), SecretHash: hash, CreatedAt: now, UpdatedAt: now,
	}
}

func nameOrID(name, id string) string {
	if strings.TrimSpace(name) == "" {
		return id
	}
	return name
}

// add journals and stores a new agent. Agents are added one at a time, so that
// the queue of those who wait stays within its bound.
func (a *Authority) add(ctx context.Context, row store.Agent) (*agent, error) {
	added, err := newAgent(row)
	if err != nil {
		return nil, err
	}
	ctx, cancel := decided(ctx)
	defer cancel()
	a.changing.RLock()
	defer a.changing.RUnlock()
	a.registering.Lock()
	defer a.registering.Unlock()
	if _, taken := a.agents.find(row.ID); taken {
		return nil, store.ErrExists
	}
	if row.Status == store.Pending && a.agents.waiting() >= a.pendingLimit {
		return nil, ErrQueueFull
	}
	if err := a.journal.AgentRegistered(ctx, added.public()); err != nil {
		return nil, err
	}
	if err := a.store.InsertAgent(ctx, row); err != nil {
		return nil, err
	}
	a.agents.add(added)
	return added, nil
}

// newAgentSecret returns a secret of 256 random bits.
func newAgentSecret() string {
	out := []byte(agentSecretPrefix)
	var b [1]byte
	for len(out) < len(agentSecretPrefix)+agentSecretChars {
		rand.Read(b[:]) // never fails: see crypto/rand.Read
		if at := int(b[0]) % 64; at < len(base62) {
			out = append(out, base62[at])
		}
	}
	return string(out)
}

// hashSecret needs no slow hash: the secret is 256 random bits.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
