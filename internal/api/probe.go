package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/superinstance/keeper/internal/audit"
)

// ErrStopping is what Config.Ready wraps while keeper stops.
var ErrStopping = errors.New("keeper is stopping")

// probeBody names checks and says no more: anyone may ask.
type probeBody struct {
	Status string       `json:"status" enum:"ok,failing"`
	Checks []probeCheck `json:"checks"`
}

type probeCheck struct {
	Name string `json:"name" enum:"process,draining,auditLog,store"`
	OK   bool   `json:"ok"`
}

type probeOutput struct {
	Status int
	Body   probeBody
}

func probed(checks ...probeCheck) *probeOutput {
	out := &probeOutput{http.StatusOK, probeBody{"ok", checks}}
	for _, one := range checks {
		if !one.OK {
			out.Status, out.Body.Status = http.StatusServiceUnavailable, "failing"
		}
	}
	return out
}

// livez looks at nothing that a restart does not mend: a full disk would only become a
// keeper that starts over and over.
func (s *surface) livez(ctx context.Context, _ *struct{}) (*probeOutput, error) {
	err := s.shared(ctx, "alive", s.alive)
	if err != nil {
		s.logger.ErrorContext(ctx, "keeper should be restarted", "requestId", audit.OriginOf(ctx).RequestID, "error", err)
	}
	return probed(probeCheck{"process", err == nil}), nil
}

// readyz says by what name a check goes that fails.
func (s *surface) readyz(ctx context.Context, _ *struct{}) (*probeOutput, error) {
	err := s.checkReady(ctx)
	draining := errors.Is(err, ErrStopping)
	log := errors.Is(err, audit.ErrTampered) || errors.Is(err, audit.ErrUnavailable)
	if err != nil && !draining {
		s.logger.ErrorContext(ctx, "keeper is not ready", "requestId", audit.OriginOf(ctx).RequestID, "error", err)
	}
	return probed(probeCheck{"draining", !draining}, probeCheck{"auditLog", !log}, probeCheck{"store", err == nil || draining || log}), nil
}
