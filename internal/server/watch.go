package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/telemetry"
)

func (s *Server) openTelemetry() (err error) {
	s.telemetry, err = telemetry.New(telemetry.Config{
		Knows: func(provider string) bool { _, known := s.Catalogue().Provider(provider); return known },
		Clean: func(text string) bool {
			return !slices.ContainsFunc(s.now().scanner.Scan([]byte(text), "header"), telling)
		},
		Added:   s.figures.Added,
		Version: s.config.Version, Logger: s.config.Logger,
	})
	if err != nil {
		return err
	}
	if s.first.tracing, err = s.telemetry.OpenTraces(s.config.Traces); err != nil {
		return err
	}
	s.telemetry.Trace(s.first.tracing)
	s.telemetry.Registry().MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.closers = append(s.closers, s.telemetry.Close)
	return nil
}

// telling reports whether a finding is more than a hint.
func telling(f scanner.Finding) bool { return f.Confidence != scanner.Low || f.Blocks() || f.Redacts() }

// alive reports why only a new process could serve calls: a listener has broken, or
// calls wait for one another.
func (s *Server) alive(ctx context.Context) error {
	if s.broken.Load() {
		return errBroken
	}
	passed := make(chan struct{})
	go func() {
		s.now().proxy.Breathe()
		_, _ = s.auth.Agent("") // there is none: what counts is that it answers
		close(passed)
	}()
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return errStuck
	}
}

var (
	errBroken = errors.New("a listener has broken")
	errStuck  = errors.New("calls wait for one another")
)

// drain waits until those who send calls here should know that they must not.
func (s *Server) drain(ctx context.Context) {
	if s.now().config.DrainDelay <= 0 || s.broken.Load() {
		return
	}
	over := time.NewTimer(s.now().config.DrainDelay)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}
