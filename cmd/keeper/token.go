package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// issued is the answer to a request for a token.
type issued struct {
	Token     string    `json:"token"`
	AgentID   string    `json:"agentId"`
	Scopes    []string  `json:"scopes"`
	ExpiresAt time.Time `json:"expiresAt"`
	JTI       string    `json:"jti"`
}

func newToken(a *app) *cobra.Command {
	return group("token", "Issue, exchange, list, check and revoke agents' tokens",
		"  keeper token issue researcher --ttl 1h\n  keeper token revoke 4d7c…",
		newTokenIssue(a), newTokenExchange(a), newTokenList(a), newTokenRevoke(a), newTokenValidate(a))
}

func newTokenIssue(a *app) *cobra.Command {
	var scopes []string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:     "issue AGENT",
		Short:   "Issue a token for an agent and print it",
		Example: "  keeper token issue researcher --ttl 1h\n  TOKEN=$(keeper token issue researcher --scopes openai:chat)",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			answer, raw, err := c.issue(cmd.Context(), args[0], scopes, ttl)
			if err != nil {
				return noAgent(err, args[0])
			}
			return a.show(raw, func() error {
				fmt.Fprintf(a.err, "agent %s, scopes %s, expires %s\n", printable(answer.AgentID), listed(answer.Scopes), when(answer.ExpiresAt))
				_, err := fmt.Fprintln(a.out, answer.Token)
				return err
			})
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "`SCOPES` of the token, separated by commas (default all that the agent is granted)")
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long it is good for, at most 720h")
	return cmd
}

// issue issues a token for an agent, as the operator; where there is no token of
// his that counts, as the agent whose secret this user has. It is safe for
// concurrent use.
func (c *client) issue(ctx context.Context, agent string, scopes []string, ttl time.Duration) (issued, any, error) {
	var refused error
	if c.token != "" && c.own.Load() == nil {
		answer, raw, err := c.issueBy(ctx, agent, "", scopes, ttl)
		var f *failure
		if !errors.As(err, &f) || f.code != exitUnauthenticated && f.code != exitRefused {
			return answer, raw, err
		}
		refused = err
	}
	secret := ""
	if c.agentSecret != nil && agentID.MatchString(agent) {
		var err error
		if secret, err = c.agentSecret(agent); err != nil {
			return issued{}, nil, err
		}
	}
	if secret == "" && refused != nil {
		return issued{}, nil, refused
	}
	stranger := &client{base: c.base, http: c.http} // the secret alone is to count
	answer, raw, err := stranger.issueBy(ctx, agent, secret, scopes, ttl)
	var f *failure
	if err == nil {
		c.own.Store(&answer)
	} else if secret == "" && errors.As(err, &f) && f.code == exitUnauthenticated {
		f.message = fmt.Sprintf("nothing here proves who asks for a token of agent %s: there is no admin token in the data folder and no secret of the agent's; "+
			"run it where `keeper dev` runs, name keeper's data folder with --data, or set KEEPER_TOKEN or KEEPER_ADMIN_TOKEN", agent)
	}
	return answer, raw, err
}

// issueBy issues a token for an agent that proves itself by its secret, or, with
// none, on the client's own authority.
func (c *client) issueBy(ctx context.Context, agent, secret string, scopes []string, ttl time.Duration) (issued, any, error) {
	if ttl <= 0 {
		return issued{}, nil, usagef("--ttl must be above zero, such as 1h or 30m")
	}
	in := map[string]any{"agentId": agent, "ttlHours": ttl.Hours()}
	if secret != "" {
		in["agentSecret"] = secret
	}
	if scopes != nil {
		in["scopes"] = scopes
	}
	var answer issued
	raw, err := c.call(ctx, http.MethodPost, "/auth/token", in, &answer)
	return answer, raw, err
}

// tokenInfo is a token as keeper's routes show it, without the token itself.
type tokenInfo struct {
	JTI       string    `json:"jti"`
	AgentID   string    `json:"agentId"`
	Scopes    []string  `json:"scopes"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func newTokenList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls AGENT",
		Aliases: []string{"list"},
		Short:   "List an agent's tokens that are in force",
		Example: "  keeper token ls researcher",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Tokens []tokenInfo `json:"tokens"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/tokens?agentId="+url.QueryEscape(args[0]), nil, &answer)
			if err != nil {
				return noAgent(err, args[0])
			}
			return a.show(raw, func() error {
				rows := make([][]any, len(answer.Tokens))
				for i, t := range answer.Tokens {
					rows[i] = []any{t.JTI, strings.Join(t.Scopes, " "), t.IssuedAt, t.ExpiresAt, t.AgentID}
				}
				return a.table([]column{{name: "JTI", whole: true}, {name: "SCOPES"}, {name: "ISSUED"}, {name: "EXPIRES"}, {name: "AGENT", wide: true}}, rows)
			})
		},
	}
}

func newTokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke JTI|-",
		Short: "End a token, at once",
		Long: `End a token, at once. It is named by its id (the jti of keeper token ls), or read
whole from standard input: a token on the command line could be read by others.`,
		Example: "  keeper token revoke 4d7c…\n  keeper token revoke - < leaked.token",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]string{"jti": args[0]}
			if args[0] == "-" {
				token, err := a.readTokenInput()
				if err != nil {
					return err
				}
				in = map[string]string{"token": token}
			} else if strings.Count(args[0], ".") == 2 {
				return usagef("that is a token; give its jti, or pipe the token in: `keeper token revoke -`")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/auth/revoke", in, nil)
			if err != nil {
				return missing(err, "no token has that jti; `keeper token ls AGENT` lists those of an agent")
			}
			return a.say(raw, "the token is revoked")
		},
	}
}

func (a *app) readTokenInput() (string, error) {
	text, err := readAtMost(a.in, maxTokenBytes)
	if err != nil {
		return "", fmt.Errorf("reading a token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", usagef("no token was given; pipe it in")
	}
	return token, nil
}

func newTokenValidate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "validate",
		Short:   "Check the token on standard input; exit code 4 if it is not valid",
		Example: "  keeper token validate < agent.token",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := a.readTokenInput()
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			c.token, c.from = "", "" // the route asks for none
			var answer struct {
				AgentID   string    `json:"agentId"`
				Name      string    `json:"name"`
				Scopes    []string  `json:"scopes"`
				ExpiresAt time.Time `json:"expiresAt"`
			}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/auth/validate", map[string]string{"token": token}, &answer)
			if refused := new(failure); errors.As(err, &refused) && refused.code == exitUnauthenticated {
				return a.showInvalid(refused.answer)
			}
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				return a.fields([][]any{
					{"valid", "yes"}, {"agent", answer.AgentID}, {"name", answer.Name},
					{"scopes", strings.Join(answer.Scopes, " ")}, {"expires", answer.ExpiresAt},
				})
			})
		},
	}
}

// showInvalid says why a token is not valid.
func (a *app) showInvalid(answer json.RawMessage) error {
	if a.asJSON {
		if err := printJSON(a.out, answer); err != nil {
			return err
		}
		return silent(exitUnauthenticated)
	}
	var body struct {
		Reason string `json:"reason"`
	}
	json.Unmarshal(answer, &body) // it was read as JSON before
	return &failure{code: exitUnauthenticated, message: "the token is not valid: " + strings.TrimRight(body.Reason, ".")}
}
