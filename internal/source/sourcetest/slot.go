package sourcetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/secret"
)

// Event is what a Slot was told.
type Event struct {
	Value     secret.Value // that was new
	Origin    string
	Withdrawn bool
	At        time.Time
}

// Slot keeps what it is given, as the vault does, and says so on Events: a new value
// once its standing has been reported, too.
type Slot struct {
	Events chan Event

	mu      sync.Mutex
	pending *Event
	now     secret.Value
	has     bool
	trouble string
}

// Hold takes a value over.
func (s *Slot) Hold(_ context.Context, v secret.Value) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has && s.now.Equal(v) {
		return false, nil
	}
	s.now, s.has = v, true
	s.pending = &Event{Value: v, At: time.Now()}
	return true, nil
}

// Withdraw gives it up.
func (s *Slot) Withdraw(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has = false
	s.Events <- Event{Withdrawn: true, At: time.Now()}
	return nil
}

// Report says how it stands.
func (s *Slot) Report(problem string, _ time.Time, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = problem
	if s.pending != nil {
		s.pending.Origin = origin
		s.Events <- *s.pending
		s.pending = nil
	}
}

func (s *Slot) problem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

func (s *Slot) next(t *testing.T, what string) Event {
	t.Helper()
	select {
	case e := <-s.Events:
		return e
	case <-time.After(patience):
		t.Fatalf("%s: got nothing in %v, the problem being %q", what, patience, s.problem())
		return Event{}
	}
}

func (s *Slot) wantHeld(t *testing.T, what, value, origin string) {
	t.Helper()
	got := s.next(t, what)
	if got.Withdrawn || !got.Value.Equal(secret.New([]byte(value))) || got.Origin != origin {
		t.Fatalf("%s: got another value (withdrawn: %v, version %q, %q), want that of version %s", what, got.Withdrawn, got.Origin, s.problem(), origin)
	}
}
