package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// Verify returns the claims of an agent's token that is in force: signed by
// this keeper, issued, not expired, not revoked, its agent active. It refuses
// the static admin token, which is no agent's.
//
// Errors: ErrTokenInvalid, ErrTokenExpired, ErrTokenRevoked, the last as a
// *RevokedError that names the agent; ErrStale, which says nothing about the token.
// Any other means that the store could not be read, and nothing about the token.
func (a *Authority) Verify(ctx context.Context, raw string) (Claims, error) {
	if err := a.Fresh(); err != nil {
		return Claims{}, err
	}
	if len(raw) > maxTokenBytes {
		return Claims{}, ErrTokenInvalid
	}
	sum := a.digest(raw)
	token, known := a.remembered.GetIfPresent(sum)
	if known && token.keys == a.keys.Load() {
		return a.admit(token)
	}
	token, err := a.inspect(ctx, raw)
	if err != nil {
		return Claims{}, err
	}
	claims, err := a.admit(token)
	if err == nil {
		a.remembered.Set(sum, token)
	}
	return claims, err
}

// digest returns the SHA-256 of a token. It copies the token into a buffer that
// is used again: converting it would allocate at every call.
func (a *Authority) digest(raw string) [sha256.Size]byte {
	buffer, ok := a.buffers.Get().(*[maxTokenBytes]byte)
	if !ok {
		buffer = new([maxTokenBytes]byte)
	}
	n := copy(buffer[:], raw)
	sum := sha256.Sum256(buffer[:n])
	clear(buffer[:n])
	a.buffers.Put(buffer)
	return sum
}

// Authenticate is Verify for keeper's own routes: it takes the static admin
// token as well.
func (a *Authority) Authenticate(ctx context.Context, raw string) (Claims, error) {
	if a.IsAdmin(raw) {
		return Claims{admin: true}, nil
	}
	return a.Verify(ctx, raw)
}

// Renew returns the claims of a caller who was proven before and is still let in:
// its token is neither expired nor revoked, its agent active. Errors: ErrTokenInvalid
// for nobody's, ErrTokenExpired, ErrTokenRevoked; ErrStale, for all but the operator's,
// who must get at a keeper that has lost its store.
func (a *Authority) Renew(c Claims) (Claims, error) {
	if c.admin {
		return c, nil
	}
	if err := a.Fresh(); err != nil {
		return Claims{}, err
	}
	switch {
	case c.person != nil && !a.now().Before(c.person.expiresAt):
		return Claims{}, ErrTokenExpired
	case c.person != nil && !c.person.stands():
		return Claims{}, ErrTokenRevoked
	case c.person != nil:
		return c, nil
	case c.token == nil:
		return Claims{}, ErrTokenInvalid
	}
	return a.admit(c.token)
}

// admit checks what can change after a token was verified.
func (a *Authority) admit(token *verified) (Claims, error) {
	now := a.now()
	if !now.Before(token.expiresAt) {
		return Claims{}, ErrTokenExpired
	}
	if !a.inForce(token) {
		return Claims{}, &RevokedError{token.agent.id, token.jti}
	}
	token.agent.touch(now)
	return Claims{token: token}, nil
}

// inForce reports whether neither the token nor its agent is revoked, and the
// agent is active.
func (a *Authority) inForce(token *verified) bool {
	return token.agent.state.Load().admits(token.epoch) && !a.revoked.has(token.jti)
}

// inspect verifies a token that is not remembered. The agent's epoch is read
// before the token's row: a revocation after it shows in the epoch, one before
// it in the row.
func (a *Authority) inspect(ctx context.Context, raw string) (*verified, error) {
	keys, said, err := a.read(ctx, raw)
	if err != nil {
		return nil, err
	}
	if said.expired(a.now()) {
		return nil, ErrTokenExpired
	}
	owner, ok, err := a.lookUp(ctx, said.Subject)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, &RevokedError{said.Subject, said.JTI}
	}
	epoch := owner.state.Load().epoch
	if err := a.checkIssued(ctx, said); err != nil {
		return nil, err
	}
	scopes, err := scope.ParseSet(said.Scopes)
	if err != nil {
		return nil, ErrTokenInvalid
	}
	return &verified{
		agent: owner, epoch: epoch, keys: keys,
		name: said.Name, jti: said.JTI, scopes: scopes, expiresAt: time.Unix(said.Expires, 0).UTC(),
	}, nil
}

// read is keySet.read by the keys in force, also by those that another keeper has made.
func (a *Authority) read(ctx context.Context, raw string) (*keySet, payload, error) {
	keys := a.keys.Load()
	if keys.mayBe(raw) {
		if err := a.learn(ctx); err != nil {
			return nil, payload{}, err
		}
		keys = a.keys.Load()
	}
	said, err := keys.read(raw)
	return keys, said, err
}

// lookUp finds an agent, also one that another keeper has registered.
func (a *Authority) lookUp(ctx context.Context, id string) (*agent, bool, error) {
	found, ok := a.agents.find(id)
	if ok {
		return found, true, nil
	}
	if err := a.learn(ctx); err != nil {
		return nil, false, err
	}
	found, ok = a.agents.find(id)
	return found, ok, nil
}

// checkIssued compares the token with its row in the store.
func (a *Authority) checkIssued(ctx context.Context, said payload) error {
	if a.revoked.has(said.JTI) {
		return &RevokedError{said.Subject, said.JTI}
	}
	row, err := a.store.Token(ctx, said.JTI)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrTokenInvalid
	case err != nil:
		return fmt.Errorf("looking up the token: %w", err)
	case !said.matches(row):
		return ErrTokenInvalid
	case !row.RevokedAt.IsZero():
		a.revoked.add(row.JTI, row.ExpiresAt)
		return &RevokedError{said.Subject, said.JTI}
	default:
		return nil
	}
}

// revocations is the revoked tokens that have not expired. Reading it takes no
// lock.
type revocations struct {
	byJTI sync.Map // string to time.Time, its expiry
}

func (r *revocations) add(jti string, expiresAt time.Time) { r.byJTI.Store(jti, expiresAt) }

func (r *revocations) has(jti string) bool {
	_, revoked := r.byJTI.Load(jti)
	return revoked
}

// prune forgets what has expired by now.
func (r *revocations) prune(now time.Time) {
	r.byJTI.Range(func(jti, expiresAt any) bool {
		if !now.Before(expiresAt.(time.Time)) {
			r.byJTI.Delete(jti)
		}
		return true
	})
}
