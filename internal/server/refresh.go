package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/vault"
)

// tryAgain is how long a refresh waits for a change of settings, before it looks again.
const tryAgain = 20 * time.Millisecond

// isFresh is asked at every call: see auth.Config. After lapse, keeper is not fresh until
// a refresh that began later has succeeded, whatever else says so.
func (s *Server) isFresh() error {
	if s.lapses.Load() != s.refreshed.Load() {
		return errLapsed
	}
	if fresh := s.fresh.Load(); fresh != nil {
		return (*fresh)()
	}
	return nil
}

// refresh takes over what other keepers have changed in the store: keys before what is
// sealed by them, and secrets before the agents who may use them. When it returns, what
// they revoked is refused and cut. Of an error, some of it may be taken over and the rest
// is as before: keeper is not fresh then. One beside which lapse was called fails, as the
// secrets may be dropped again.
func (s *Server) refresh(ctx context.Context) error {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	lapses := s.lapses.Load()
	for _, take := range []func(context.Context) error{s.vault.Refresh, s.refreshAuthority, s.exceptions.Refresh, s.auth.Refresh, s.noticeSettings} {
		if err := take(ctx); err != nil {
			return fmt.Errorf("taking over what other keepers have changed: %w", err)
		}
	}
	s.refreshed.Store(lapses)
	if s.lapses.Load() != lapses {
		return errLapsed
	}
	return nil
}

var errLapsed = errors.New("keeper lost sight of its store, and has not read again what others changed")

// refreshAuthority issues by the keys of the certificate authority that are in the store,
// where they are others than before.
func (s *Server) refreshAuthority(ctx context.Context) error {
	keys, err := s.vault.AuthorityKeys(ctx)
	if err != nil || sameAuthority(keys, *s.caKeys.Load()) {
		return err
	}
	for !s.reloading.TryLock() { // a change of settings may be showing it for other names
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return fmt.Errorf("showing the certificate authority: %w", ctx.Err())
		}
	}
	defer s.reloading.Unlock()
	return s.showAuthority(ctx, s.now())
}

func sameAuthority(a, b vault.AuthorityKeys) bool {
	return sameSigner(a.Current, b.Current) && sameSigner(a.Next, b.Next) && sameSigner(a.Previous, b.Previous)
}

func sameSigner(a, b crypto.Signer) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	key, ok := a.Public().(*ecdsa.PublicKey)
	return ok && key.Equal(b.Public())
}

// lapse is for a keeper that does not know any more what others have changed, as isFresh
// says by then: it ends all calls, and drops the secrets and the connections that were
// made with client certificates. refresh brings all back.
func (s *Server) lapse() {
	s.lapses.Add(1)
	s.auth.CutAll(auth.ErrStale) // first, so that no stream goes on without the vault's eyes
	s.vault.Drop()
	s.now().proxy.Retire()
}
