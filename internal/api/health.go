package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
)

const healthTimeout = 2 * time.Second

type healthBody struct {
	Status    string    `json:"status" enum:"healthy,unhealthy"`
	Timestamp time.Time `json:"timestamp"`
	Version   string    `json:"version"`
	Proxy     bool      `json:"proxy" doc:"Whether keeper is a proxy for clients that know no base URL"`
	Reason    string    `json:"reason,omitempty" doc:"Why a call could not be served"`
	Warnings  []warning `json:"warnings,omitempty" doc:"What is in trouble although calls are served"`
}

type healthOutput struct {
	Status int
	Body   healthBody
}

func (s *surface) health(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	out := &healthOutput{http.StatusOK, healthBody{Status: "healthy", Timestamp: s.now().UTC(), Version: s.version, Proxy: s.proxy, Warnings: s.warnings()}}
	if err := s.checkReady(ctx); err != nil {
		s.logger.ErrorContext(ctx, "keeper is unhealthy", "requestId", audit.OriginOf(ctx).RequestID, "error", err)
		out.Status, out.Body.Status, out.Body.Reason = http.StatusServiceUnavailable, "unhealthy", unreadiness(err)
	}
	return out, nil
}

// checkReady asks whether a call could be served.
func (a *API) checkReady(ctx context.Context) error { return a.shared(ctx, "ready", a.ready) }

// shared makes a check. Those who ask at once share one, as it may write to the disk,
// and no check makes them wait longer than healthTimeout.
func (a *API) shared(ctx context.Context, name string, check func(context.Context) error) error {
	shared := a.checks.DoChan(name, func() (any, error) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
		defer cancel()
		return nil, check(bounded)
	})
	patience, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	select {
	case result := <-shared:
		return result.Err
	case <-patience.Done():
		return patience.Err()
	}
}

// unreadiness is what anyone may know of the reason.
func unreadiness(err error) string {
	for _, cause := range []error{store.ErrDiskFull, store.ErrReadOnly, store.ErrDamaged, store.ErrDisk, store.ErrUnreachable} {
		if errors.Is(err, cause) {
			return cause.Error()
		}
	}
	switch {
	case errors.Is(err, store.ErrHeld):
		return "another keeper has the store now"
	case errors.Is(err, auth.ErrStale):
		return "this keeper does not know what others have changed in the store"
	case errors.Is(err, ErrStopping):
		return ErrStopping.Error()
	case errors.Is(err, audit.ErrTampered):
		return "the store was changed behind keeper's back"
	case errors.Is(err, audit.ErrUnavailable):
		return "the audit log cannot be written"
	case errors.Is(err, context.DeadlineExceeded):
		return "the store does not answer in time"
	default:
		return "the store cannot be used"
	}
}

type statusBody struct {
	Status         string `json:"status" enum:"operational"`
	Agents         int    `json:"agents"`
	Secrets        int    `json:"secrets"`
	AuditEntries   int64  `json:"auditEntries"`
	HighRiskEvents int64  `json:"highRiskEvents" doc:"Audit entries of risk 1 or 2"`
	Version        string `json:"version"`

	AuditOutlets []Outlet `json:"auditOutlets,omitempty" doc:"Where the audit log leaves keeper"`
	Sources      []Source `json:"secretSources,omitempty" doc:"Where secrets come from that are not kept in the vault"`
}

func (s *surface) status(ctx context.Context, _ *struct{}) (*output[statusBody], error) {
	totals, err := s.audit.Totals(ctx)
	if err != nil {
		return nil, err
	}
	return &output[statusBody]{statusBody{
		Status: "operational", Agents: len(s.auth.Agents()), Secrets: len(s.vault.List()),
		AuditEntries: totals.Entries, HighRiskEvents: totals.HighRisk, Version: s.version,
		AuditOutlets: s.outlets(), Sources: s.sources(),
	}}, nil
}

type jwksInput struct {
	IfNoneMatch string `header:"If-None-Match"`
}

type jwksOutput struct {
	Status       int
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	ETag         string `header:"ETag"`
	Body         []byte
}

// jwks may be kept for five minutes: a key is published long before it signs.
func (s *surface) jwks(_ context.Context, in *jwksInput) (*jwksOutput, error) {
	keys := s.auth.JWKS()
	digest := sha256.Sum256(keys)
	tag := `"` + base64.RawURLEncoding.EncodeToString(digest[:16]) + `"`
	out := &jwksOutput{http.StatusOK, "application/json", "public, max-age=300", tag, keys}
	if in.IfNoneMatch == tag {
		out.Status, out.Body = http.StatusNotModified, nil
	}
	return out, nil
}
