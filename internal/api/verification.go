package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// verification is what is known of the log's entries. The zero verification knows
// nothing.
type verification struct {
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows, and that nothing is added to work once over
	over    bool       // no run begins any more
	running bool
	step    string // of the run
	read    int64  // entries gone through so far in it
	at      time.Time
	good    *bool  // nil: it was not found out
	detail  string // in a sentence
}

// The steps of a run: of the log's own entries, of the rows that keeper decides by, and of
// the index by which entries are found.
const (
	stepEntries = "entries"
	stepRows    = "rows"
	stepIndex   = "index"
)

// close waits for the run that is under way, and lets no other begin.
func (v *verification) close() {
	v.mu.Lock()
	v.over = true
	v.mu.Unlock()
	v.work.Wait()
}

// begin reports whether a run may begin: one is enough. Its end is to be told to work.
func (v *verification) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running || v.over {
		return false
	}
	v.running, v.step, v.read = true, stepEntries, 0
	v.work.Add(1)
	return true
}

// next says which step has come.
func (v *verification) next(step string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.step, v.read = step, 0
}

func (v *verification) progress(entries int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read = entries
}

func (v *verification) end(at time.Time, good *bool, detail string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.running, v.at, v.good, v.detail = false, at, good, detail
}

const notVerified = "No entry was looked at since keeper started. At its start keeper held the log's tree against the newest signed head, what followed that against its own seals, and the rows that it decides by against the log."

type verificationBody struct {
	Size           int64     `json:"size" doc:"The newest entry's number"`
	CheckpointSize int64     `json:"checkpointSize" doc:"How many entries the newest signed head is over"`
	CheckpointAt   time.Time `json:"checkpointAt,omitzero"`
	RootHash       string    `json:"rootHash,omitempty" doc:"Of that head, in base64"`
	KeyID          string    `json:"keyId" doc:"Which key signs, as signed notes write it: name, hash and key"`
	Verified       *bool     `json:"verified" nullable:"true" doc:"Whether every entry is the one that was signed, the rows that keeper decides by are what the log says of them, and searches find every entry; null where it was not found out since keeper started"`
	VerifiedAt     time.Time `json:"verifiedAt,omitzero" doc:"When that was found"`
	Detail         string    `json:"detail" doc:"In a sentence"`
	Running        bool      `json:"running" doc:"Whether the entries are being gone through now"`
	Step           string    `json:"step,omitempty" enum:"entries,rows,index" doc:"What of it: the entries, the rows that keeper decides by, or the index that searches use"`
	Examined       int64     `json:"examined,omitempty" doc:"How many entries so far in that step"`
}

func (s *surface) verification(ctx context.Context, _ *struct{}) (*output[verificationBody], error) {
	body, err := s.verificationNow(ctx)
	if err != nil {
		return nil, err
	}
	return &output[verificationBody]{body}, nil
}

// verify starts a run, unless one is under way.
func (s *surface) verify(ctx context.Context, in *struct{}) (*output[verificationBody], error) {
	if s.verified.begin() {
		go s.goThroughLog()
	}
	return s.verification(ctx, in)
}

func (s *surface) verificationNow(ctx context.Context) (body verificationBody, err error) {
	totals, err := s.audit.Totals(ctx)
	if err != nil {
		return body, err
	}
	body.Size, body.KeyID = totals.LastSeq, s.audit.PublicKey()
	head, at, err := s.audit.SignedHead(ctx)
	switch {
	case err == nil:
		body.CheckpointSize, body.CheckpointAt = head.Size, at.UTC()
		body.RootHash = base64.StdEncoding.EncodeToString(head.Root[:])
	case !errors.Is(err, store.ErrNotFound):
		return body, err
	}
	v := &s.verified
	v.mu.Lock()
	defer v.mu.Unlock()
	body.Verified, body.Detail, body.Running = v.good, v.detail, v.running
	if body.Detail == "" {
		body.Detail = notVerified
	}
	if !v.at.IsZero() {
		body.VerifiedAt = v.at.UTC()
	}
	if v.running {
		body.Step, body.Examined = v.step, v.read
	}
	return body, nil
}

// goThroughLog verifies the log until keeper stops.
func (a *API) goThroughLog() {
	defer a.verified.work.Done()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-a.stopping:
			cancel(errKeeperStops)
		case <-ctx.Done():
		}
	}()
	good, detail, err := a.lookThrough(ctx)
	if err != nil {
		a.logger.Error("audit log not verified", "error", err)
		a.verified.end(a.now(), nil, "It could not be gone through to the end; the operator's log says more.")
		return
	}
	a.verified.end(a.now(), &good, detail)
}

// lookThrough says whether all is as it was written, in a sentence. Rows and index are
// looked at where the log, which says what they must be, is sound.
func (a *API) lookThrough(ctx context.Context) (good bool, detail string, err error) {
	report, err := a.audit.Verify(ctx, a.verified.progress)
	if err != nil {
		return false, "", err
	}
	if d := report.Damage; d != nil {
		a.logger.Error("audit log was tampered with", "harm", d.Harm, "entry", d.Entry, "detail", d.Text)
		return false, fmt.Sprintf("The log was tampered with (%s): %s. keeper audit verify says more.", d.Harm, d.Text), nil
	}
	detail = fmt.Sprintf("All entries that are kept, %d to %d, are those that were written, and the newest signed head is over %d.", report.First, report.Last, report.Head.Size)
	a.verified.next(stepRows)
	rows, err := a.lookAtRows(ctx, report.Head.State)
	if err != nil || rows.bad {
		return false, rows.sentence, err
	}
	a.verified.next(stepIndex)
	index, err := a.lookAtIndex(ctx)
	if err != nil || index.bad {
		return false, index.sentence, err
	}
	return true, detail + rows.sentence + index.sentence, nil
}

// look is what came of a step.
type look struct {
	bad      bool
	sentence string
}

// lookAtRows holds the rows against the signed state. One that disagrees is looked at
// twice, against the newest head: keeper makes changes meanwhile.
func (a *API) lookAtRows(ctx context.Context, signed audit.State) (look, error) {
	if a.checkRows == nil || signed.Digest == "" {
		return look{sentence: " The rows that keeper decides by were not looked at: nothing was signed of them yet."}, nil
	}
	err := a.checkRows(ctx, signed)
	if errors.Is(err, audit.ErrTampered) {
		var head audit.Checkpoint
		if head, _, err = a.audit.SignedHead(ctx); err == nil {
			err = a.checkRows(ctx, head.State)
		}
	}
	if errors.Is(err, audit.ErrTampered) {
		a.logger.Error("the store is not what the audit log says of it", "error", err)
		return look{true, fmt.Sprintf("The entries are those that were written, but the rows that keeper decides by are not what the log says of them: %v.", err)}, nil
	}
	return look{sentence: " The agents, revocations, secrets, keys and exceptions that keeper decides by are what the log says of them."}, err
}

func (a *API) lookAtIndex(ctx context.Context) (look, error) {
	if a.checkIndex == nil {
		return look{sentence: " The index that searches use was not looked at."}, nil
	}
	err := a.checkIndex(ctx, a.verified.progress)
	if errors.Is(err, store.ErrDamaged) {
		a.logger.Error("the search index is not what the entries say", "error", err)
		return look{true, "The entries are those that were written, but searches may miss some: the index is damaged. keeper audit verify --folder names where, and the mend."}, nil
	}
	return look{sentence: " Searches find every entry."}, err
}
