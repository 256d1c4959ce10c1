package anchor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/audit"
)

const (
	objectsAnEntry = 200 // when many are recorded at once
	namedAtMost    = 10  // in an error
)

var _ audit.StateChecker = (*Store)(nil)

// CheckState implements [audit.StateChecker]. Its error wraps audit.ErrTampered and names the rows
// that are not what the log says, unless the operator accepts them: then it records
// that.
func (s *Store) CheckState(ctx context.Context, signed audit.State) (digest string, cutoff time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if s.held = err == nil; s.held {
			s.taken = digest
		}
	}()
	if signed.Digest == "" { // nothing was signed of it yet: there was none
		signed.Digest = state{}.digest()
	}
	open, err := s.compare(ctx, signed)
	var found *disagreement
	switch {
	case errors.As(err, &found) && s.accept:
		err = s.recordAccepted(ctx, found.objects)
	case err == nil && len(open) > 0: // keeper was killed before it made them
		err = s.log.Record(ctx, audit.StateChanged{Objects: open, Why: "a change was recorded and not made: keeper was killed"})
	}
	return s.state.digest(), s.cutoff, err
}

// Verify holds rows against the log and the state that was signed of them. Its error
// wraps audit.ErrTampered and names those that are not what the log says. live says that
// a keeper runs on them.
func Verify(ctx context.Context, rows Rows, entries audit.Entries, signed audit.State, live bool) error {
	s := &Store{Rows: rows, entries: entries, live: live}
	_, err := s.compare(ctx, signed)
	return err
}

// compare reads the rows and holds them against the state that was signed. It
// returns the changes that were recorded and not made.
func (s *Store) compare(ctx context.Context, signed audit.State) (open []audit.StateObject, err error) {
	changes, err := s.changesAfter(ctx, signed)
	if err != nil {
		return nil, fmt.Errorf("holding the store against the audit log: %w", err)
	}
	undone, holds := s.undo(changes)
	if holds && undone.state.digest() == signed.Digest {
		return undone.open, nil
	}
	says, history, err := s.saidByLog(ctx)
	if err != nil {
		return nil, fmt.Errorf("holding the store against the audit log: %w", err)
	}
	objects := says.differences(s.state.and(says))
	return nil, &disagreement{objects, describe(objects, history)}
}

// disagreement says that rows are not what the log says.
type disagreement struct {
	objects []audit.StateObject
	text    string
}

func (d *disagreement) Error() string { return d.text }

func (d *disagreement) Unwrap() error { return audit.ErrTampered }

// changesAfter reads what the log says of changes that the signed state may lack, an
// entry each, and takes over the signed cutoff.
func (s *Store) changesAfter(ctx context.Context, signed audit.State) ([][]audit.StateObject, error) {
	all, err := s.takeOver(ctx, signed)
	for known := time.Unix(-1, 0); err == nil && !s.cutoff.Equal(known); {
		known = s.cutoff
		if s.state, err = read(ctx, s.Rows, s.cutoff); err != nil {
			return nil, err
		}
		// A keeper that runs may make changes meanwhile, and says so first: what it says
		// now is all that the rows may hold.
		all, err = s.takeOver(ctx, signed)
	}
	return all, err
}

// takeOver returns the changes that the log speaks of behind the signed state, and
// takes over the cutoff.
func (s *Store) takeOver(ctx context.Context, signed audit.State) (all [][]audit.StateObject, err error) {
	entries, err := audit.Changes(ctx, s.entries, signed.UpTo)
	if err != nil {
		return nil, err
	}
	s.cutoff = signed.Cutoff
	for _, e := range entries {
		var c audit.StateChanged
		if err := json.Unmarshal(e.Details, &c); err != nil {
			return nil, fmt.Errorf("reading entry %d: %w", e.Seq, err)
		}
		if c.Cutoff > s.cutoff.Unix() {
			s.cutoff = time.Unix(c.Cutoff, 0).UTC()
		}
		all = append(all, c.Objects)
	}
	return all, nil
}

// before is the state before changes, and what of them was not made.
type before struct {
	state state
	open  []audit.StateObject // from what was recorded to what is
}

// undo takes changes back. It is false where a row is not what they made of it. Of the
// last one alone it may be what that found: changes are made one after the other, so
// that a kill leaves one at the most that was recorded and not made. A keeper that runs
// may be amid any.
func (s *Store) undo(changes [][]audit.StateObject) (b before, holds bool) {
	b.state = s.state.and(nil)
	first, last := state{}, state{}
	fits := map[key]bool{} // the row is as changes that may not be made found it, or made it
	for i, objects := range changes {
		for _, o := range objects {
			k := key{o.Kind, o.ID}
			if _, changed := first[k]; !changed {
				first[k] = o.Before
			}
			last[k] = o.After
			mayBeOpen := s.live || i == len(changes)-1
			fits[k] = s.state[k] == o.After || mayBeOpen && s.state[k] == o.Before || s.live && fits[k]
		}
	}
	for _, k := range last.sorted() {
		if !fits[k] {
			return b, false
		}
		b.state.set(k, first[k])
		if s.state[k] != last[k] {
			b.open = append(b.open, audit.StateObject{Kind: k.kind, ID: k.id, Before: last[k], After: s.state[k]})
		}
	}
	return b, true
}

// Restate records the whole state again, for a log whose older entries leave it.
func (s *Store) Restate(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared != nil {
		return s.restateShared(ctx)
	}
	if err := s.resolve(ctx); err != nil {
		return err
	}
	for some := range s.state.chunks() {
		if err := s.log.Record(ctx, audit.StateChanged{Objects: some, Why: saidAgain}); err != nil {
			return err
		}
	}
	return nil
}

// saidAgain is why an entry says what rows are that do not change.
const saidAgain = "said again, since older entries leave the log"

// chunks are all rows as they are, as many at once as an entry names.
func (s state) chunks() iter.Seq[[]audit.StateObject] {
	var all []audit.StateObject
	for _, k := range s.sorted() {
		all = append(all, audit.StateObject{Kind: k.kind, ID: k.id, Before: s[k], After: s[k]})
	}
	return slices.Chunk(all, objectsAnEntry)
}

// recordAccepted records what the operator lets pass.
func (s *Store) recordAccepted(ctx context.Context, objects []audit.StateObject) error {
	for some := range slices.Chunk(objects, objectsAnEntry) {
		if err := s.log.Record(ctx, audit.StateAccepted{Objects: some}); err != nil {
			return err
		}
	}
	s.logger.WarnContext(ctx, "the store is not what the audit log says, and the operator accepts it", "differences", len(objects))
	return nil
}

// saidByLog is the state by all that the log says, and for each digest that a row had
// the entry that said so.
func (s *Store) saidByLog(ctx context.Context) (says state, history map[audit.StateObject]int64, err error) {
	says, history = state{}, map[audit.StateObject]int64{}
	entries, err := audit.AllChanges(ctx, s.entries)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		var c audit.StateChanged
		if err := json.Unmarshal(e.Details, &c); err != nil {
			return nil, nil, fmt.Errorf("reading entry %d: %w", e.Seq, err)
		}
		says.apply(c.Objects)
		for _, o := range c.Objects {
			history[audit.StateObject{Kind: o.Kind, ID: o.ID, After: o.After}] = e.Seq
		}
	}
	return says, history, nil
}

// describe names rows that are not what the log says.
func describe(objects []audit.StateObject, history map[audit.StateObject]int64) string {
	if len(objects) == 0 {
		return "the store is not in the state that was signed, though each row is one that the log knows"
	}
	var texts []string
	for i, o := range objects {
		if i == namedAtMost {
			texts = append(texts, fmt.Sprintf("and %d more", len(objects)-i))
			break
		}
		what := "was edited"
		switch seq := history[audit.StateObject{Kind: o.Kind, ID: o.ID, After: o.After}]; {
		case o.After == "":
			what = "was deleted"
		case seq > 0:
			what = fmt.Sprintf("was put back to what it was at entry %d", seq)
		case o.Before == "":
			what = "was added"
		}
		texts = append(texts, fmt.Sprintf("%s %q %s", o.Kind, o.ID, what))
	}
	return "behind keeper's back " + strings.Join(texts, ", ")
}
