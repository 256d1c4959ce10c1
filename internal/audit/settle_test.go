package audit_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

var errDisk = errors.New("io")

// An outcome comes while it is not known what the last commit did, nor can be.
func TestAnOutcomeIsKeptThoughTheStoreCannotSayWhereItStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ref := grant(t)
		d := &disk{}
		l := open(t, d)
		r, err := l.Decide(request(t, "r"), audit.Decision{Grant: g, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		d.set(func(d *disk) { d.fail, d.blind = errDisk, errDisk })
		if err := l.Record(t.Context(), audit.KeeperStarted{}); !errors.Is(err, audit.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, audit.ErrUnavailable)
		}
		if err := l.Finish(request(t, "r"), r, audit.Outcome{Outcome: "complete"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		d.set(func(d *disk) { d.fail, d.blind = nil, nil })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := d.outcomes(t)["r"]; !slices.Equal(got, []string{"forward", "complete"}) {
			t.Errorf("got %v, want forward and complete", got)
		}
	})
}

// An outcome is written, and the disk says that it is not.
func TestADecisionWhoseOutcomeIsWrittenInSpiteOfAnErrorIsOpenNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ref := grant(t)
		d := &disk{}
		l := open(t, d)
		key, _ := newKey(t)
		if err := l.Sign(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		r, err := l.Decide(request(t, "r"), audit.Decision{Grant: g, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		d.set(func(d *disk) { d.lie = errDisk })
		if err := l.Finish(request(t, "r"), r, audit.Outcome{Outcome: "complete"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		d.set(func(d *disk) { d.lie = nil })
		time.Sleep(time.Minute)
		if _, err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		head, err := d.LastCheckpoint(t.Context())
		if err != nil || len(head.Open) != 0 {
			t.Errorf("got open decisions %v and %v, want none", head.Open, err)
		}
		if got := d.outcomes(t)["r"]; !slices.Equal(got, []string{"forward", "complete"}) {
			t.Errorf("got %v, want forward and complete", got)
		}
	})
}

// Somebody writes to the store of a keeper that runs.
func TestEntriesThatKeeperDidNotWriteAreNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := open(t, d)
		key, _ := newKey(t)
		if err := errors.Join(l.Sign(t.Context(), key, nil), l.Record(t.Context(), audit.KeeperStarted{})); err != nil {
			t.Fatal(err)
		}
		forged := store.AuditEntry{Seq: 2, ID: "2", Time: time.Now(), Event: "token.issued", AgentID: "evil", Details: []byte("{}")}
		forged.Hash = store.Hash(tlog.RecordHash(audit.Leaf(&forged)))
		d.set(func(d *disk) { d.entries, d.fail = append(d.entries, forged), store.ErrSequence })
		for i := range 3 {
			if i == 1 && l.Err() == nil {
				t.Error("seconds later: got no error of the log's, want one without another call")
			}
			if err := l.Record(t.Context(), audit.KeeperStarted{}); !errors.Is(err, audit.ErrUnavailable) {
				t.Errorf("got %v, want %v", err, audit.ErrUnavailable)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
		}
		if err := l.Err(); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("got %v, want %v", err, audit.ErrTampered)
		}
		if l.Signed() > 1 {
			t.Errorf("the head is over %d entries, want the forged one not signed", l.Signed())
		}
		d.set(func(d *disk) { d.entries, d.fail = d.entries[:1], nil })
		time.Sleep(time.Minute)
		if err := errors.Join(l.Record(t.Context(), audit.KeeperStarted{}), l.Err()); err != nil {
			t.Errorf("once it is gone: %v", err)
		}
	})
}
