package server

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/telemetry"
)

func (s *Server) openTelemetry(found *scanner.Scanner) (err error) {
	s.telemetry, err = telemetry.New(telemetry.Config{
		Knows:  func(provider string) bool { _, known := s.catalogue.Provider(provider); return known },
		Clean:  func(text string) bool { return !slices.ContainsFunc(found.Scan([]byte(text), "header"), telling) },
		Traces: s.config.Traces, Version: s.config.Version, Logger: s.config.Logger,
	})
	if err != nil {
		return err
	}
	s.telemetry.Registry().MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.closers = append(s.closers, s.telemetry.Close)
	return nil
}

// telling reports whether a finding is more than a hint.
func telling(f scanner.Finding) bool { return f.Confidence != scanner.Low || f.Blocks() || f.Redacts() }
