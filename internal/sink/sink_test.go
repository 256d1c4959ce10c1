package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

// entry is the entry of that number in every log here: each third is critical.
func entry(seq int64) store.AuditEntry {
	e := store.AuditEntry{
		Seq: seq, ID: fmt.Sprint(seq), Time: start.Add(time.Duration(seq) * time.Millisecond), Event: "proxy.request",
		AgentID: "ci", Provider: "github", RequestID: fmt.Sprintf("req_%024x", seq), Details: []byte(`{"decision":"forward"}`),
	}
	if seq%3 == 0 {
		e.Event, e.Risk, e.Details = "scan.blocked", 2, []byte(`{"findings":[],"method":"POST","path":"/p"}`)
	}
	return e
}

// memory is a log that grows as a test says.
type memory struct {
	mu      sync.Mutex
	entries []store.AuditEntry
	grown   chan struct{}
}

func newMemory(n int) *memory {
	m := &memory{grown: make(chan struct{})}
	m.grow(n)
	return m
}

func (m *memory) grow(n int) {
	for range n {
		m.add(entry(int64(len(m.entries)) + 1))
	}
}

func (m *memory) add(e store.AuditEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Seq = int64(len(m.entries)) + 1
	m.entries = append(m.entries, e)
	close(m.grown)
	m.grown = make(chan struct{})
}

func (m *memory) After(_ context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := m.entries[min(int(seq), len(m.entries)):]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (m *memory) Await(ctx context.Context, seq int64) (int64, error) {
	for {
		m.mu.Lock()
		last, grown := int64(len(m.entries)), m.grown
		m.mu.Unlock()
		if last > seq {
			return last, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
	}
}

// shelf keeps cursors in memory. Where fails is set, it keeps none.
type shelf struct {
	mu    sync.Mutex
	rows  map[string]store.Cursor
	puts  int
	fails error
	moved chan struct{}
}

func newShelf() *shelf { return &shelf{rows: map[string]store.Cursor{}, moved: make(chan struct{})} }

func (s *shelf) Cursors(context.Context) (all []store.Cursor, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.rows {
		all = append(all, c)
	}
	return all, nil
}

func (s *shelf) PutCursor(_ context.Context, c store.Cursor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.fails != nil {
		return s.fails
	}
	s.rows[c.Name] = c
	close(s.moved)
	s.moved = make(chan struct{})
	return nil
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *shelf) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}

func (s *shelf) seq(name string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[name].Seq
}

// reaches waits until a cursor is at seq.
func (s *shelf) reaches(t *testing.T, name string, seq int64) {
	t.Helper()
	for {
		s.mu.Lock()
		at, moved := s.rows[name].Seq, s.moved
		s.mu.Unlock()
		if at >= seq {
			return
		}
		select {
		case <-moved:
		case <-t.Context().Done():
			t.Fatalf("cursor of %s: got %d, want %d", name, at, seq)
		}
	}
}

// notes is what keeper logs.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// bench is what a Set under test works with.
type bench struct {
	log    *memory
	shelf  *shelf
	notes  *notes
	config sink.Config
}

func newBench(entries int, specs ...sink.Spec) *bench {
	b := &bench{log: newMemory(entries), shelf: newShelf(), notes: &notes{}}
	b.config = sink.Config{
		Log: b.log, Cursors: b.shelf, Sinks: specs, Logger: slog.New(slog.NewJSONHandler(b.notes, nil)),
		Version: "1.2.3", Host: "host.test",
	}
	return b
}

// hasty is for tests that fail in real time.
func (b *bench) hasty() *bench {
	b.config.RetryMin, b.config.RetryMax, b.config.CursorInterval = time.Millisecond, 5*time.Millisecond, time.Millisecond
	return b
}

func (b *bench) open(t *testing.T) *sink.Set {
	t.Helper()
	set, err := sink.Open(t.Context(), b.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		set.Close(over)
	})
	return set
}

func closeSet(t *testing.T, set *sink.Set) {
	t.Helper()
	if err := set.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// complete checks that what was received is the log up to last: entries may come
// again, but none comes before all that precede it.
func complete(t *testing.T, got []int64, last int64) {
	t.Helper()
	var most int64
	for i, seq := range got {
		if seq > most+1 {
			t.Fatalf("received %d: got entry %d, want one of 1 to %d", i, seq, most+1)
		}
		most = max(most, seq)
	}
	if most != last {
		t.Fatalf("received entries up to %d, want %d", most, last)
	}
}

// numbers are those of the entries in NDJSON.
func numbers(t *testing.T, lines []byte) (seqs []int64) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var e struct {
			ID int64 `json:"id,string"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		seqs = append(seqs, e.ID)
	}
	return seqs
}

func upTo(n int64) (seqs []int64) {
	for seq := range n {
		seqs = append(seqs, seq+1)
	}
	return seqs
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

var errTest = errors.New("the test wants it so")

func count(text, part string) int { return strings.Count(text, part) }
