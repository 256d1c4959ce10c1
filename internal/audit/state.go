package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// stateNow is what checkpoints say of keeper's rows.
type stateNow struct {
	State
	changing bool // entries after UpTo may say of changes that are not made yet
}

// at is the state for a checkpoint over size entries.
func (s *stateNow) at(size int64) State {
	if s == nil {
		return State{}
	}
	state := s.State
	if !s.changing {
		state.UpTo = size
	}
	return state
}

// BeginChange is called before an entry says of a change of the state, and EndChange
// when it is made: checkpoints between them speak of the state before it.
func (l *Log) BeginChange() {
	now := l.state.Load()
	if now == nil {
		return // nothing is said of the state yet
	}
	last, _ := l.durable.get()
	l.state.Store(&stateNow{State{now.Digest, now.Cutoff, last}, true})
}

// EndChange says what the state is from now on.
func (l *Log) EndChange(digest string, cutoff time.Time) {
	l.state.Store(&stateNow{State: State{Digest: digest, Cutoff: cutoff}})
}

// StateChecker holds keeper's rows against the state of a checkpoint, which is zero
// where there is none, and returns what the state is.
type StateChecker interface {
	CheckState(ctx context.Context, signed State) (digest string, cutoff time.Time, err error)
}

// Changes are the entries after seq that say of changes of the state, in order.
func Changes(ctx context.Context, s Entries, seq int64) ([]store.AuditEntry, error) {
	var found []store.AuditEntry
	for e, err := range entriesOf(ctx, s, seq+1) {
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if slices.Contains(stateEvents, e.Event) {
			found = append(found, e)
		}
	}
	return found, nil
}

// AllChanges are Changes from the beginning on, without a look at every entry.
func AllChanges(ctx context.Context, s Entries) (all []store.AuditEntry, err error) {
	for _, event := range stateEvents {
		f := store.AuditFilter{Event: event, Limit: readEntries}
		for {
			page, err := s.AuditEntries(ctx, f)
			if err != nil {
				return nil, fmt.Errorf("reading the audit log: %w", err)
			}
			all = append(all, page.Entries...)
			if f.Before = page.Next; f.Before == 0 {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b store.AuditEntry) int { return cmp.Compare(a.Seq, b.Seq) })
	return all, nil
}

var stateEvents = []string{StateChanged{}.describe().name, StateAccepted{}.describe().name}
