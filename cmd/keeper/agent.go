package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// agentInfo is an agent as keeper's routes show it.
type agentInfo struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	GitHubUser string    `json:"githubUser"`
	Status     string    `json:"status"`
	Scopes     []string  `json:"scopes"`
	CreatedAt  time.Time `json:"createdAt"`
	LastSeenAt time.Time `json:"lastSeenAt"`
}

func newAgent(a *app) *cobra.Command {
	return group("agent", "Manage agents and what they may do",
		"  keeper agent add researcher --scopes openai:chat,github:read\n  keeper agent ls",
		newAgentList(a), newAgentAdd(a), newAgentShow(a),
		newAgentApprove(a), newAgentStatus(a, "activate", "active", "Let a revoked or disabled agent have new tokens", "is active"),
		newAgentStatus(a, "disable", "disabled", "Pause an agent; its tokens work again once it is active", "is disabled"),
		newAgentRevoke(a), newAgentGrant(a), newAgentRotateSecret(a), newAgentRemove(a))
}

func newAgentList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the agents",
		Example: "  keeper agent ls\n  keeper agent ls --json | jq '.agents[].id'",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Agents []agentInfo `json:"agents"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/agents", nil, &answer)
			if err != nil {
				return err
			}
			return a.show(raw, func() error { return a.agentTable(answer.Agents) })
		},
	}
}

func (a *app) agentTable(agents []agentInfo) error {
	rows := make([][]any, len(agents))
	for i, one := range agents {
		rows[i] = []any{one.ID, one.Name, one.Status, strings.Join(one.Scopes, " "), one.LastSeenAt, one.GitHubUser, one.CreatedAt}
	}
	return a.table([]column{
		{name: "AGENT", whole: true}, {name: "NAME"}, {name: "STATUS", colours: statusColours}, {name: "SCOPES"}, {name: "LAST SEEN"},
		{name: "GITHUB USER", wide: true}, {name: "CREATED", wide: true},
	}, rows)
}

func newAgentAdd(a *app) *cobra.Command {
	var name, gitHubUser string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "add AGENT",
		Short: "Register an agent and print its secret, which is shown this once",
		Long: `Register an agent and print its secret, which is shown this once. The agent gets
tokens with it; an agent started by keeper run needs none.`,
		Example: "  keeper agent add researcher --scopes openai:chat,github:read\n  keeper agent add ci --name 'Build robot' --scopes 'github:*'",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			in := map[string]any{"agentId": args[0], "agentName": firstOf(name, args[0]), "scopes": orEmpty(scopes)}
			if gitHubUser != "" {
				in["githubUser"] = gitHubUser
			}
			var answer struct {
				Agent  agentInfo `json:"agent"`
				Secret string    `json:"agentSecret"`
			}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/auth/register", in, &answer)
			if err != nil {
				return taken(err, args[0])
			}
			return a.show(raw, func() error {
				_, err := fmt.Fprintf(a.out, "agent %s is %s with the scopes %s\nsecret (shown this once): %s\n",
					printable(answer.Agent.ID), printable(answer.Agent.Status), listed(answer.Agent.Scopes), answer.Secret)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` for people (default the agent's id)")
	cmd.Flags().StringVar(&gitHubUser, "github-user", "", "GitHub `ACCOUNT` that the agent acts for")
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "`SCOPES` to grant, separated by commas (default none)")
	return cmd
}

// taken names the agent, and the mend, where err is keeper's answer that there
// is one of that id already.
func taken(err error, id string) error {
	var body struct {
		Code string `json:"code"`
	}
	f := new(failure)
	if errors.As(err, &f) && json.Unmarshal(f.answer, &body) == nil && body.Code == "already_exists" {
		return &failure{code: exitError, message: fmt.Sprintf("there is an agent %q already; `keeper agent grant %s SCOPE` gives it more scopes", id, id)}
	}
	return err
}

func newAgentShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show AGENT",
		Short:   "Show one agent",
		Example: "  keeper agent show researcher",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			one, err := c.agent(cmd.Context(), args[0])
			if err != nil {
				return noAgent(err, args[0])
			}
			return a.show(one.raw, func() error {
				return a.fields([][]any{
					{"agent", one.ID}, {"name", one.Name}, {"github user", one.GitHubUser}, {"status", one.Status},
					{"scopes", strings.Join(one.Scopes, " ")}, {"created", one.CreatedAt}, {"last seen", one.LastSeenAt},
				})
			})
		},
	}
}

func newAgentApprove(a *app) *cobra.Command {
	var scopes []string
	cmd := &cobra.Command{
		Use:     "approve AGENT",
		Short:   "Admit an agent that asked for registration",
		Example: "  keeper agent approve researcher --scopes openai:chat",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := map[string]any{"status": "active"}
			if cmd.Flags().Changed("scopes") {
				change["scopes"] = orEmpty(scopes)
			}
			return a.changeAgent(cmd, args[0], change, "is active")
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "`SCOPES` to grant, separated by commas (default as they are, which is none)")
	return cmd
}

// newAgentStatus returns a command that sets an agent's status.
func newAgentStatus(a *app, verb, status, short, done string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " AGENT",
		Short:   short,
		Example: "  keeper agent " + verb + " researcher",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeAgent(cmd, args[0], map[string]any{"status": status}, done)
		},
	}
}

func newAgentRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke AGENT",
		Short:   "End every token of an agent, at once, and refuse new ones",
		Example: "  keeper agent revoke researcher",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/auth/revoke", map[string]string{"agentId": args[0]}, nil)
			if err != nil {
				return noAgent(err, args[0])
			}
			return a.say(raw, "agent %s is revoked, and every token that it had", args[0])
		},
	}
}

func newAgentGrant(a *app) *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use:   "grant AGENT SCOPE...",
		Short: "Add scopes to an agent's grant, or replace it",
		Long: `Add scopes to an agent's grant. With --only the grant becomes exactly the given
scopes; a grant that is narrowed narrows the tokens that the agent has, at once.`,
		Example: "  keeper agent grant researcher github:read\n  keeper agent grant --only researcher openai:chat",
		Args:    arguments(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			scopes := args[1:]
			if !only {
				c, err := a.connect()
				if err != nil {
					return err
				}
				one, err := c.agent(cmd.Context(), args[0])
				if err != nil {
					return noAgent(err, args[0])
				}
				scopes = slices.Concat(one.Scopes, scopes)
			}
			return a.changeAgent(cmd, args[0], map[string]any{"scopes": scopes}, "has a new grant")
		},
	}
	cmd.Flags().BoolVar(&only, "only", false, "take away every scope that is not given")
	return cmd
}

func newAgentRotateSecret(a *app) *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "rotate-secret AGENT",
		Short: "Give an agent another secret, and print it this once",
		Long: `Give an agent another secret, and print it this once. The last one is good for
--grace more, so that the agent can be given the new one meanwhile; with --grace 0
it is good no more, as after a theft. Tokens that the agent has stay: keeper agent
revoke ends them. An agent that an issuer's rule made has no secret, and is not
taken by that rule any more once it has one.`,
		Example: "  keeper agent rotate-secret researcher\n  keeper agent rotate-secret researcher --grace 0\n" +
			"  keeper agent rotate-secret researcher --json | keeper setup codex --agent researcher",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if grace < 0 || grace%time.Second != 0 {
				return usagef("--grace: want a time of whole seconds, such as 10m, or 0")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Agent   agentInfo `json:"agent"`
				Secret  string    `json:"agentSecret"`
				Message string    `json:"message"`
			}
			in := map[string]int{"graceSeconds": int(grace.Seconds())}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/agents/"+url.PathEscape(args[0])+"/secret", in, &answer)
			if err != nil {
				return noAgent(err, args[0])
			}
			return a.show(raw, func() error {
				fmt.Fprintln(a.err, printable(answer.Message))
				_, err := fmt.Fprintf(a.out, "secret of %s (shown this once): %s\n", printable(answer.Agent.ID), answer.Secret)
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 10*time.Minute, "for how long the last secret is good beside the new one")
	return cmd
}

func newAgentRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm AGENT",
		Aliases: []string{"delete", "remove"},
		Short:   "Delete an agent and end every token of it",
		Example: "  keeper agent rm researcher",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.call(cmd.Context(), http.MethodDelete, "/agents/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return noAgent(err, args[0])
			}
			return a.say(raw, "agent %s is deleted", args[0])
		},
	}
}

// shownAgent is an agent, and the answer that it came in.
type shownAgent struct {
	agentInfo
	raw any
}

func (c *client) agent(ctx context.Context, id string) (shownAgent, error) {
	var answer struct {
		Agent agentInfo `json:"agent"`
	}
	raw, err := c.call(ctx, http.MethodGet, "/agents/"+url.PathEscape(id), nil, &answer)
	return shownAgent{answer.Agent, raw}, err
}

func (a *app) changeAgent(cmd *cobra.Command, id string, change map[string]any, done string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var answer struct {
		Agent agentInfo `json:"agent"`
	}
	raw, err := c.call(cmd.Context(), http.MethodPatch, "/agents/"+url.PathEscape(id), change, &answer)
	if err != nil {
		return noAgent(err, id)
	}
	return a.say(raw, "agent %s %s; scopes: %s", id, done, listed(answer.Agent.Scopes))
}

func listed(scopes []string) string {
	return firstOf(printable(strings.Join(scopes, " ")), "none")
}

// orEmpty makes an absent list an empty one, so that JSON shows [] and not null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
