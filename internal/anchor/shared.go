package anchor

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// editShared makes a change of rows that other keepers change, too: in one transaction
// with the entry that says so. What the rows are before is held against what keepers
// sealed. The caller holds mu.
func (s *Store) editShared(ctx context.Context, plan func(context.Context, Rows) (edit, error)) error {
	ours, before, digest := s.state, "", "" // what is taken over, and the digests of what is there
	var objects []audit.StateObject
	var cutoff time.Time
	var committed func()
	err := s.shared.Change(ctx, func(ctx context.Context, rows Rows, log audit.Shared) error {
		end, err := log.LogEnd(ctx)
		if err != nil {
			return err
		}
		is, err := s.sealed(ctx, rows, end)
		if err != nil {
			return err
		}
		s.state, s.cutoff, before = is, end.Cutoff, end.State // as plan sees it
		e, err := plan(ctx, rows)
		if err != nil {
			return err
		}
		if cutoff = end.Cutoff; !e.cutoff.IsZero() {
			cutoff = e.cutoff
		}
		for k := range e.after {
			if e.known && ours[k] != is[k] {
				return errBehind
			}
		}
		if objects = is.differences(e.after); len(objects) == 0 && cutoff.Equal(end.Cutoff) {
			return e.write()
		}
		said := audit.StateChanged{Objects: objects}
		if !cutoff.Equal(end.Cutoff) {
			said.Cutoff = cutoff.Unix()
		}
		after := maps.Clone(is)
		after.apply(objects)
		digest = after.digest()
		if committed, err = s.log.ChangeState(ctx, log, said, digest, cutoff); err != nil {
			return err
		}
		return e.write()
	})
	s.state = ours
	if err == nil && committed != nil {
		committed()
		s.state.apply(objects)
		s.cutoff = cutoff
		if s.taken == before {
			s.taken = digest
		}
	}
	return err
}

// sealed reads the rows, and returns an error that names those that are not what keepers
// sealed.
func (s *Store) sealed(ctx context.Context, rows Rows, end store.LogEnd) (state, error) {
	is, err := read(ctx, rows, end.Cutoff)
	if err != nil || is.digest() == end.State {
		return is, err
	}
	return nil, s.foreign(ctx, is)
}

// foreign names the rows that are not what the log says.
func (s *Store) foreign(ctx context.Context, is state) error {
	says, history, err := s.saidByLog(ctx)
	if err != nil {
		return err
	}
	objects := says.differences(is.and(says))
	return &disagreement{objects, describe(objects, history)}
}

// viewKey is what a view is in a context by.
type viewKey struct{}

// at is where to read from: what Follow lets others read, or what is there now.
func (s *Store) at(ctx context.Context) reader {
	if v, ok := ctx.Value(viewKey{}).(*view); ok {
		return v
	}
	return s.Rows
}

// Follow has take take over rows that another keeper changed, where the digest that is
// sealed by now is not that of what is taken over already. By the context that take gets,
// this Store reads rows only as they are when it is asked, and only if they are those that
// keepers sealed: so take may wait for changes of this keeper's own, and reads what came
// of them. An error wraps audit.ErrTampered where they are not. Then, and where take
// returns one, all is to be taken over again.
func (s *Store) Follow(ctx context.Context, digest string, take func(ctx context.Context) error) error {
	s.mu.Lock()
	taken := s.taken
	s.mu.Unlock()
	if taken == digest && digest != "" {
		return nil
	}
	v := &view{store: s}
	if err := v.update(ctx); err != nil {
		return err
	}
	first := v.end.State
	if err := take(context.WithValue(ctx, viewKey{}, v)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.cutoff = v.state, v.end.Cutoff
	if s.taken = ""; v.end.State == first { // or some of it was taken over before that changed
		s.taken = first
	}
	return nil
}

// view is the rows as they are when they are asked for, held against what is sealed. One
// goroutine uses it.
type view struct {
	store *Store
	rows  rows
	state state
	end   store.LogEnd
}

// update reads the rows where they are not those that were read before: then where the log
// ends tells that they are.
func (v *view) update(ctx context.Context) error {
	known := v.store.log.Known()
	if v.state != nil {
		end, err := v.store.shared.LogEnd(ctx)
		if err == nil {
			err = v.store.log.CheckEnd(end, known)
		}
		if err != nil || end.State == v.end.State && end.Cutoff.Equal(v.end.Cutoff) {
			return err
		}
	}
	return v.store.shared.Snapshot(ctx, func(ctx context.Context, now Rows, end store.LogEnd) (err error) {
		if err := v.store.log.CheckEnd(end, known); err != nil {
			return err
		}
		if v.rows, err = readRows(ctx, now, end.Cutoff); err != nil {
			return err
		}
		v.state, v.end = v.rows.state(), end
		if v.state.digest() != end.State {
			return v.store.foreign(ctx, v.state)
		}
		return nil
	})
}

// Agents implements reader.
func (v *view) Agents(ctx context.Context) ([]store.Agent, error) {
	err := v.update(ctx)
	return slices.Clone(v.rows.agents), err
}

// Tokens implements reader. Only those that are revoked are part of what is sealed.
func (v *view) Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error) {
	if !f.Revoked || f.AgentID != "" || f.Newest != 0 || f.At.Before(v.end.Cutoff) {
		return v.store.Rows.Tokens(ctx, f)
	}
	if err := v.update(ctx); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(v.rows.revoked), func(t store.Token) bool { return !t.ExpiresAt.After(f.At) }), nil
}

// Credentials implements reader.
func (v *view) Credentials(ctx context.Context) ([]store.Credential, error) {
	err := v.update(ctx)
	return slices.Clone(v.rows.credentials), err
}

// Keys implements reader.
func (v *view) Keys(ctx context.Context) ([]store.Key, error) {
	err := v.update(ctx)
	return slices.Clone(v.rows.keys), err
}

// KEKs implements reader.
func (v *view) KEKs(ctx context.Context) ([]store.KEK, error) {
	err := v.update(ctx)
	return slices.Clone(v.rows.keks), err
}

// Imports implements reader.
func (v *view) Imports(ctx context.Context) ([]store.Import, error) {
	err := v.update(ctx)
	return slices.Clone(v.rows.imports), err
}

// Exceptions implements reader.
func (v *view) Exceptions(ctx context.Context) ([]store.Exception, error) {
	err := v.update(ctx)
	return slices.Clone(v.rows.exceptions), err
}

// Settings implements reader.
func (v *view) Settings(ctx context.Context) (store.Settings, error) {
	if err := v.update(ctx); err != nil {
		return store.Settings{}, err
	}
	return v.rows.shared()
}

// Forget has the next Follow take over all rows, whatever was taken over before.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.taken = state{}, ""
}

// restateShared is Restate, of rows that others change.
func (s *Store) restateShared(ctx context.Context) error {
	var committed func()
	err := s.shared.Change(ctx, func(ctx context.Context, rows Rows, log audit.Shared) error {
		end, err := log.LogEnd(ctx)
		if err != nil {
			return err
		}
		is, err := s.sealed(ctx, rows, end)
		for some := range is.chunks() {
			if err == nil {
				committed, err = s.log.ChangeState(ctx, log, audit.StateChanged{Objects: some, Why: saidAgain}, end.State, end.Cutoff)
			}
		}
		return err
	})
	if err == nil && committed != nil {
		committed()
	}
	return err
}

// Agents implements [auth.AgentStore].
func (s *Store) Agents(ctx context.Context) ([]store.Agent, error) { return s.at(ctx).Agents(ctx) }

// Tokens implements [auth.TokenStore].
func (s *Store) Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error) {
	return s.at(ctx).Tokens(ctx, f)
}

// Credentials implements [Credentials].
func (s *Store) Credentials(ctx context.Context) ([]store.Credential, error) {
	return s.at(ctx).Credentials(ctx)
}

// Keys implements [Keys].
func (s *Store) Keys(ctx context.Context) ([]store.Key, error) { return s.at(ctx).Keys(ctx) }

// KEKs implements [Keys].
func (s *Store) KEKs(ctx context.Context) ([]store.KEK, error) { return s.at(ctx).KEKs(ctx) }

// Imports implements [Imports].
func (s *Store) Imports(ctx context.Context) ([]store.Import, error) { return s.at(ctx).Imports(ctx) }

// Exceptions implements [exception.Store].
func (s *Store) Exceptions(ctx context.Context) ([]store.Exception, error) {
	return s.at(ctx).Exceptions(ctx)
}

// Settings implements [Settings]. Nobody holds them in memory: so it returns an error that
// wraps audit.ErrTampered where they are not those that keeper knows of or, of shared rows,
// those that are sealed.
func (s *Store) Settings(ctx context.Context) (store.Settings, error) {
	if v, ok := ctx.Value(viewKey{}).(*view); ok {
		return v.Settings(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.held:
		return s.Rows.Settings(ctx)
	case s.shared != nil:
		return (&view{store: s}).Settings(ctx)
	}
	is, err := readSettings(ctx, s.Rows)
	if err != nil {
		return store.Settings{}, err
	}
	found := rows{settings: is}
	digest := found.state()[settingsKey]
	if foreign := s.state.differences(state{settingsKey: digest}); len(foreign) > 0 && s.doubt == nil {
		return store.Settings{}, &disagreement{foreign, describe(foreign, nil)}
	}
	return found.shared()
}
