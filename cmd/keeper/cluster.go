package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// clusterInfo is the keepers on one store as keeper's routes show them.
type clusterInfo struct {
	Self             string  `json:"self"`
	Shared           bool    `json:"shared"`
	Pooled           bool    `json:"pooled"`
	StalenessSeconds float64 `json:"stalenessSeconds"`
	PolledSecondsAgo float64 `json:"polledSecondsAgo"`
	Keepers          []struct {
		ID        string    `json:"id"`
		Name      string    `json:"name"`
		Address   string    `json:"address"`
		Version   string    `json:"version"`
		State     string    `json:"state"`
		StartedAt time.Time `json:"startedAt"`
		SeenAt    time.Time `json:"seenAt"`
		Waiting   int64     `json:"waiting"`
		Behind    int64     `json:"behind"`
		Leads     bool      `json:"leads"`
	} `json:"keepers"`
}

var clusterColours = map[string]string{"serving": green, "draining": yellow, "stopped": dim, "lost": red}

func newCluster(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show the keepers that share the database, and how it stands with each",
		Long: `Show the keepers that share the database, and how it stands with each: what it does,
how many entries of the audit log are in its folder alone, and how many changes of what
keepers decide by it has not taken over yet. One keeper leads: it feeds sinks and
archives for all. A keeper in a data folder of its own, by SQLite, is alone.`,
		Example: "  keeper cluster\n  keeper cluster --json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return helpOrUnknown(cmd, args)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			var all clusterInfo
			raw, err := c.call(cmd.Context(), http.MethodGet, "/cluster", nil, &all)
			if err != nil {
				return err
			}
			return a.show(raw, func() error { return a.showCluster(all) })
		},
	}
	cmd.AddCommand(newClusterForget(a))
	return cmd
}

func (a *app) showCluster(all clusterInfo) error {
	var rows [][]any
	for _, k := range all.Keepers {
		role := ""
		switch {
		case k.ID == all.Self && k.Leads:
			role = "answers, leads"
		case k.ID == all.Self:
			role = "answers"
		case k.Leads:
			role = "leads"
		}
		rows = append(rows, []any{k.ID, k.State, role, k.Name, k.Address, k.Version, k.StartedAt, k.SeenAt, k.Waiting, k.Behind})
	}
	err := a.table([]column{
		{name: "ID", whole: true}, {name: "STATE", colours: clusterColours}, {name: "ROLE"}, {name: "NAME"}, {name: "ADDRESS"}, {name: "VERSION"},
		{name: "SINCE", wide: true}, {name: "SEEN"}, {name: "NOT SHIPPED", right: true}, {name: "BEHIND", right: true},
	}, rows)
	if err != nil || !all.Shared {
		return err
	}
	between := ""
	if all.Pooled {
		between = " A pooler is between it and the database: changes are found by polling alone."
	}
	_, err = fmt.Fprintf(a.out, "\nThe keeper that answers looked at the database %.1f s ago; after %g s without it refuses all calls.%s\n", all.PolledSecondsAgo, all.StalenessSeconds, between)
	return err
}

func newClusterForget(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "forget KEEPER",
		Short: "Forget a keeper that is gone for good, with its folder",
		Long: `Forget a keeper that is gone for good, with its folder. Entries of the audit log that
were in its folder alone are not in the log: how many those were when it was last seen
is said, and recorded. While the folder is there, start that keeper again in place of
this: it ships them. A keeper that lives is not forgotten.`,
		Example: "  keeper cluster forget 5f0c3a9e71b24d68a0c4e7f2d1b3a596",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Message string `json:"message"`
			}
			raw, err := c.call(cmd.Context(), http.MethodDelete, "/cluster/"+url.PathEscape(args[0]), nil, &answer)
			if err != nil {
				return missing(err, "no keeper on the database has that id; `keeper cluster` lists them")
			}
			return a.say(raw, "%s", answer.Message)
		},
	}
}

func keeperNames(ctx context.Context, a *app) (all []string) {
	var answer clusterInfo
	a.askQuietly(ctx, "/cluster", &answer)
	for _, k := range answer.Keepers {
		all = append(all, withNote(k.ID, k.Name))
	}
	return all
}
