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
	read    int64 // entries gone through so far
	at      time.Time
	good    *bool  // nil: it was not found out
	detail  string // in a sentence
}

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
	v.running, v.read = true, 0
	v.work.Add(1)
	return true
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

const notVerified = "No entry was looked at since keeper started. At its start keeper held the log's tree against the newest signed head, and what followed that against its own seals."

type verificationBody struct {
	Size           int64     `json:"size" doc:"The newest entry's number"`
	CheckpointSize int64     `json:"checkpointSize" doc:"How many entries the newest signed head is over"`
	CheckpointAt   time.Time `json:"checkpointAt,omitzero"`
	RootHash       string    `json:"rootHash,omitempty" doc:"Of that head, in base64"`
	KeyID          string    `json:"keyId" doc:"Which key signs, as signed notes write it: name, hash and key"`
	Verified       *bool     `json:"verified" nullable:"true" doc:"Whether every entry is the one that was signed; null where it was not found out since keeper started"`
	VerifiedAt     time.Time `json:"verifiedAt,omitzero" doc:"When that was found"`
	Detail         string    `json:"detail" doc:"In a sentence"`
	Running        bool      `json:"running" doc:"Whether the entries are being gone through now"`
	Examined       int64     `json:"examined,omitempty" doc:"How many of them so far"`
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
		body.Examined = v.read
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
	report, err := a.audit.Verify(ctx, a.verified.progress)
	good := err == nil && report.Damage == nil
	switch {
	case err != nil:
		a.logger.Error("audit log not verified", "error", err)
		a.verified.end(a.now(), nil, "The entries could not be read to the end; the operator's log says more.")
	case good:
		a.verified.end(a.now(), &good, fmt.Sprintf("All entries that are kept, %d to %d, are those that were written, and the newest signed head is over %d.", report.First, report.Last, report.Head.Size))
	default:
		a.logger.Error("audit log was tampered with", "harm", report.Damage.Harm, "entry", report.Damage.Entry, "detail", report.Damage.Text)
		a.verified.end(a.now(), &good, damageOf(report.Damage))
	}
}

func damageOf(d *audit.Damage) string {
	return fmt.Sprintf("The log was tampered with (%s): %s. keeper audit verify says more.", d.Harm, d.Text)
}
