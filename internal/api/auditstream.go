package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/session"
	"github.com/superinstance/keeper/internal/store"
)

const (
	streamBatch = 500              // entries read at once
	streamPause = 15 * time.Second // after which a stream without news says that it lives
	streamWrite = 30 * time.Second // that a reader may take to read some of it
	clockBack   = time.Hour        // by which the clock is thought to have been put back at most
)

// errKeeperStops ends streams.
var errKeeperStops = errors.New("keeper is stopping")

type tailInput struct {
	AuditFilters
	After       int64  `query:"after" minimum:"-1" default:"-1" doc:"Begin behind the entry of this id; 0: with the first one; -1: with the next one that is written"`
	LastEventID string `header:"Last-Event-ID" doc:"As after, from a client that comes back"`
}

func (in *tailInput) start(last int64) (int64, error) {
	if in.LastEventID != "" {
		id, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || id < 0 {
			return 0, &fieldError{"Last-Event-ID", "it must be the id of an entry"}
		}
		return id, nil
	}
	if in.After < 0 {
		return last, nil
	}
	return in.After, nil
}

// tail answers with a stream that ends when the caller goes, its token is revoked, or
// keeper stops.
func (s *surface) tail(ctx context.Context, in *tailInput) (*huma.StreamResponse, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	totals, err := s.audit.Totals(ctx)
	if err != nil {
		return nil, err
	}
	after, err := in.start(totals.LastSeq)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "text/event-stream")
		live, done := s.live(ctx)
		defer done()
		t := &tailing{surface: s, filter: filter, after: after, out: newStream(hc)}
		t.run(live)
	}}, nil
}

// live is ctx for an answer that may take long: it also ends when the caller's token
// is revoked, its session ends, or keeper stops.
func (s *surface) live(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := callOf(ctx)
	leave := s.auth.Live(c.claims, cancel)
	over, out := s.stay(c.session)
	go func() {
		defer out()
		select {
		case <-s.stopping:
			cancel(errKeeperStops)
		case <-over:
			cancel(session.ErrEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		leave()
		cancel(nil)
	}
}

// file sends what write writes while ctx is live. Where that fails or ctx ends, the
// answer is cut off, so that nobody takes it for whole.
func (s *surface) file(ctx context.Context, hc huma.Context, write func(context.Context, io.Writer) error) {
	live, done := s.live(ctx)
	defer done()
	err := write(live, newStream(hc))
	if live.Err() != nil {
		err = context.Cause(live)
	}
	if err == nil {
		return
	}
	s.logger.WarnContext(ctx, "answer cut off", "requestId", audit.OriginOf(ctx).RequestID, "error", err)
	panic(http.ErrAbortHandler)
}

type tailing struct {
	*surface
	filter store.AuditFilter
	after  int64
	out    *stream
}

func (t *tailing) run(ctx context.Context) {
	for err := t.out.comment("begins"); err == nil; {
		err = t.some(ctx)
	}
}

// some sends what is new or, where nothing is for a while, a sign of life.
func (t *tailing) some(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, streamPause)
	defer cancel()
	last, err := t.audit.Await(patience, t.after)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return t.out.comment("nothing new")
	}
	for t.after < last {
		entries, err := t.audit.After(ctx, t.after, streamBatch)
		if err != nil || len(entries) == 0 {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if err := t.passOver(ctx, entries[0].Seq); err != nil {
			return err
		}
		for i := range entries {
			t.after = entries[i].Seq
			if !t.filter.Matches(&entries[i]) {
				continue
			}
			if err := t.out.event(&entries[i]); err != nil {
				return err
			}
		}
		if err := t.out.flush(); err != nil {
			return err
		}
	}
	return nil
}

// passOver says which entries before next were pruned.
func (t *tailing) passOver(ctx context.Context, next int64) error {
	if next == t.after+1 {
		return nil
	}
	totals, err := t.audit.Totals(ctx)
	if err != nil || totals.First < next { // what is missing for another reason did not leave
		return err
	}
	return t.out.pruned(t.after+1, next-1)
}

// stream writes an answer of no known length to a caller who must go on reading it.
type stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

func newStream(hc huma.Context) *stream {
	_, w := humago.Unwrap(hc)
	s := &stream{w, http.NewResponseController(w)}
	_ = s.controller.SetReadDeadline(time.Time{}) // where there is none to set, none ends it
	return s
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	_ = s.controller.SetWriteDeadline(time.Now().Add(streamWrite))
	return s.w.Write(p)
}

func (s *stream) flush() error { return s.controller.Flush() }

func (s *stream) comment(text string) error {
	if _, err := fmt.Fprintf(s, ": %s\n\n", text); err != nil {
		return err
	}
	return s.flush()
}

func (s *stream) event(e *store.AuditEntry) error {
	_, err := fmt.Fprintf(s, "id: %d\nevent: entry\ndata: %s\n\n", e.Seq, audit.Leaf(e))
	return err
}

func (s *stream) pruned(first, last int64) error {
	_, err := fmt.Fprintf(s, "event: pruned\ndata: {\"first\":%d,\"last\":%d}\n\n", first, last)
	return err
}

// AuditRange is a run of entries.
type AuditRange struct {
	First int64 `query:"first" minimum:"1" doc:"Id of the first entry; otherwise the first that is kept"`
	Last  int64 `query:"last" minimum:"1" doc:"Id of the last entry; otherwise the newest"`
}

type exportInput struct {
	AuditFilters
	AuditRange
	Format string `query:"format" enum:"json,ndjson,csv,ocsf,ecs,cef" default:"ndjson"`
}

func (s *surface) export(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	format, err := export.ParseFormat(in.Format)
	if err != nil {
		return nil, &fieldError{"format", err.Error()}
	}
	first, last, err := s.exported(ctx, in, filter)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", format.ContentType())
		hc.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="keeper-audit-%d-%d.%s"`, first, last, format.Extension()))
		s.file(ctx, hc, func(ctx context.Context, w io.Writer) error {
			return s.writeEntries(ctx, export.NewWriter(w, format, s.producer()), filter, first, last)
		})
	}}, nil
}

func (s *surface) producer() export.Producer {
	host, _ := os.Hostname() // where it has none, it is left out
	return export.Producer{Version: s.version, Host: host}
}

// exported is from where to where an export goes.
func (s *surface) exported(ctx context.Context, in *exportInput, f store.AuditFilter) (first, last int64, err error) {
	totals, err := s.audit.Totals(ctx)
	if err != nil {
		return 0, 0, err
	}
	first, last = max(1, in.First, totals.First), totals.LastSeq
	if in.Last > 0 {
		last = min(last, in.Last)
	}
	if f.Since.IsZero() {
		return first, last, nil
	}
	before, err := s.audit.Entries(ctx, store.AuditFilter{Until: f.Since.Add(-clockBack), Limit: 1})
	if err == nil && len(before.Entries) > 0 {
		first = max(first, before.Entries[0].Seq)
	}
	return first, last, err
}

// writeEntries writes those of the entries first to last that match. Where any of them
// is not there, be it that it was pruned meanwhile, that is an error.
func (s *surface) writeEntries(ctx context.Context, out *export.Writer, f store.AuditFilter, first, last int64) error {
	next := first
	for e, err := range s.audit.From(ctx, first) {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case next > last:
			return out.Close()
		case e.Seq != next:
			return fmt.Errorf("exporting entries %d to %d: entry %d: %w", first, last, next, store.ErrNotFound)
		}
		next++
		if !f.Matches(&e) {
			continue
		}
		if err := out.Write(&e); err != nil {
			return err
		}
	}
	if next <= last {
		return fmt.Errorf("exporting entries %d to %d: entry %d: %w", first, last, next, store.ErrNotFound)
	}
	return out.Close()
}

func (s *surface) exportProof(ctx context.Context, in *AuditRange) (*huma.StreamResponse, error) {
	totals, err := s.audit.Totals(ctx)
	if err != nil {
		return nil, err
	}
	first, last := cmp.Or(in.First, totals.First), cmp.Or(in.Last, totals.LastSeq)
	if first < totals.First || first > last || last > totals.LastSeq {
		return nil, fmt.Errorf("proving entries %d to %d of %d: %w", first, last, totals.LastSeq, store.ErrNotFound)
	}
	if _, err := s.audit.Checkpoint(ctx); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/x-ndjson")
		s.file(ctx, hc, func(ctx context.Context, w io.Writer) error {
			_, err := s.audit.WriteProof(ctx, w, first, last)
			return err
		})
	}}, nil
}
