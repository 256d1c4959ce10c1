package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// outcomes are what became of the decisions in the log, by request.
func (d *disk) outcomes(t *testing.T) map[string][]string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	found := map[string][]string{}
	for _, e := range d.entries {
		var details struct{ Decision, Outcome, Code string }
		if err := json.Unmarshal(e.Details, &details); err != nil {
			t.Fatal(err)
		}
		switch {
		case details.Decision == "forward":
			found[e.RequestID] = append(found[e.RequestID], "forward")
		case e.Event == "proxy.response":
			found[e.RequestID] = append(found[e.RequestID], details.Outcome+details.Code)
		}
	}
	return found
}

func request(t *testing.T, id string) context.Context {
	return audit.WithOrigin(t.Context(), audit.Origin{RequestID: id})
}

// Whoever waited too long did not act, and the log says so.
func TestADecisionThatCameTooLateHasAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ref := grant(t)
		d := &disk{gate: make(chan struct{})}
		l := open(t, d)
		var waiting sync.WaitGroup
		for _, id := range []string{"first", "second", "third"} {
			waiting.Go(func() {
				if _, err := l.Decide(request(t, id), audit.Decision{Grant: g, Ref: ref}); !errors.Is(err, audit.ErrUnavailable) {
					t.Errorf("%s: got %v, want %v", id, err, audit.ErrUnavailable)
				}
			})
			synctest.Wait()
		}
		waiting.Wait()
		close(d.gate)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := d.outcomes(t)
		if first := got["first"]; len(first) != 2 || first[1] != "failedaudit_unavailable" {
			t.Errorf("the decision that was on its way to the disk: got %v, want a failed outcome", first)
		}
		if len(got) != 1 {
			t.Errorf("got %v, want nothing of decisions that were refused before they were written", got)
		}
	})
}

func TestADecisionWrittenInSpiteOfAnErrorHasAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ref := grant(t)
		d := &disk{lie: errors.New("io")}
		l := open(t, d)
		if _, err := l.Decide(request(t, "r"), audit.Decision{Grant: g, Ref: ref}); !errors.Is(err, audit.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, audit.ErrUnavailable)
		}
		d.set(func(d *disk) { d.lie = nil })
		time.Sleep(time.Minute)
		if err := l.Record(t.Context(), audit.KeeperStarted{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := d.outcomes(t)["r"]; len(got) != 2 || got[1] != "failedaudit_unavailable" {
			t.Errorf("got %v, want forward and a failed outcome", got)
		}
	})
}

// Nobody calls, and still what could not be written is, once the disk is back.
func TestAnOutcomeIsWrittenWithoutAFurtherCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ref := grant(t)
		d := &disk{}
		l := open(t, d)
		r, err := l.Decide(request(t, "r"), audit.Decision{Grant: g, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		d.set(func(d *disk) { d.fail = errors.New("disk is full") })
		if err := l.Finish(request(t, "r"), r, audit.Outcome{Outcome: "complete"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		d.set(func(d *disk) { d.fail = nil })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := d.outcomes(t)["r"]; len(got) != 2 || got[1] != "complete" {
			t.Errorf("five seconds after the disk is back: got %v, want the outcome", got)
		}
	})
}

// However long the disk hangs, no outcome is dropped and none waits for it.
func TestNoOutcomeIsDroppedWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 6000
		g, ref := grant(t)
		d := &disk{}
		l := open(t, d)
		r, err := l.Decide(request(t, "r"), audit.Decision{Grant: g, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		d.set(func(d *disk) { d.gate = make(chan struct{}) })
		began := time.Now()
		for range calls {
			if err := l.Finish(request(t, "r"), r, audit.Outcome{Outcome: "complete"}); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("outcomes waited %v for the disk", waited)
		}
		refused := time.Now()
		if err := l.Record(t.Context(), audit.KeeperStarted{}); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("with the queue full: got %v, want %v", err, audit.ErrUnavailable)
		}
		if waited := time.Since(refused); waited > 2*time.Second {
			t.Errorf("refused after %v, want at most 2s", waited)
		}
		d.set(func(d *disk) { close(d.gate); d.gate = nil })
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(d.outcomes(t)["r"]); got != 1+calls {
			t.Errorf("got %d entries of the call, want %d", got, 1+calls)
		}
	})
}

func TestOutcomesThatAKilledKeeperOwesAreUnknown(t *testing.T) {
	g, ref := grant(t)
	key, _ := newKey(t)
	d := &disk{}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := audit.Open(t.Context(), audit.Config{Store: d, Logger: quiet, CheckpointEntries: 1000, CheckpointInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	decide := func(id string) audit.Receipt {
		t.Helper()
		r, err := l.Decide(request(t, id), audit.Decision{Grant: g, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	finish := func(id string, r audit.Receipt) {
		t.Helper()
		if err := l.Finish(request(t, id), r, audit.Outcome{Outcome: "complete"}); err != nil {
			t.Fatal(err)
		}
	}
	finish("done early", decide("done early"))
	late := decide("done late")
	decide("long")
	if err := l.Record(t.Context(), audit.KeeperStarted{}); err != nil { // after which the outcomes are on disk
		t.Fatal(err)
	}
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish("done late", late)
	finish("done after", decide("done after"))
	decide("short")
	// What is on the disk now is what a kill leaves.
	killed := &disk{entries: append([]store.AuditEntry(nil), d.entries...), heads: append([]store.Checkpoint(nil), d.heads...)}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start owes nothing
		l, err := audit.Open(t.Context(), audit.Config{Store: killed, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Sign(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"done early": "complete", "long": "unknown", "short": "unknown", "done late": "complete", "done after": "complete"} {
		if got := killed.outcomes(t)[id]; len(got) != 2 || got[1] != want {
			t.Errorf("%s: got %v, want forward and %s", id, got, want)
		}
	}
}
