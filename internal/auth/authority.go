// Package auth knows who is calling: agents and their secrets, the tokens
// issued to them, and what was revoked. Its one invariant: a Claims exists only
// for a token that this keeper signed, that was in force when it was verified,
// and whose agent is active; from the moment a revocation returns, no call of
// Verify accepts what it revoked. It never imports vault, proxy or api: the
// private keys stay behind the Keyring.
package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	verifiedLimit       = 1 << 16 // tokens remembered as verified
	defaultPendingLimit = 100
	changeTimeout       = 15 * time.Second // of a change, once it is decided
)

// Store keeps agents and tokens.
type Store interface {
	AgentStore
	TokenStore
	RevocationStore
}

// AgentStore keeps the agents.
type AgentStore interface {
	// InsertAgent returns store.ErrExists where the id is taken.
	InsertAgent(ctx context.Context, a store.Agent) error
	// UpdateAgent returns store.ErrNotFound where there is none.
	UpdateAgent(ctx context.Context, a store.Agent) error
	// DeleteAgent also revokes the agent's tokens, in one transaction.
	DeleteAgent(ctx context.Context, id string, at time.Time) error
	Agents(ctx context.Context) ([]store.Agent, error)
	// TouchAgents sets when each was last seen, and passes over unknown ids.
	TouchAgents(ctx context.Context, seen map[string]time.Time) error
}

// TokenStore keeps the tokens' rows.
type TokenStore interface {
	InsertToken(ctx context.Context, t store.Token) error
	// Token returns store.ErrNotFound where there is none.
	Token(ctx context.Context, jti string) (store.Token, error)
	Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error)
	// PruneTokens drops the tokens that expired before the time.
	PruneTokens(ctx context.Context, before time.Time) (int, error)
}

// RevocationStore makes revocations last.
type RevocationStore interface {
	RevokeToken(ctx context.Context, jti string, at time.Time) error
	// RevokeAgent sets the agent's status to store.Revoked and revokes all its
	// tokens, in one transaction.
	RevokeAgent(ctx context.Context, id string, at time.Time) error
}

// Journal records changes. Each method is called before the change is made and
// is durable when it returns; its error refuses the change.
type Journal interface {
	AgentRegistered(ctx context.Context, a store.Agent) error
	// AgentUpdated: after has no status where the agent is deleted.
	AgentUpdated(ctx context.Context, before, after store.Agent) error
	TokenIssued(ctx context.Context, t store.Token) error
	TokenRevoked(ctx context.Context, r Revocation) error
	// SigningRotated names the key that becomes the current one.
	SigningRotated(ctx context.Context, kid string) error
}

// Revocation says what is revoked: one token, or all tokens of an agent.
type Revocation struct {
	AgentID string
	JTI     string // empty where All
	All     bool
}

// Config is all that an Authority needs. Store, Keys and Journal must be given.
type Config struct {
	Store   Store
	Keys    Keyring
	Journal Journal

	// Registration says who may register an agent. Zero: RegisterAdmin.
	Registration Registration
	// DefaultScopes is what RegisterOpen grants. Nil grants nothing.
	DefaultScopes scope.Set
	// PendingLimit is how many agents may wait for approval. Zero: 100.
	PendingLimit int
	// AdminToken is the operator's static bearer. Zero: there is none.
	// Otherwise it has at least 32 characters.
	AdminToken secret.Value

	// Fresh says whether the keeper knows what others have changed in the store. While
	// it returns an error, no token is let in: see ErrStale. It is asked at every call,
	// so it must be quick. Nil: nobody else changes anything.
	Fresh func() error
	// Sync takes over what others have changed so far, by Refresh and what else is to be
	// read again. It is called where somebody is not known here who may be known to
	// others. Nil: nobody else changes anything.
	Sync func(ctx context.Context) error

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: none
}

// Authority answers who is calling, and changes who may. It is safe for
// concurrent use.
type Authority struct {
	store        Store
	keyring      Keyring
	journal      Journal
	entry        atomic.Pointer[entry]
	pendingLimit int
	admins       atomic.Pointer[[]adminToken]
	now          func() time.Time
	logger       *slog.Logger

	fresh   func() error // may be nil
	syncing syncs

	// changing is held shared while an agent is added or changes, in the store and here,
	// and alone by Refresh, which so undoes nothing that was changed after it read the
	// store. It comes before the other locks.
	changing    sync.RWMutex
	registering sync.Mutex // held while an agent is added
	rotating    sync.Mutex // held while the signing key rotates
	exchanging  sync.Mutex // held while a subject token is used up

	keys       atomic.Pointer[keySet]
	agents     roster
	revoked    revocations
	remembered *otter.Cache[[sha256.Size]byte, *verified]
	inFlight   calls
	buffers    sync.Pool         // of *[maxTokenBytes]byte
	noHash     [sha256.Size]byte // of no secret: what an unknown agent is compared with

	stop    chan struct{}
	stopped chan struct{}
	closing sync.Once
}

// Open loads the agents and the revocations in force, and begins to write back
// when agents were last seen. The Authority must be closed.
func Open(ctx context.Context, c Config) (*Authority, error) {
	a, err := newAuthority(c)
	if err != nil {
		return nil, fmt.Errorf("opening the authority: %w", err)
	}
	if err := a.load(ctx); err != nil {
		return nil, fmt.Errorf("opening the authority: %w", err)
	}
	go a.keepHouse()
	return a, nil
}

func newAuthority(c Config) (*Authority, error) {
	if c.Store == nil || c.Keys == nil || c.Journal == nil {
		return nil, errors.New("store, keys and journal must be given")
	}
	registration, err := c.Registration.orDefault()
	if err != nil {
		return nil, err
	}
	remembered, err := otter.New(&otter.Options[[sha256.Size]byte, *verified]{MaximumSize: verifiedLimit})
	if err != nil {
		return nil, fmt.Errorf("making the cache of verified tokens: %w", err)
	}
	a := &Authority{
		store: c.Store, keyring: c.Keys, journal: c.Journal,
		pendingLimit: c.PendingLimit,
		fresh:        c.Fresh, syncing: syncs{read: c.Sync},
		now: c.Now, logger: c.Logger, remembered: remembered,
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := a.SetAdmins(AdminToken{Value: c.AdminToken}); err != nil {
		return nil, err
	}
	a.entry.Store(&entry{registration, c.DefaultScopes})
	a.fillDefaults()
	return a, nil
}

// entry is who may come in, and with what.
type entry struct {
	registration  Registration
	defaultScopes scope.Set
}

// Admit changes who may register an agent, and what open registration grants, from now
// on. The error says that there is no such registration.
func (a *Authority) Admit(r Registration, defaultScopes scope.Set) error {
	r, err := r.orDefault()
	if err != nil {
		return err
	}
	a.entry.Store(&entry{r, defaultScopes})
	return nil
}

func (a *Authority) fillDefaults() {
	if a.pendingLimit <= 0 {
		a.pendingLimit = defaultPendingLimit
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	rand.Read(a.noHash[:]) // never fails: see crypto/rand.Read
}

func (a *Authority) load(ctx context.Context) error {
	keys, err := newKeySet(a.keyring.Public())
	if err != nil {
		return err
	}
	a.keys.Store(keys)
	rows, err := a.store.Agents(ctx)
	if err != nil {
		return fmt.Errorf("loading agents: %w", err)
	}
	for _, row := range rows {
		one, err := newAgent(row)
		if err != nil {
			return err
		}
		a.agents.add(one)
	}
	dead, err := a.store.Tokens(ctx, store.TokenFilter{Revoked: true, At: a.now()})
	if err != nil {
		return fmt.Errorf("loading revoked tokens: %w", err)
	}
	for _, t := range dead {
		a.revoked.add(t.JTI, t.ExpiresAt)
	}
	return nil
}

// Agents returns all agents by id, without the hashes of their secrets.
func (a *Authority) Agents() []store.Agent {
	sorted := a.agents.sorted()
	rows := make([]store.Agent, len(sorted))
	for i, one := range sorted {
		rows[i] = one.public()
	}
	return rows
}

// Agent returns one agent, without the hash of its secret, or
// store.ErrNotFound.
func (a *Authority) Agent(id string) (store.Agent, error) {
	one, ok := a.agents.find(id)
	if !ok {
		return store.Agent{}, unknownAgent()
	}
	return one.public(), nil
}

// Tokens returns the agent's tokens that are neither expired nor revoked, in the order
// of issue, or store.ErrNotFound where there is no such agent.
func (a *Authority) Tokens(ctx context.Context, agentID string) ([]store.Token, error) {
	if _, ok := a.agents.find(agentID); !ok {
		return nil, unknownAgent()
	}
	alive, err := a.store.Tokens(ctx, store.TokenFilter{AgentID: agentID, At: a.now()})
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	return alive, nil
}

// NewestTokens returns so many of all tokens that are neither expired nor revoked, newest
// first: of those that were issued before that place, unless it is zero.
func (a *Authority) NewestTokens(ctx context.Context, n int, before store.TokenPlace) ([]store.Token, error) {
	alive, err := a.store.Tokens(ctx, store.TokenFilter{At: a.now(), Newest: n, Before: before})
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	return alive, nil
}

// JWKS returns the public signing keys as a JSON Web Key Set (RFC 7517).
func (a *Authority) JWKS() []byte { return bytes.Clone(a.keys.Load().jwks) }

// unknownAgent does not quote the id, which may be a secret pasted into the
// wrong field.
func unknownAgent() error { return fmt.Errorf("looking up the agent: %w", store.ErrNotFound) }

// decided is the context for carrying out a change that is decided: a caller
// who hangs up does not leave it half made.
func decided(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
}
