package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// allSessions is what is said in the place of an id.
const allSessions = "all"

// sessionInfo is a living session as keeper's routes show it.
type sessionInfo struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	By         string    `json:"by"`
	Scopes     []string  `json:"scopes"`
	How        string    `json:"how"`
	Source     string    `json:"source"`
	StartedAt  time.Time `json:"startedAt"`
	LastUsedAt time.Time `json:"lastUsedAt"`
	ExpiresAt  time.Time `json:"expiresAt"`
}

func newSession(a *app) *cobra.Command {
	return group("session", "List and end the sessions of browsers that are signed in to the dashboard",
		"  keeper session ls\n  keeper session end all", newSessionList(a), newSessionEnd(a))
}

func newSessionList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List who is signed in to the dashboard, last used first",
		Example: "  keeper session ls",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Sessions []sessionInfo `json:"sessions"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/auth/sessions", nil, &answer)
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				rows := make([][]any, len(answer.Sessions))
				for i, s := range answer.Sessions {
					rows[i] = []any{s.ID, s.Name, s.StartedAt, s.LastUsedAt, s.Source, s.ExpiresAt, s.How, s.By, strings.Join(s.Scopes, " ")}
				}
				return a.table([]column{
					{name: "SESSION", whole: true}, {name: "WHO"}, {name: "SINCE"}, {name: "LAST USED"}, {name: "ADDRESS"},
					{name: "ENDS", wide: true}, {name: "BY", wide: true}, {name: "AS", wide: true}, {name: "SCOPES", wide: true},
				}, rows)
			})
		},
	}
}

func newSessionEnd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "end SESSION|all",
		Short: "Sign a browser out of the dashboard, at once, or all of them",
		Long: `Sign a browser out of the dashboard, at once, or all of them. Streams that it reads
end, too. Whoever was signed in can do so again: to keep an agent out, revoke its
token, and to keep a person out, take the group away at the issuer.`,
		Example: "  keeper session end K3M9QZ7TB2XA\n  keeper session end all",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if args[0] == allSessions {
				var answer struct {
					Ended int `json:"ended"`
				}
				raw, err := c.call(cmd.Context(), http.MethodDelete, "/auth/sessions", nil, &answer)
				if err != nil {
					return err
				}
				return a.say(raw, "%s ended", plural(answer.Ended, "session"))
			}
			raw, err := c.call(cmd.Context(), http.MethodDelete, "/auth/sessions/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return missing(err, "no session that lives has that id; `keeper session ls` lists them")
			}
			return a.say(raw, "the session has ended")
		},
	}
}

func sessionNames(ctx context.Context, a *app) []string {
	var answer struct {
		Sessions []sessionInfo `json:"sessions"`
	}
	a.askQuietly(ctx, "/auth/sessions", &answer)
	all := []string{allSessions}
	for _, s := range answer.Sessions {
		all = append(all, withNote(s.ID, s.Name))
	}
	return all
}
