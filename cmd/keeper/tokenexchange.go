package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/netguard"
)

const (
	maxSubjectBytes = 16 << 10
	// kubernetesToken is where docs/oidc.md has the projected token.
	kubernetesToken = "/var/run/secrets/keeper/token"

	tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	jwtType       = "urn:ietf:params:oauth:token-type:jwt"
)

// subjectSource says where the token is from that proves who one is.
type subjectSource struct {
	file       string // "-": standard input
	github     bool
	kubernetes bool
	audience   string // of what GitHub is asked for
}

func (s *subjectSource) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "subject-token-file", "", "`FILE` of the token to exchange; - for standard input")
	cmd.Flags().BoolVar(&s.github, "github-actions", false, "exchange the token that GitHub gives this job")
	cmd.Flags().BoolVar(&s.kubernetes, "kubernetes", false, "exchange the projected token at "+kubernetesToken)
	cmd.Flags().StringVar(&s.audience, "audience", "keeper", "`AUDIENCE` that keeper's configuration names, of a token that GitHub gives")
}

// check refuses none and several.
func (s subjectSource) check() error {
	given := 0
	for _, one := range []bool{s.file != "", s.github, s.kubernetes} {
		if one {
			given++
		}
	}
	if given != 1 {
		return usagef("give one of --subject-token-file, --github-actions and --kubernetes: where the token is from that proves who you are")
	}
	return nil
}

func newTokenExchange(a *app) *cobra.Command {
	var source subjectSource
	var scopes []string
	cmd := &cobra.Command{
		Use:   "exchange",
		Short: "Exchange a token of an issuer that keeper trusts for one of keeper's",
		Long: `Exchange a token of an issuer that keeper trusts (GitHub Actions, GitLab, Kubernetes
and others) for one of keeper's, and print that. No secret of keeper's is needed; the
operator says who may come in under trust. How to set it up: docs/oidc.md.`,
		Example: "  KEEPER_TOKEN=$(keeper token exchange --github-actions)\n  keeper token exchange --kubernetes --scopes openai:chat\n  keeper token exchange --subject-token-file - < job.jwt",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := source.check(); err != nil {
				return err
			}
			if cmd.Flags().Changed("scopes") && len(scopes) == 0 {
				return usagef("--scopes is empty; leave it out for all that you may have")
			}
			subject, err := a.subjectToken(cmd.Context(), source)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			answer, raw, err := c.exchange(cmd.Context(), subject, scopes)
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				fmt.Fprintf(a.err, "agent %s, scopes %s, expires %s\n", printable(answer.AgentID), listed(answer.Scopes), when(answer.ExpiresAt))
				_, err := fmt.Fprintln(a.out, answer.Token)
				return err
			})
		},
	}
	source.flags(cmd)
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "`SCOPES` of the token, separated by commas (default all that the rule and the agent's grant cover)")
	return cmd
}

// exchange asks for a token on the word of the subject token's issuer (RFC 8693). No
// other token is sent along.
func (c *client) exchange(ctx context.Context, subject string, scopes []string) (issued, json.RawMessage, error) {
	form := url.Values{"grant_type": {tokenExchange}, "subject_token": {subject}, "subject_token_type": {jwtType}}
	if scopes != nil {
		form.Set("scope", strings.Join(scopes, " "))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+"/api/v1/auth/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return issued{}, nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope"`
		AgentID     string `json:"agentId"`
	}
	raw, err := c.answer(req, &answer)
	if err != nil {
		return issued{}, nil, notExchanged(err)
	}
	return issued{
		Token: answer.AccessToken, AgentID: answer.AgentID, Scopes: strings.Fields(answer.Scope),
		ExpiresAt: time.Now().Add(time.Duration(answer.ExpiresIn) * time.Second),
	}, raw, nil
}

// exchangeCodes are the exit codes of what keeper answers in OAuth's shape, all by 400.
var exchangeCodes = map[string]int{
	"subject_token_invalid": exitUnauthenticated, "subject_token_expired": exitUnauthenticated, "subject_token_used": exitUnauthenticated,
	"exchange_denied": exitRefused, "scope_denied": exitRefused,
	"agent_pending": exitRefused, "agent_disabled": exitRefused, "agent_revoked": exitRefused,
}

// notExchanged takes the sentence from where OAuth has it.
func notExchanged(err error) error {
	var f *failure
	if !errors.As(err, &f) || f.answer == nil {
		return err
	}
	var body struct {
		Description string `json:"error_description"`
		Code        string `json:"code"`
	}
	json.Unmarshal(f.answer, &body) // another shape leaves the fields empty
	if body.Description == "" {
		return err
	}
	code, listed := exchangeCodes[body.Code]
	if !listed {
		code = f.code
	}
	return &failure{code: code, message: strings.TrimRight(body.Description, ".") + nextSteps[body.Code], answer: f.answer}
}

// subjectToken returns the token that proves who one is, from the source.
func (a *app) subjectToken(ctx context.Context, s subjectSource) (token string, err error) {
	switch {
	case s.github:
		return a.githubToken(ctx, s.audience)
	case s.kubernetes:
		token, err = readSubject(kubernetesToken)
		if err != nil {
			err = fmt.Errorf("%w; mount a projected service account token there, as docs/oidc.md has it, or name its file with --subject-token-file", err)
		}
		return token, err
	case s.file == "-":
		text, err := readAtMost(a.in, maxSubjectBytes)
		if err != nil {
			return "", fmt.Errorf("reading the token to exchange: %w", err)
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return "", usagef("no token to exchange was given; pipe it in")
		}
		return token, nil
	}
	return readSubject(s.file)
}

func readSubject(file string) (string, error) {
	text, err := readFile(file, maxSubjectBytes)
	if err != nil {
		return "", fmt.Errorf("reading the token to exchange: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("reading the token to exchange: %s is empty", file)
	}
	return token, nil
}

// githubToken asks GitHub for this job's token
// (https://docs.github.com/actions/reference/security/oidc).
func (a *app) githubToken(ctx context.Context, audience string) (string, error) {
	at, bearer := a.env["ACTIONS_ID_TOKEN_REQUEST_URL"], a.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
	if at == "" || bearer == "" {
		return "", errors.New("GitHub offers this job no token; it needs `permissions: id-token: write`, which jobs of forks' pull requests cannot have")
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && netguard.IsLoopbackURL(u)) {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no address that begins with https://")
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no address that begins with https://")
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	client := &http.Client{Timeout: clientTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the address
		}
		return "", &failure{code: exitUnavailable, message: fmt.Sprintf("asking GitHub for this job's token: %v", err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 2*maxSubjectBytes))
	var answer struct {
		Value string `json:"value"`
	}
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(text, &answer) != nil || answer.Value == "" {
		return "", &failure{code: exitUnavailable, message: fmt.Sprintf("asking GitHub for this job's token: it answered %s, without one", resp.Status)}
	}
	return answer.Value, nil
}
