package vault

import (
	"context"
	"fmt"

	"github.com/superinstance/keeper/internal/policy"
)

// Choose names the credential for a call that policy has granted, by the rules
// of policy.Choose, whose errors it returns.
func (v *Vault) Choose(ctx context.Context, g policy.Grant) (policy.Ref, error) {
	if err := ctx.Err(); err != nil {
		return policy.Ref{}, fmt.Errorf("choosing a credential: %w", err)
	}
	if !g.Valid() {
		return policy.Choose(g, nil)
	}
	return policy.Choose(g, v.state.Load().providers[g.Provider().Name].candidates)
}
