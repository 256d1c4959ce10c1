package server

import (
	"context"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/auth"
)

// checkCredential lets the routes test a credential by way of the pipeline.
func (s *Server) checkCredential(ctx context.Context, by auth.Claims, provider, label string) api.CheckResult {
	told := s.now().proxy.Check(ctx, by, provider, label)
	return api.CheckResult{
		OK: told.OK, Status: told.Status, Code: told.Code, Message: told.Message, DurationMS: told.Duration.Milliseconds(),
	}
}
