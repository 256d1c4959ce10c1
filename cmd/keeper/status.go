package main

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
)

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
			}
			rawStatus, err := c.call(cmd.Context(), http.MethodGet, "/status", nil, &status)
			if err != nil {
				return err
			}
			return a.show(map[string]json.RawMessage{"health": rawHealth, "status": rawStatus}, func() error {
				return table(a.out, []string{"FIELD", "VALUE"}, [][]string{
					{"url", c.base.String()}, {"health", health.Status}, {"version", health.Version},
					{"agents", strconv.FormatInt(status.Agents, 10)}, {"secrets", strconv.FormatInt(status.Secrets, 10)},
					{"audit entries", strconv.FormatInt(status.AuditEntries, 10)},
					{"of risk 1 or 2", strconv.FormatInt(status.HighRiskEvents, 10)},
				})
			})
		},
	}
}
