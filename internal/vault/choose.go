package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/policy"
)

// Choose names the credential for a call that policy has granted, by the rules
// of policy.Choose, whose errors it returns, or a *policy.SourceError where the
// credential that would serve the call has no value since its source fails.
func (v *Vault) Choose(ctx context.Context, g policy.Grant) (policy.Ref, error) {
	if err := ctx.Err(); err != nil {
		return policy.Ref{}, fmt.Errorf("choosing a credential: %w", err)
	}
	if !g.Valid() {
		return policy.Choose(g, nil)
	}
	ref, err := policy.Choose(g, v.state.Load().providers[g.Provider().Name].candidates)
	if errors.Is(err, policy.ErrNoCredential) {
		if since, found := v.awaited(g); found {
			return policy.Ref{}, &policy.SourceError{Provider: g.Provider().Name, Since: since}
		}
	}
	return ref, err
}
