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
