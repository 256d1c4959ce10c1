package server

import (
	"context"
	"crypto/tls"

	"github.com/superinstance/keeper/internal/store/sqlite"
)

// WithoutSync makes the keeper's audit log wait for no disk. No configuration does.
func (s *Server) WithoutSync(ctx context.Context) error { return s.db.(*sqlite.DB).WithoutSync(ctx) }

// Certificate is one by the authority that issues now.
func (s *Server) Certificate(names ...string) (*tls.Certificate, error) {
	return authorityNow{s}.Certificate(names...)
}

// Rows are the store beneath the keeper, which does not know what is changed in it so.
func (s *Server) Rows() Database { return s.db }

// Refresh has the keeper take over what was changed there, and know that it has.
func (s *Server) Refresh(ctx context.Context) error {
	s.fresh.Store(nil)
	return s.refresh(ctx)
}

// Lapse has the keeper lose sight of its store.
func (s *Server) Lapse(why error) {
	lost := func() error { return why }
	s.fresh.Store(&lost)
	s.lapse()
}
