package server

import "context"

// WithoutSync makes the keeper's audit log wait for no disk. No configuration does.
func (s *Server) WithoutSync(ctx context.Context) error { return s.db.WithoutSync(ctx) }
