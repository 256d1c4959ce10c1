package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/server"
)

const (
	devAgent     = "dev"
	devTokenFile = "dev.token"
	devTokenTTL  = 24 * time.Hour
)

func newDev(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a keeper for development, with nothing to configure",
		Long: `Run a keeper for development, with nothing to configure: on loopback, with open
registration, its data in ./.keeper. Secrets come from KEEPER_SECRET_<PROVIDER>_<NAME>
or keeper secret set. There is an agent "dev", whose grant at each start gains
<provider>:* for each provider that has a secret. Ctrl-C stops it.`,
		Example: "  keeper dev\n  KEEPER_SECRET_OPENAI_API_KEY=$OPENAI_API_KEY keeper dev\n  keeper dev --addr 127.0.0.1:9000",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.dev(cmd.Context(), f) },
	}
	f.addresses(cmd)
	return cmd
}

func (a *app) dev(ctx context.Context, f serveFlags) error {
	c := Config{Registration: string(auth.RegisterOpen), Log: LogConfig{Level: "warn"}}
	c.overlay(a.env)
	f.over(&c, a.dataFlag)
	c.Data, c.Store = firstOf(c.Data, devFolder), "" // which is for keeper serve
	ctx, stop := until(ctx)
	defer stop()
	s, err := a.start(ctx, c, nil)
	if err != nil {
		return err
	}
	if err := a.introduce(ctx, s, c); err != nil && ctx.Err() == nil {
		return errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return a.wait(ctx, s)
}

// introduce makes the first agent ready and says what runs where and what to
// do next.
func (a *app) introduce(ctx context.Context, s *server.Server, c Config) error {
	if err := hideFromGit(c.Data); err != nil {
		return err
	}
	admin, err := a.adminClient(s, c)
	if err != nil {
		return err
	}
	held, err := admin.heldProviders(ctx)
	if err != nil {
		return err
	}
	held = slices.DeleteFunc(held, func(name string) bool { _, known := s.Catalogue().Provider(name); return !known })
	agent, err := admin.ensureDevAgent(ctx, held)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%s runs on %s\n", a.paint(bold, "keeper "+version()), a.paint(bold, s.URL()))
	fmt.Fprintf(a.out, "  data     %s\n", c.Data)
	fmt.Fprintf(a.out, "  secrets  %s\n", firstOf(strings.Join(held, " "), "none yet; add one with: "+ownName()+" secret set openai"+clientFlags(s.URL(), c.Data)))
	fmt.Fprintf(a.out, "  agent    %s (%s), scopes %s\n", agent.ID, agent.Status, listed(agent.Scopes))
	signIn, err := admin.link(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "  watch    %s    # once, within %s; then: %s login%s\n", signIn.URL, linkLasts, ownName(), clientFlags(s.AdminURL(), c.Data))
	fmt.Fprintf(a.out, "\n%s an agent that runs as your own user could read these files; SECURITY.md says how to prevent it.\n", a.paint(yellow, "Note:"))
	if agent.Status != "active" {
		_, err := fmt.Fprintf(a.out, "\nThe agent is %s; make it usable again with: %s agent activate %s%s\n", agent.Status, ownName(), devAgent, clientFlags(s.URL(), c.Data))
		return err
	}
	token, _, err := admin.issue(ctx, devAgent, nil, devTokenTTL)
	if err != nil {
		return err
	}
	file := filepath.Join(c.Data, devTokenFile)
	if err := os.WriteFile(file, []byte(token.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("keeping the agent's token: %w", err)
	}
	return a.nextCommands(s.URL(), c.Data, file, held)
}

// adminClient speaks to the keeper that this process runs, as its operator.
func (a *app) adminClient(s *server.Server, c Config) (*client, error) {
	token := a.env["KEEPER_ADMIN_TOKEN"]
	if token == "" {
		var err error
		if token, err = readToken(firstOf(s.AdminTokenFile(), c.AdminTokenFile)); err != nil {
			return nil, err
		}
	}
	base, err := url.Parse(s.AdminURL())
	if err != nil {
		return nil, fmt.Errorf("reading keeper's own address: %w", err)
	}
	return a.connectTo(base, token)
}

// heldProviders names the providers of which keeper holds a secret, sorted.
func (c *client) heldProviders(ctx context.Context) ([]string, error) {
	var vault struct {
		Secrets []secretInfo `json:"secrets"`
	}
	if _, err := c.call(ctx, http.MethodGet, "/vault", nil, &vault); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range vault.Secrets {
		names = append(names, s.Provider)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ensureDevAgent registers the agent, or adds to its grant what it lacks. Its
// status is left alone: who revoked it meant it.
func (c *client) ensureDevAgent(ctx context.Context, held []string) (agentInfo, error) {
	wanted := server.DefaultScopes().Strings()
	for _, provider := range held {
		wanted = append(wanted, provider+":*")
	}
	var answer struct {
		Agent agentInfo `json:"agent"`
	}
	known, err := c.agent(ctx, devAgent)
	if absent := new(failure); errors.As(err, &absent) && absent.code == exitNotFound {
		in := map[string]any{"agentId": devAgent, "agentName": "Development agent", "scopes": wanted}
		_, err := c.call(ctx, http.MethodPost, "/auth/register", in, &answer)
		return answer.Agent, err
	}
	if err != nil {
		return agentInfo{}, err
	}
	union := slices.Concat(known.Scopes, wanted)
	slices.Sort(union)
	if union = slices.Compact(union); len(union) == len(known.Scopes) {
		return known.agentInfo, nil
	}
	_, err = c.call(ctx, http.MethodPatch, "/agents/"+devAgent, map[string]any{"scopes": union}, &answer)
	return answer.Agent, err
}

// hideFromGit keeps the folder from being committed by mistake. A .gitignore
// that is there already stays as it is.
func hideFromGit(folder string) error {
	f, err := os.OpenFile(filepath.Join(folder, ".gitignore"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		_, err = f.WriteString("*\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing .gitignore: %w", err)
	}
	return nil
}

// sampleReads are calls that cost nothing and show that a provider's key works.
var sampleReads = []struct{ provider, path string }{
	{"openai", "/v1/models"}, {"anthropic", "/v1/models"}, {"gemini", "/v1beta/models"}, {"github", "/user"},
	{"mistral", "/v1/models"}, {"groq", "/openai/v1/models"}, {"openrouter", "/api/v1/models"}, {"xai", "/v1/models"},
	{"deepseek", "/models"}, {"stripe", "/v1/balance"}, {"gitlab", "/api/v4/user"},
}

func (a *app) nextCommands(base, data, tokenFile string, held []string) error {
	quoted := shellQuote(tokenFile)
	curl := fmt.Sprintf(`curl -s %s/api/v1/auth/validate -d "{\"token\":\"$(cat %s)\"}"`, base, quoted)
	for _, sample := range sampleReads {
		if slices.Contains(held, sample.provider) {
			curl = fmt.Sprintf(`curl -s %s/api/v1/proxy/%s%s -H "Authorization: Bearer $(cat %s)"`, base, sample.provider, sample.path, quoted)
			break
		}
	}
	_, err := fmt.Fprintf(a.out, "\nNext:\n  %s\n  %s run%s -- \"$SHELL\"    # a shell whose SDKs and git go through keeper\n  kill %d    # or Ctrl-C here, to stop\n\n", curl, ownName(), clientFlags(base, data), os.Getpid())
	return err
}

// clientFlags are what a client must be told to find this keeper; nothing where
// it finds it anyway.
func clientFlags(base, data string) (flags string) {
	if base != defaultURL {
		flags += " --url " + base
	}
	if data != devFolder {
		flags += " --data " + shellQuote(data)
	}
	return flags
}

// ownName is what a shell in this folder can call this program by: its name
// where the path leads to it and to no other keeper, else as it was called,
// else its file.
func ownName() string {
	const name = "keeper"
	file, err := os.Executable()
	if err != nil {
		return name
	}
	own, err := os.Stat(file)
	if err != nil {
		return shellQuote(file)
	}
	for _, candidate := range []string{name, os.Args[0]} {
		found, err := exec.LookPath(candidate)
		if err != nil {
			continue
		}
		if info, err := os.Stat(found); err == nil && os.SameFile(info, own) {
			return shellQuote(candidate)
		}
	}
	return shellQuote(file)
}

// shellQuote returns text as one word of a POSIX shell.
func shellQuote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
