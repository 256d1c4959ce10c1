package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/quota"
)

// QuotaConfig bounds what callers may use.
type QuotaConfig struct {
	// Its name in refusals and the audit log: letters, digits, dots, hyphens and
	// underscores. Required.
	Name string `yaml:"name"`
	// Agents whose calls it counts. Default: all.
	Agents []string `yaml:"agents"`
	// Providers to which it counts calls. Default: all.
	Providers []string `yaml:"providers"`
	// Scopes by which calls that it counts are allowed; `openai:*` stands for any of that
	// provider's. Default: all.
	Scopes []string `yaml:"scopes"`
	// By what calls are told apart, each having the bounds for itself. Values: `agent`,
	// `token`, `provider`, `scope`. Default: all calls share them.
	Each []string `yaml:"each"`
	// The time that the bounds but `concurrent` are for, `1s` to `8784h`. Windows begin at
	// its multiples, in UTC. Default: required with those.
	Window time.Duration `yaml:"window"`
	// Calls in a window. Default: unbounded.
	Requests int64 `yaml:"requests"`
	// Bytes of bodies, both ways, in a window. Default: unbounded.
	Bytes int64 `yaml:"bytes"`
	// Model tokens in a window, as the providers' answers count them. Default: unbounded.
	ModelTokens int64 `yaml:"modelTokens"`
	// Calls under way at once, at all keepers that share the store. Default: unbounded.
	Concurrent int64 `yaml:"concurrent"`
}

// quotas are the configuration's, checked.
func (c Config) quotas() ([]quota.Quota, error) {
	var all []quota.Quota
	for _, q := range c.Quotas {
		all = append(all, quota.Quota(q))
	}
	return all, quota.Check(all)
}

func newQuotas(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "quotas",
		Short:   "Show how much is used of the quotas",
		Long:    "Show how much is used of the quotas of the configuration, by whom, and when there is\nmore. They are set under quotas in the configuration; `keeper reload` takes a change over.",
		Example: "  keeper quotas\n  keeper quotas --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var list struct {
				Quotas []struct {
					Quota, Share, Of string
					Used, Max        int64
					Until            time.Time
				} `json:"quotas"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/quotas", nil, &list)
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				var rows [][]any
				for _, q := range list.Quotas {
					rows = append(rows, []any{q.Quota, firstOf(strings.ReplaceAll(q.Share, "=", " "), "all"), q.Of, q.Used, q.Max, percent(q.Used, q.Max), q.Until})
				}
				return a.table([]column{
					{name: "QUOTA", whole: true}, {name: "OF", whole: true}, {name: "BOUND"}, {name: "USED", right: true}, {name: "MAX", right: true},
					{name: "SHARE", right: true}, {name: "UNTIL"},
				}, rows)
			})
		},
	}
}

func percent(used, most int64) string {
	return fmt.Sprintf("%d%%", int64(float64(used)/float64(max(1, most))*100))
}
