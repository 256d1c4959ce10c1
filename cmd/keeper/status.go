package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// outlet is where the audit log leaves keeper.
type outlet struct {
	Kind, Name, Problem string
	Seq, Behind         int64
	Since               time.Time
}

func (o outlet) state() string {
	text := "well"
	if o.Problem != "" {
		text = o.Problem + " since " + when(o.Since)
	}
	if o.Behind > 0 {
		text += fmt.Sprintf(", %d entries behind", o.Behind)
	}
	return text
}

// secretSource is where a secret comes from.
type secretSource struct {
	Name, Source, Problem string
	Since                 time.Time
	Serves                bool
}

func (s secretSource) state() string {
	switch {
	case s.Problem == "":
		return "well, from " + s.Source
	case s.Serves:
		return s.Problem + " since " + when(s.Since) + "; the last value serves"
	}
	return s.Problem + " since " + when(s.Since) + "; there is no value"
}

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show whether keeper is well, and what it holds",
		Example: "  keeper status\n  keeper status --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var health struct {
				Status  string `json:"status"`
				Version string `json:"version"`
			}
			rawHealth, err := c.call(cmd.Context(), http.MethodGet, "/health", nil, &health)
			if err != nil {
				return err
			}
			var status struct {
				Agents, Secrets, AuditEntries, HighRiskEvents int64

				AuditOutlets  []outlet
				SecretSources []secretSource
			}
			rawStatus, err := c.call(cmd.Context(), http.MethodGet, "/status", nil, &status)
			if err != nil {
				return err
			}
			return a.show(map[string]json.RawMessage{"health": rawHealth, "status": rawStatus}, func() error {
				rows := [][]any{
					{"url", c.base.String()}, {"health", health.Status}, {"version", health.Version},
					{"agents", status.Agents}, {"secrets", status.Secrets},
					{"audit entries", status.AuditEntries},
					{"of risk 1 or 2", status.HighRiskEvents},
				}
				for _, o := range status.AuditOutlets {
					rows = append(rows, []any{"audit " + o.Kind + " " + o.Name, o.state()})
				}
				for _, one := range status.SecretSources {
					rows = append(rows, []any{"secret " + one.Name, one.state()})
				}
				return a.fields(rows)
			})
		},
	}
}
