package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	helperTTL     = time.Hour
	maxGitRequest = 64 << 10
	gitUser       = "x-access-token"
)

// helperFlags are what a credential helper acts as.
type helperFlags struct {
	agent  string
	scopes []string
	ttl    time.Duration
}

func newCredentialHelper(a *app) *cobra.Command {
	var f helperFlags
	cmd := group("credential-helper", "Hand a tool a short token of an agent, as keeper setup writes it into the tool's files",
		"  keeper credential-helper print --agent coder\n  git config --global credential.http://127.0.0.1:8700.helper '!keeper credential-helper git --agent coder'",
		newHelperPrint(a, &f), newHelperAWS(a, &f), newHelperGit(a, &f))
	cmd.Long = `Hand a tool a short token of an agent. The agent proves itself by its secret, which
keeper setup stored in ~/.config/keeper/agents/AGENT.secret; no other credential of the
environment counts. A token is used again, from a file of this user's alone in
~/.cache/keeper, until a quarter of its time is left or keeper no longer takes it.`
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.agent, "agent", "", "`AGENT` that the tool acts as")
	flags.StringSliceVar(&f.scopes, "scopes", nil, "`SCOPES` of the token, separated by commas (default all that the agent is granted)")
	flags.DurationVar(&f.ttl, "ttl", helperTTL, "how long a token is good for")
	return cmd
}

func newHelperPrint(a *app, f *helperFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "print",
		Short:   "Print the token",
		Example: "  keeper credential-helper print --agent coder",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := a.shortToken(cmd.Context(), *f)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, token.Token)
			return err
		},
	}
}

// newHelperAWS answers as credential_process wants it:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html.
func newHelperAWS(a *app, f *helperFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "aws",
		Short:   "Print the token as the session token of an AWS key that is none",
		Example: "  keeper credential-helper aws --agent coder",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := a.shortToken(cmd.Context(), *f)
			if err != nil {
				return err
			}
			return printJSON(a.out, map[string]any{
				"Version": 1, "AccessKeyId": "keeper", "SecretAccessKey": "keeper",
				"SessionToken": token.Token, "Expiration": token.ExpiresAt.UTC().Format(time.RFC3339),
			})
		},
	}
}

// newHelperGit speaks to git: https://git-scm.com/docs/git-credential#IOFMT.
func newHelperGit(a *app, f *helperFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "git OPERATION",
		Short:   "Give git the token as the password for keeper's URL, and for no other",
		Example: "  printf 'protocol=http\\nhost=127.0.0.1:8700\\n' | keeper credential-helper git get --agent coder",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			base, err := a.url()
			if err != nil {
				return err
			}
			asked, err := readGitRequest(a.in)
			if err != nil {
				return err
			}
			if asked["protocol"] != base.Scheme || !strings.EqualFold(asked["host"], base.Host) {
				return nil // another's password is asked for
			}
			switch args[0] {
			case "get":
				token, err := a.shortToken(cmd.Context(), *f)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "username=%s\npassword=%s\npassword_expiry_utc=%d\n", gitUser, token.Token, token.ExpiresAt.Unix())
				return err
			case "erase":
				return a.forgetToken(base, *f)
			}
			return nil // store, and what git may ask one day, is not keeper's to do
		},
	}
}

func readGitRequest(in io.Reader) (map[string]string, error) {
	asked := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(in, maxGitRequest))
	for lines.Scan() && lines.Text() != "" {
		name, value, _ := strings.Cut(lines.Text(), "=")
		asked[name] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading what git asks for: %w", err)
	}
	return asked, nil
}

// shortToken returns a token of the agent that keeper takes now, the one in the
// cache while a good part of its time is left.
func (a *app) shortToken(ctx context.Context, f helperFlags) (issued, error) {
	if f.agent == "" {
		return issued{}, usagef("--agent is missing: the agent that the tool acts as")
	}
	c, err := a.connectBare()
	if err != nil {
		return issued{}, err
	}
	secret, err := a.agentSecret(f.agent)
	if errors.Is(err, fs.ErrNotExist) {
		return issued{}, &failure{code: exitUnauthenticated, message: fmt.Sprintf("there is no secret of agent %s here; `keeper setup` stores it", f.agent)}
	}
	if err != nil {
		return issued{}, err
	}
	file := a.tokenFile(c.base, f)
	if cached, ok := readCached(file, f.ttl/4); ok {
		if good, err := c.takes(ctx, cached.Token); err != nil || good {
			return cached, err
		}
	}
	token, _, err := c.issueBy(ctx, f.agent, secret, f.scopes, f.ttl)
	if err != nil {
		return issued{}, err
	}
	a.cacheToken(file, token)
	return token, nil
}

// cacheToken keeps a token for the helper's next call, where there is a file for
// it. Where that fails the token is good all the same.
func (a *app) cacheToken(file string, token issued) {
	if file == "" {
		return
	}
	text, err := json.Marshal(token)
	if err == nil {
		err = writePrivate(file, text)
	}
	if err != nil {
		fmt.Fprintf(a.err, "keeper: the token is not cached: %s\n", printable(err.Error()))
	}
}

// tokenFile is where a token that such a helper got is kept; "" where there is
// no place.
func (a *app) tokenFile(base *url.URL, f helperFlags) string {
	folder := a.cacheFolder()
	if folder == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{base.String(), f.agent, strings.Join(f.scopes, ","), f.ttl.String()}, "\x00")))
	return filepath.Join(folder, "tokens", hex.EncodeToString(sum[:])+".json")
}

// readCached returns a token of which more than rest is left.
func readCached(file string, rest time.Duration) (issued, bool) {
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		return issued{}, false
	}
	text, err := readFile(file, maxTokenBytes)
	var token issued
	if err != nil || json.Unmarshal(text, &token) != nil || token.Token == "" {
		return issued{}, false
	}
	return token, time.Until(token.ExpiresAt) > rest
}

// takes reports whether keeper takes the token now.
func (c *client) takes(ctx context.Context, token string) (bool, error) {
	_, err := c.call(ctx, http.MethodPost, "/auth/validate", map[string]string{"token": token}, nil)
	var f *failure
	if errors.As(err, &f) && f.code == exitUnauthenticated {
		return false, nil
	}
	return err == nil, err
}

func (a *app) forgetToken(base *url.URL, f helperFlags) error {
	err := os.Remove(a.tokenFile(base, f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting a token: %w", err)
	}
	return nil
}
