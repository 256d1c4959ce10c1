package vault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// Actions of audit.VaultModified that only secrets from a source know.
const (
	actionWithdrawn = "withdrawn"
	actionRestored  = "restored"
)

// ExternalRequest is a secret whose value a source gives. The fields are as in
// SetRequest; Source says where it comes from, without anything secret.
type ExternalRequest struct {
	Provider, Label string
	Restricted      bool
	AllowedAgents   []string
	Source          string
}

// Standing is how it stands with a secret's source.
type Standing struct {
	Problem string    // why it gives no value at present; empty where it does
	Since   time.Time // since when there is a Problem
	Origin  string    // what the source calls the value's version; may be empty
}

// External is the place of one secret whose value a source gives. The values are
// in memory only: none is stored, sealed or anchored. They are chosen, injected
// and matched like stored ones. An External is safe for concurrent use.
type External struct {
	vault    *Vault
	id       string
	request  ExternalRequest
	expected time.Time
	standing atomic.Pointer[Standing]

	// Guarded by vault.mu.
	number  int          // of the newest version
	planned *Arrangement // that is to have it; nil once it is in force
	waiting secret.Value // a value that waits for that
}

// Name is the provider and the label that the secret has in the vault.
func (e *External) Name() (provider, label string) { return e.request.Provider, e.request.Label }

// externals are the places in force; not to be changed.
func (v *Vault) externals() []*External { return v.expected.Load().places }

// refuseExternal is the error where one of the secrets that are named comes from
// a source. An empty label names all of the provider's.
func (v *Vault) refuseExternal(provider, label string) error {
	for _, e := range v.externals() {
		if strings.EqualFold(e.request.Provider, provider) && (label == "" || e.request.Label == label) {
			return &FieldError{"provider", fmt.Sprintf("names a secret that is not kept here: %s@%s comes from %s, as `secrets` in keeper's configuration says; change it there", e.request.Provider, e.request.Label, e.request.Source)}
		}
	}
	return nil
}

// Hold takes over the value that the source gave, which the next Choose, Inject
// and Match know when Hold returns. A value that is held already changes and
// records nothing. A version's number is the Unix time in milliseconds at which it
// was taken over, or one more than the last: so no two values of a secret have the
// same, over restarts too, though nothing of it is stored. A value that cannot be held is a
// *FieldError, and leaves the one before in place.
func (e *External) Hold(ctx context.Context, value secret.Value) (changed bool, err error) {
	value, err = normalValue(value)
	if err != nil {
		return false, err
	}
	v := e.vault
	v.mu.Lock()
	defer v.mu.Unlock()
	catalogue := v.catalogue
	if e.planned != nil {
		catalogue = e.planned.catalogue
	}
	if err := checkShape(catalogue, SetRequest{Provider: e.request.Provider, Label: e.request.Label, Value: value}); err != nil {
		return false, err
	}
	if e.planned != nil {
		e.waiting = value
		return false, nil
	}
	return e.hold(ctx, value)
}

// hold takes over a value that can be held; the caller holds vault.mu.
func (e *External) hold(ctx context.Context, value secret.Value) (changed bool, err error) {
	v := e.vault
	if err := v.holds(); err != nil {
		return false, err
	}
	before := v.state.Load().secrets[e.id]
	same := before != nil && before.current().value.Equal(value)
	switch {
	case same && !before.withdrawn:
		return false, nil
	case same:
		if err := e.record(ctx, actionRestored); err != nil {
			return false, err
		}
		v.state.Store(v.state.Load().replace(before.withdraw(false)))
		return true, nil
	}
	action := actionSet
	if e.number > 0 { // of another place of that name, maybe
		action = actionRotated
	}
	now := v.now()
	e.number = max(e.number+1, int(now.UnixMilli()))
	if err := e.record(ctx, action); err != nil {
		return false, err
	}
	row := store.Credential{
		ID: e.id, Version: e.number, Provider: e.request.Provider, Label: e.request.Label,
		Restricted: e.request.Restricted, AllowedAgents: e.request.AllowedAgents, Source: e.request.Source, CreatedAt: stamp(now),
	}
	next := before.add(newVersion(row, value), row)
	next.external = true
	v.state.Store(v.state.Load().with(next))
	return true, nil
}

// Withdraw lets no call use the secret any more, until Hold is given a value
// again. Its values are still matched. It is withdrawn even where that cannot be
// recorded, which is the error then.
func (e *External) Withdraw(ctx context.Context) error {
	v := e.vault
	v.mu.Lock()
	defer v.mu.Unlock()
	e.waiting = secret.Value{}
	current := v.state.Load()
	h := current.secrets[e.id]
	if h == nil || h.withdrawn {
		return nil
	}
	v.state.Store(current.replace(h.withdraw(true)))
	return e.record(ctx, actionWithdrawn)
}

// Report says how it stands with the source, in the terms of Standing.
func (e *External) Report(problem string, since time.Time, origin string) {
	e.standing.Store(&Standing{Problem: problem, Since: since, Origin: origin})
}

func (e *External) record(ctx context.Context, action string) error {
	err := e.vault.log.Record(ctx, audit.VaultModified{
		Provider: e.request.Provider, Label: e.request.Label, Version: e.number, Action: action, Source: e.request.Source,
	})
	if err != nil {
		return fmt.Errorf("recording a change of the vault: %w", err)
	}
	return nil
}

// States of an Entry whose value a source gives.
const (
	StateFresh  = "fresh"  // the source gave it
	StateStale  = "stale"  // the source fails, and its last value still serves
	StateAbsent = "absent" // there is no value: calls are refused
)

// entry describes the secret, whether there is a value or not.
func (e *External) entry(current *snapshot) Entry {
	standing := e.standing.Load()
	entry := Entry{
		Provider: e.request.Provider, Label: e.request.Label, Preview: previewMask, Source: e.request.Source,
		Restricted: e.request.Restricted, AllowedAgents: slices.Clone(e.request.AllowedAgents),
		RotatedAt: e.expected, State: StateAbsent, Standing: *standing,
	}
	h := current.secrets[e.id]
	if h == nil {
		return entry
	}
	newest := h.current()
	entry.Version, entry.RotatedAt = newest.number, newest.createdAt
	entry.RefusedAt, entry.Refusal = newest.use.refusal()
	switch {
	case h.withdrawn:
		return entry
	case standing.Problem != "":
		entry.State = StateStale
	default:
		entry.State = StateFresh
	}
	entry.Preview = preview(newest.value)
	return entry
}

// awaited is since when the source of a secret has failed that would serve the
// grant if there were a value of it.
func (a *Arrangement) awaited(g policy.Grant) (since time.Time, found bool) {
	current := a.state.Load()
	for _, e := range a.places {
		r := &e.request
		if r.Provider != g.Provider().Name || g.Label() != "" && g.Label() != r.Label || r.Restricted && !g.Checks() && !slices.Contains(r.AllowedAgents, g.AgentID()) {
			continue
		}
		if h := current.secrets[e.id]; h != nil && !h.withdrawn {
			continue
		}
		if at := e.standing.Load().Since; !found || at.After(since) {
			since, found = at, true
		}
	}
	return since, found
}

// carry takes over what is in no row: the secrets of sources as before, which may be nil,
// has them.
func (s *snapshot) carry(before *snapshot) error {
	if before == nil {
		return nil
	}
	for id, h := range before.secrets {
		if !h.external {
			continue
		}
		restored, err := h.restore()
		if err != nil {
			return err
		}
		s.secrets[id] = restored
	}
	return nil
}

// withdraw returns the secret as one that serves no call, or serves calls again.
func (h *held) withdraw(withdrawn bool) *held {
	next := *h
	next.withdrawn = withdrawn
	return &next
}

// Mask returns text with "…" in the place of each run of it that could be a
// secret: every value that a vault takes holds such a run.
func Mask(text string) string {
	var out strings.Builder
	from := 0
	for _, run := range tellingRuns([]byte(text)) {
		out.WriteString(text[from:run.start])
		out.WriteString(previewMask)
		from = run.end
	}
	out.WriteString(text[from:])
	return out.String()
}
