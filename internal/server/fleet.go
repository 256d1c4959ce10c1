package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/fleet"
	"github.com/superinstance/keeper/internal/segment"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
)

const (
	memberFile    = "keeper.id"
	segmentFolder = "audit-segment"
	leadLook      = 300 * time.Millisecond // for whether this keeper leads
	feedPrune     = time.Minute
	feedKept      = time.Hour // of changes in the feed, which nobody needs who looks at it
)

// shared is a database that several keepers share, and this keeper among them.
type shared struct {
	*postgres.DB
	self    store.Member
	segment *segment.Log
	shipped int64  // the last of its entries' numbers that was in the log
	alone   func() // lets others start
}

var (
	_ audit.Shared  = shared{}
	_ anchor.Shared = rowsOf{}
	_ fleet.Store   = looks{}
)

// Change implements [audit.Shared].
func (d shared) Change(ctx context.Context, f func(context.Context, audit.Shared) error) error {
	return d.DB.Change(ctx, func(ctx context.Context, within *postgres.DB) error { return f(ctx, shared{DB: within}) })
}

// rowsOf is the database as rows.
type rowsOf struct{ *postgres.DB }

// Change implements [anchor.Shared].
func (d rowsOf) Change(ctx context.Context, f func(context.Context, anchor.Rows, audit.Shared) error) error {
	return d.DB.Change(ctx, func(ctx context.Context, within *postgres.DB) error { return f(ctx, within, shared{DB: within}) })
}

// Snapshot implements [anchor.Shared].
func (d rowsOf) Snapshot(ctx context.Context, f func(context.Context, anchor.Rows, store.LogEnd) error) error {
	return d.DB.Snapshot(ctx, func(ctx context.Context, within *postgres.DB, end store.LogEnd) error { return f(ctx, within, end) })
}

// openShared makes this keeper one of those that share the database. Until it has held
// the log and the rows against what they sealed, no other starts.
func (s *Server) openShared(ctx context.Context, db *postgres.DB) (*shared, error) {
	d := &shared{DB: db}
	var err error
	if d.self, err = s.member(); err != nil {
		return nil, err
	}
	if d.alone, err = db.Alone(ctx); err != nil {
		return nil, err
	}
	alone := d.alone // d is nil where this returns an error
	s.closers = append(s.closers, func(context.Context) error { alone(); return nil })
	if err := s.checkOfStore(ctx, d); err != nil {
		return nil, err
	}
	d.shipped, err = db.Join(ctx, d.self)
	if errors.Is(err, store.ErrHeld) {
		return nil, fmt.Errorf("%w; each keeper needs a data folder of its own: in a copy of another's, delete %s and %s", err, memberFile, segmentFolder)
	}
	if err != nil {
		return nil, err
	}
	d.segment, err = s.openSegment(d.shipped)
	if err != nil {
		return nil, fmt.Errorf("opening what the audit log lacks of this keeper's: %w", err)
	}
	s.closers = append(s.closers, func(context.Context) error { return d.segment.Close() }, func(context.Context) error {
		if f := s.fleet.Load(); f != nil {
			f.Stop()
		}
		return nil
	})
	return d, nil
}

func (s *Server) openSegment(shipped int64) (*segment.Log, error) {
	return segment.Open(filepath.Join(s.config.DataDir, segmentFolder), shipped, segment.Options{MaxBytes: s.config.Audit.MaxUnshipped})
}

// checkOfStore returns an error where the folder has entries of a keeper that the database
// does not know: nobody can tell which of them are in a log already.
func (s *Server) checkOfStore(ctx context.Context, d *shared) error {
	members, _, err := d.Members(ctx)
	if err != nil || slices.ContainsFunc(members, func(m store.Member) bool { return m.ID == d.self.ID }) {
		return err
	}
	own, err := s.openSegment(0)
	if err != nil {
		return fmt.Errorf("looking for this keeper's entries of the audit log: %w", err)
	}
	last := own.Last()
	if err := own.Close(); err != nil || last == 0 {
		return err
	}
	return fmt.Errorf("the data folder %s is of a keeper that this database was told to forget, or of another database: move %s and %s out of it, and start again as another keeper; entries that were not shared are in %s alone",
		s.config.DataDir, memberFile, segmentFolder, segmentFolder)
}

// member is this keeper, by the id that its folder has, which it makes where there is
// none.
func (s *Server) member() (m store.Member, err error) {
	id, err := MemberID(s.config.DataDir)
	if err == nil && id == "" {
		id = randomID()
		if err = writePrivate(filepath.Join(s.config.DataDir, memberFile), []byte(id+"\n")); err != nil {
			err = fmt.Errorf("keeping this keeper's id: %w", err)
		}
	}
	if err != nil {
		return m, err
	}
	return s.described(id), nil
}

// MemberID is the id that a data folder has among the keepers that share a database; empty
// where none has served by it yet.
func MemberID(folder string) (string, error) {
	file := filepath.Join(folder, memberFile)
	text, err := os.ReadFile(file)
	id := strings.TrimSpace(string(text))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err == nil && !validMember(id):
		err = fmt.Errorf("it is no id; delete it, and keeper is another one of the fleet")
	}
	if err != nil {
		return "", fmt.Errorf("reading this keeper's id, %s: %w", file, err)
	}
	return id, nil
}

// described is this keeper by an id.
func (s *Server) described(id string) store.Member {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return store.Member{
		ID: id, Incarnation: randomID(), Name: host + ", process " + strconv.Itoa(os.Getpid()),
		Address: s.config.Addr, Version: s.config.Version, State: store.Serving,
	}
}

func randomID() string {
	id := make([]byte, 16)
	rand.Read(id) // never fails: see crypto/rand.Read
	return hex.EncodeToString(id)
}

func validMember(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16 && id == strings.ToLower(id)
}

// fleetLog is what the audit log needs to be one of several keepers'.
func (s *Server) fleetLog(d *shared) *audit.Fleet {
	return &audit.Fleet{
		Shared: *d, Member: d.self.ID, Segment: d.segment, Shipped: d.shipped, ShipFirst: s.config.Audit.Acknowledge == AcknowledgeStore,
		Keys: func(ctx context.Context) ([]*audit.Key, error) {
			key, next, err := s.vault.AuditKeys(ctx)
			if err != nil || next == nil {
				return []*audit.Key{key}, err
			}
			return []*audit.Key{key, next}, nil
		},
	}
}

// startFleet takes over what other keepers changed since the rows were read, and goes on
// doing so.
func (s *Server) startFleet(ctx context.Context) error {
	if s.shared == nil {
		return nil
	}
	s.shared.alone()
	f, err := fleet.Start(ctx, fleet.Config{
		Store: looks{s.shared.DB, s.log}, Self: s.shared.self, Staleness: s.config.Staleness,
		Take: s.take, Lapse: s.lapse, Waiting: s.log.Waiting, Logger: s.config.Logger,
	})
	if err != nil {
		return fmt.Errorf("looking at the database: %w", err)
	}
	fresh := f.Fresh
	s.fresh.Store(&fresh)
	s.fleet.Store(f)
	return nil
}

// startLeading begins to look whether this keeper leads, once there is what a leader
// opens anew.
func (s *Server) startLeading(context.Context) error {
	if s.shared != nil {
		s.inBackground(s.lead)
	}
	return nil
}

// looks is a database each look at which says what was known before it.
type looks struct {
	*postgres.DB
	log *audit.Log
}

// Poll implements [fleet.Store].
func (l looks) Poll(ctx context.Context) (store.Pulse, error) {
	known := l.log.Known()
	p, err := l.DB.Poll(ctx)
	p.Known = known
	return p, err
}

// take takes over what the database says: first the log's end, then the rows.
func (s *Server) take(ctx context.Context, p store.Pulse, all bool) error {
	if err := s.log.Observe(ctx, p.End, p.Note, p.Known); err != nil {
		return err
	}
	if all {
		s.rows.Forget()
	}
	return s.rows.Follow(ctx, p.End.State, s.refresh)
}

// sync takes over what another keeper changed a moment ago.
func (s *Server) sync(ctx context.Context) error {
	if f := s.fleet.Load(); f != nil {
		return f.Sync(ctx)
	}
	return nil
}

// clock is the one that all keepers of a fleet go by.
func (s *Server) clock() time.Time {
	if f := s.fleet.Load(); f != nil {
		return f.Now()
	}
	return time.Now()
}

// lead opens what the log leaves by while this keeper leads, and closes it else. The index
// that entries are searched by is made meanwhile.
func (s *Server) lead(ctx context.Context) {
	tick := time.NewTicker(leadLook)
	defer tick.Stop()
	var pruned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if leads := s.fleet.Load().Leads(); leads != s.leading.Load() && s.reloading.TryLock() {
			s.changeLead(ctx, leads)
			s.reloading.Unlock()
		}
		if !s.leading.Load() {
			continue
		}
		if err := s.shared.IndexLog(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.WarnContext(ctx, "entries not summed up yet; searches are slower", "error", err)
		}
		if time.Since(pruned) < feedPrune {
			continue
		}
		pruned = time.Now()
		if err := s.shared.PruneFeed(ctx, s.clock().Add(-feedKept)); err != nil && ctx.Err() == nil {
			s.config.Logger.WarnContext(ctx, "old changes not forgotten yet", "error", err)
		}
	}
}

// changeLead begins or ends leading. The caller holds reloading.
func (s *Server) changeLead(ctx context.Context, leads bool) {
	before := s.here(s.now().config.Audit)
	s.leading.Store(leads)
	if err := s.reopenOutlets(ctx, before, s.here(s.now().config.Audit), []string{"sinks", "retention"}); err != nil {
		s.config.Logger.ErrorContext(ctx, "the audit log does not leave by all of its ways", "error", err)
	}
	s.config.Logger.InfoContext(ctx, "sinks and retention of the fleet's audit log", "here", leads)
}

// here is what of it is this keeper's: one keeper alone feeds sinks and prunes.
func (s *Server) here(a Audit) Audit {
	if s.shared != nil && !s.leading.Load() {
		a.Sinks, a.Retention = nil, nil
	}
	return a
}
