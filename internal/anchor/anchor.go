// Package anchor ties the rows that keeper decides by to the audit log. Its one
// invariant: a change of them is in the log, by the digest of what it makes of a
// row, before it is made, and in a signed checkpoint before its caller is told that
// it is done. So a row that was put back, edited or deleted behind keeper's back
// shows at the next start. It never imports the vault or a database.
package anchor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/store"
)

// Credentials keeps the versions of secrets, sealed.
type Credentials interface {
	PutCredential(ctx context.Context, c store.Credential) error
	Credentials(ctx context.Context) ([]store.Credential, error)
	DeleteCredential(ctx context.Context, id string) error
	PruneCredential(ctx context.Context, id string, keep int) error
}

// Keys keeps keeper's own keys, sealed.
type Keys interface {
	Keys(ctx context.Context) ([]store.Key, error)
	PutKeys(ctx context.Context, keys []store.Key) error
	KEKs(ctx context.Context) ([]store.KEK, error)
	PutKEK(ctx context.Context, k store.KEK) error
	ApplyRewrap(ctx context.Context, r store.Rewrap) error
}

// Imports remembers what was imported from the environment.
type Imports interface {
	Imports(ctx context.Context) ([]store.Import, error)
	PutImport(ctx context.Context, i store.Import) error
}

// Settings keeps those that keepers share: store.ErrNotFound where there are none.
type Settings interface {
	Settings(ctx context.Context) (store.Settings, error)
	PutSettings(ctx context.Context, s store.Settings) error
	DeleteSettings(ctx context.Context) error
}

// Rows are all rows that keeper decides by.
type Rows interface {
	auth.Store
	Credentials
	Keys
	Imports
	exception.Store
	Settings
}

// Log is the audit log.
type Log interface {
	Record(ctx context.Context, e audit.Event) error
	Checkpoint(ctx context.Context) ([]byte, error)
	BeginChange()
	EndChange(digest string, cutoff time.Time)
	SharedLog
}

// SharedLog is of a log that several keepers append to.
type SharedLog interface {
	// Known is how many entries the log is known to have.
	Known() int64
	// CheckEnd returns an error that wraps audit.ErrTampered unless end is where keepers
	// say that the log ends, looked at when it was known to have so many entries.
	CheckEnd(end store.LogEnd, known int64) error
	// ChangeState records a change of rows in the transaction that makes it.
	ChangeState(ctx context.Context, tx audit.Shared, e audit.StateChanged, digest string, cutoff time.Time) (committed func(), err error)
}

// Shared is rows that several keepers change. What f gets reads and writes in one
// transaction.
type Shared interface {
	// Change runs f while nobody else changes rows, or appends to the log.
	Change(ctx context.Context, f func(context.Context, Rows, audit.Shared) error) error
	// LogEnd is where the log ends now.
	LogEnd(ctx context.Context) (store.LogEnd, error)
	// Snapshot runs f, which only reads.
	Snapshot(ctx context.Context, f func(context.Context, Rows, store.LogEnd) error) error
}

// Store is Rows, and records each change of them in the log. It is safe for
// concurrent use; changes are made one after the other.
type Store struct {
	Rows
	entries audit.Entries
	log     Log
	logger  *slog.Logger
	accept  bool
	live    bool   // another process may change the rows
	shared  Shared // nil: nobody else changes them

	mu     sync.Mutex // held through each change; guards all below
	state  state      // of shared rows: as far as those who hold them in memory took them over
	cutoff time.Time
	taken  string              // of shared rows: the digest of state; empty: not known
	doubt  []audit.StateObject // what was recorded last, where the rows may not be so
	held   bool                // the rows were held against the log: now changes are signed
	joins  bool                // others share the rows already: none is changed before they are held against the log
}

// Config is what a Store needs; all but Accept is required.
type Config struct {
	Rows    Rows
	Entries audit.Entries // of the log
	Log     Log
	Logger  *slog.Logger
	// Accept says that the operator lets keeper start although the rows are not
	// those that the log says.
	Accept bool
	// Shared is the same rows, where other keepers change them, too.
	Shared Shared
	// Joins says that others have shared them before.
	Joins bool
}

// Open reads the rows.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{Rows: c.Rows, entries: c.Entries, log: c.Log, logger: c.Logger, accept: c.Accept, shared: c.Shared, joins: c.Joins}
	var err error
	if s.state, err = read(ctx, s.Rows, s.cutoff); err != nil {
		return nil, fmt.Errorf("reading the state of the store: %w", err)
	}
	return s, nil
}

// change makes a change of rows, after which those named have the digests in after;
// the empty digest stands for none. The caller holds mu.
func (s *Store) change(ctx context.Context, after state, cutoff time.Time, write func() error) error {
	if err := s.resolve(ctx); err != nil {
		return err
	}
	if err := s.holds(ctx); err != nil {
		return err
	}
	objects := s.state.differences(after)
	if len(objects) == 0 && cutoff.Equal(s.cutoff) {
		return write()
	}
	e := audit.StateChanged{Objects: objects}
	if !cutoff.Equal(s.cutoff) {
		e.Cutoff = cutoff.Unix()
	}
	s.log.BeginChange()
	if err := s.log.Record(ctx, e); err != nil {
		s.endChange()
		return err
	}
	ctx = context.WithoutCancel(ctx)
	s.state.apply(objects)
	s.cutoff = cutoff
	if err := write(); err != nil {
		s.doubt = append([]audit.StateObject{}, objects...)
		if err := s.resolve(ctx); err != nil {
			s.logger.ErrorContext(ctx, "change not taken back in the audit log; it will be", "error", err)
		}
		return err
	}
	s.endChange()
	if !s.held {
		return nil
	}
	if _, err := s.log.Checkpoint(ctx); err != nil {
		s.logger.WarnContext(ctx, "change made, and recorded, but not yet signed", "error", err)
	}
	return nil
}

// holds says whether the rows are those that keeper knows of. What a change makes of
// them goes into the log and into a checkpoint: one that was edited meanwhile must not.
func (s *Store) holds(ctx context.Context) error {
	is, err := read(ctx, s.Rows, s.cutoff)
	if err != nil {
		return err
	}
	return s.onlyKnown(is, nil)
}

// onlyKnown returns an error that names the rows which are neither what keeper knows
// nor what one of the changes found.
func (s *Store) onlyKnown(is state, changes []audit.StateObject) error {
	foreign := s.state.differences(is.and(s.state))
	for _, c := range changes {
		foreign = slices.DeleteFunc(foreign, func(o audit.StateObject) bool {
			return o.Kind == c.Kind && o.ID == c.ID && o.After == c.Before
		})
	}
	if len(foreign) > 0 {
		return &disagreement{foreign, describe(foreign, nil)}
	}
	return nil
}

// resolve records what the rows are, where a change failed and it is not known what
// it did.
func (s *Store) resolve(ctx context.Context) error {
	if s.doubt == nil {
		return nil
	}
	is, err := read(ctx, s.Rows, s.cutoff)
	if err == nil {
		err = s.onlyKnown(is, s.doubt)
	}
	if err != nil {
		return err
	}
	if objects := s.state.differences(is.and(s.state)); len(objects) > 0 {
		if err := s.log.Record(ctx, audit.StateChanged{Objects: objects, Why: "a change failed"}); err != nil {
			return err
		}
	}
	s.state, s.doubt = is, nil
	s.endChange()
	return nil
}

func (s *Store) endChange() {
	if s.held {
		s.log.EndChange(s.state.digest(), s.cutoff)
	}
}

// edit is a change of rows that is to be made.
type edit struct {
	after  state     // what becomes of the rows that change: their digests; empty: there is none
	cutoff time.Time // zero: it stays
	write  func() error
	// known says that the new rows are made of those that this keeper knows: where another
	// keeper changed one since, nothing is changed.
	known bool
}

// errBehind: another keeper changed the same a moment ago, and this one did not take that
// over yet.
var errBehind = fmt.Errorf("another keeper changed the same a moment ago: %w", store.ErrBehind)

// edit makes the change that plan makes of the rows.
func (s *Store) edit(ctx context.Context, plan func(context.Context, Rows) (edit, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shared != nil && s.held:
		return s.editShared(ctx, plan)
	case s.joins:
		return errors.New("changing the store: it is not held against the audit log yet")
	}
	e, err := plan(ctx, s.Rows)
	switch {
	case err != nil:
		return err
	case e.after == nil && e.cutoff.IsZero():
		return e.write()
	case e.cutoff.IsZero():
		e.cutoff = s.cutoff
	}
	return s.change(ctx, e.after, e.cutoff, e.write)
}

// InsertAgent implements [auth.AgentStore].
func (s *Store) InsertAgent(ctx context.Context, a store.Agent) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() error { return rows.InsertAgent(ctx, a) }}
		if s.state[agentKey(a.ID)] == "" { // or else it is refused
			e.after = state{agentKey(a.ID): ofAgent(a)}
		}
		return e, nil
	})
}

// UpdateAgent implements [auth.AgentStore].
func (s *Store) UpdateAgent(ctx context.Context, a store.Agent) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() error { return rows.UpdateAgent(ctx, a) }, known: true}
		if s.state[agentKey(a.ID)] != "" {
			e.after = state{agentKey(a.ID): ofAgent(a)}
		}
		return e, nil
	})
}

// DeleteAgent implements [auth.AgentStore].
func (s *Store) DeleteAgent(ctx context.Context, id string, at time.Time) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() error { return rows.DeleteAgent(ctx, id, at) }}
		if s.state[agentKey(id)] == "" {
			return e, nil
		}
		tokens, err := s.tokensOf(ctx, rows, id)
		e.after = state{agentKey(id): "", revokedKey(id): ofRevoked(tokens)}
		return e, err
	})
}

// RevokeAgent implements [auth.RevocationStore].
func (s *Store) RevokeAgent(ctx context.Context, id string, at time.Time) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() error { return rows.RevokeAgent(ctx, id, at) }}
		if s.state[agentKey(id)] == "" {
			return e, nil
		}
		tokens, err := s.tokensOf(ctx, rows, id)
		if err != nil {
			return e, err
		}
		agents, err := rows.Agents(ctx)
		e.after = state{revokedKey(id): ofRevoked(tokens)}
		for _, a := range agents {
			if a.ID == id {
				a.Status = store.Revoked
				e.after[agentKey(id)] = ofAgent(a)
			}
		}
		return e, err
	})
}

// tokensOf are all of an agent's tokens that count, revoked or not.
func (s *Store) tokensOf(ctx context.Context, rows Rows, id string) ([]store.Token, error) {
	live, err := rows.Tokens(ctx, store.TokenFilter{AgentID: id, At: s.cutoff})
	if err != nil {
		return nil, err
	}
	revoked, err := rows.Tokens(ctx, store.TokenFilter{AgentID: id, Revoked: true, At: s.cutoff})
	return append(live, revoked...), err
}

// InsertToken implements [auth.TokenStore]. It waits for changes, so that none
// revokes a token that it does not know of.
func (s *Store) InsertToken(ctx context.Context, t store.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Rows.InsertToken(ctx, t)
}

// RevokeToken implements [auth.RevocationStore].
func (s *Store) RevokeToken(ctx context.Context, jti string, at time.Time) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() error { return rows.RevokeToken(ctx, jti, at) }}
		t, err := rows.Token(ctx, jti)
		if err != nil || !t.ExpiresAt.After(s.cutoff) {
			return e, nil // there is none, or none that counts
		}
		revoked, err := rows.Tokens(ctx, store.TokenFilter{AgentID: t.AgentID, Revoked: true, At: s.cutoff})
		if t.RevokedAt.IsZero() {
			revoked = append(revoked, t)
		}
		e.after = state{revokedKey(t.AgentID): ofRevoked(revoked)}
		return e, err
	})
}

// PruneTokens implements [auth.TokenStore].
func (s *Store) PruneTokens(ctx context.Context, before time.Time) (n int, err error) {
	cutoff := before.Truncate(time.Second)
	err = s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() (err error) {
			n, err = rows.PruneTokens(ctx, cutoff)
			return err
		}}
		if !cutoff.After(s.cutoff) {
			return e, nil
		}
		revoked, err := rows.Tokens(ctx, store.TokenFilter{Revoked: true, At: cutoff})
		if err != nil {
			return e, err
		}
		left := revocations(revoked)
		for k := range s.state {
			if _, still := left[k]; k.kind == kindRevoked && !still {
				left[k] = ""
			}
		}
		if len(s.state.differences(left)) > 0 { // or no revocation goes: the state needs no new cutoff
			e.after, e.cutoff = left, cutoff
		}
		return e, nil
	})
	return n, err
}

// PutCredential keeps a version of a secret.
func (s *Store) PutCredential(ctx context.Context, c store.Credential) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		e := edit{write: func() error { return rows.PutCredential(ctx, c) }, known: true}
		if k := credentialKey(c); s.state[k] == "" {
			e.after = state{k: ofCredential(c)}
		}
		all, err := rows.Credentials(ctx)
		if err == nil && slices.ContainsFunc(all, func(o store.Credential) bool {
			return o.ID != c.ID && o.Provider == c.Provider && o.Label == c.Label
		}) {
			err = errBehind // another secret of that name came meanwhile
		}
		return e, err
	})
}

// DeleteCredential drops all versions of a secret.
func (s *Store) DeleteCredential(ctx context.Context, id string) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		after, err := without(ctx, rows, id, 0)
		return edit{after: after, write: func() error { return rows.DeleteCredential(ctx, id) }}, err
	})
}

// PruneCredential drops all versions of a secret but the newest.
func (s *Store) PruneCredential(ctx context.Context, id string, keep int) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		after, err := without(ctx, rows, id, keep)
		return edit{after: after, write: func() error { return rows.PruneCredential(ctx, id, keep) }}, err
	})
}

// without are the versions of a secret but the newest, as gone.
func without(ctx context.Context, rows Rows, id string, keep int) (state, error) {
	all, err := rows.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c store.Credential) bool { return c.ID != id })
	slices.SortFunc(all, func(a, b store.Credential) int { return b.Version - a.Version })
	gone := state{}
	for i, c := range all {
		if i >= keep {
			gone[credentialKey(c)] = ""
		}
	}
	return gone, nil
}

// PutKeys keeps keys, or replaces them. Where other keepers do so, too, it returns an
// error, and keeps none, if two of a purpose would be current or next: another keeper
// rotated them, and what is to be kept was made of those before.
func (s *Store) PutKeys(ctx context.Context, keys []store.Key) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		if s.shared != nil {
			if err := oneOfEach(ctx, rows, keys); err != nil {
				return edit{}, err
			}
		}
		after := state{}
		for _, k := range keys {
			after[key{kindKey, k.ID}] = ofKey(k)
		}
		return edit{after: after, known: true, write: func() error { return rows.PutKeys(ctx, keys) }}, nil
	})
}

// oneOfEach returns an error where keys, put over the rows, make two of a purpose current
// or next.
func oneOfEach(ctx context.Context, rows Rows, keys []store.Key) error {
	all, err := rows.Keys(ctx)
	if err != nil {
		return err
	}
	after := map[string]store.Key{}
	for _, k := range append(all, keys...) {
		after[k.ID] = k
	}
	type place struct {
		purpose string
		state   store.KeyState
	}
	taken := map[place]bool{}
	for _, k := range after {
		at := place{k.Purpose, k.State}
		if taken[at] && (k.State == store.Current || k.State == store.Next) {
			return fmt.Errorf("keeping keys: another keeper rotated the %s key a moment ago", k.Purpose)
		}
		taken[at] = true
	}
	return nil
}

// PutKEK keeps what describes a key-encryption key.
func (s *Store) PutKEK(ctx context.Context, k store.KEK) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		after, err := withKEK(ctx, rows, k)
		return edit{after: after, known: true, write: func() error { return rows.PutKEK(ctx, k) }}, err
	})
}

// ApplyRewrap makes another key-encryption key the current one.
func (s *Store) ApplyRewrap(ctx context.Context, r store.Rewrap) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		r.KEK.Current = true
		after, err := withKEK(ctx, rows, r.KEK)
		return edit{after: after, known: true, write: func() error { return rows.ApplyRewrap(ctx, r) }}, err
	})
}

// withKEK are the key-encryption keys when k is put.
func withKEK(ctx context.Context, rows Rows, k store.KEK) (state, error) {
	all, err := rows.KEKs(ctx)
	if err != nil {
		return nil, err
	}
	after := state{}
	for _, one := range all {
		one.Current = one.Current && !k.Current
		after[key{kindKEK, one.ID}] = ofKEK(one)
	}
	after[key{kindKEK, k.ID}] = ofKEK(k)
	return after, nil
}

// PutImport remembers an imported value.
func (s *Store) PutImport(ctx context.Context, i store.Import) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		return edit{after: state{key{kindImport, i.Name}: ofImport(i)}, write: func() error { return rows.PutImport(ctx, i) }}, nil
	})
}

// PutException implements [exception.Store].
func (s *Store) PutException(ctx context.Context, e store.Exception) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		return edit{after: state{key{kindException, e.Fingerprint}: ofException(e)}, write: func() error { return rows.PutException(ctx, e) }}, nil
	})
}

// DeleteException implements [exception.Store].
func (s *Store) DeleteException(ctx context.Context, fingerprint string) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		return edit{after: state{key{kindException, fingerprint}: ""}, write: func() error { return rows.DeleteException(ctx, fingerprint) }}, nil
	})
}

// PutSettings keeps settings in the place of those that are there.
func (s *Store) PutSettings(ctx context.Context, settings store.Settings) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		return edit{after: state{settingsKey: ofSettings(settings)}, write: func() error { return rows.PutSettings(ctx, settings) }}, nil
	})
}

// DeleteSettings removes them: store.ErrNotFound where there are none.
func (s *Store) DeleteSettings(ctx context.Context) error {
	return s.edit(ctx, func(ctx context.Context, rows Rows) (edit, error) {
		return edit{after: state{settingsKey: ""}, write: func() error { return rows.DeleteSettings(ctx) }}, nil
	})
}

// sorted are the keys in the order in which the digest of the state has them.
func (s state) sorted() []key { return slices.SortedFunc(maps.Keys(s), key.compare) }
