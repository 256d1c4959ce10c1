package source_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/source"
)

// patience is how long anything may take here before a test is given up.
const patience = 30 * time.Second

// event is what a slot was told.
type event struct {
	held      secret.Value // what Hold was given that was new
	withdrawn bool
	at        time.Time
}

// slot keeps what it is given, as the vault does.
type slot struct {
	events   chan event
	patience time.Duration

	mu      sync.Mutex
	now     secret.Value
	has     bool
	problem string
	since   time.Time
	origin  string
	refuse  error
}

func newSlot() *slot { return &slot{events: make(chan event, 64), patience: patience} }

func (s *slot) Hold(_ context.Context, v secret.Value) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return false, s.refuse
	}
	if s.has && s.now.Equal(v) {
		return false, nil
	}
	s.now, s.has = v, true
	s.events <- event{held: v, at: time.Now()}
	return true, nil
}

func (s *slot) Withdraw(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has = false
	s.events <- event{withdrawn: true, at: time.Now()}
	return nil
}

func (s *slot) Report(problem string, since time.Time, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem, s.since, s.origin = problem, since, origin
}

func (s *slot) standing() (problem string, since time.Time, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem, s.since, s.origin
}

// next is what the slot is told next.
func (s *slot) next(t *testing.T, what string) event {
	t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(s.patience):
		problem, _, _ := s.standing()
		t.Fatalf("%s: got nothing in %v, the problem being %q", what, s.patience, problem)
		return event{}
	}
}

// wantHeld asserts that the next event is the value, with or without its line end.
func (s *slot) wantHeld(t *testing.T, what, value string) {
	t.Helper()
	got := s.next(t, what)
	if got.withdrawn || !got.held.Equal(secret.New([]byte(value))) && !got.held.Equal(secret.New([]byte(value+"\n"))) {
		t.Fatalf("%s: got another value (withdrawn: %v, %d bytes), want the one that was given", what, got.withdrawn, got.held.Len())
	}
}

// nothing asserts that there is no event.
func (s *slot) nothing(t *testing.T, what string) {
	t.Helper()
	select {
	case e := <-s.events:
		t.Errorf("%s: got an event (withdrawn: %v), want none", what, e.withdrawn)
	default:
	}
}

func newValue() string { return "sk-proj-" + rand.Text() + rand.Text() }

// logBuffer is a log that the tests look for values in.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) holds(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.text.Bytes(), []byte(text))
}

func newLog() (*slog.Logger, *logBuffer) {
	b := &logBuffer{}
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

// opened opens the sources and closes them at the end of the test.
func opened(t *testing.T, c source.Config) *source.Set {
	t.Helper()
	s, err := source.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

var errRefused = errors.New("refused")

func ptr[T any](v T) *T { return &v }
