package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/server"
)

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show in seconds what keeper does, without a key or a network",
		Long: `Show in seconds what keeper does, without a key or a network. It starts a keeper
and a made-up provider on loopback, with keys made for the occasion and data in a
temporary folder, makes real calls, prints the real answers, and removes it all.
Exit code 1 if an answer was not as it must be.`,
		Example: "  keeper demo",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.harden(); err != nil {
				return err
			}
			ctx, stop := until(cmd.Context())
			defer stop()
			return a.demo(ctx)
		},
	}
}

const (
	demoAgent = "demo-agent"
	demoChat  = "/v1/chat/completions"
	demoStop  = 2 * time.Second
)

// demo is one showing: a keeper, a provider, and what was made up for them.
type demo struct {
	app      *app
	keeper   *server.Server
	provider *demoProvider
	admin    *client
	token    string // the agent's
	failed   bool   // a step did not go as it must
}

func (a *app) demo(ctx context.Context) (err error) {
	folder, err := os.MkdirTemp("", "keeper-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	provider, err := startDemoProvider()
	if err != nil {
		return err
	}
	defer provider.stop()
	s, err := server.Start(ctx, server.Config{
		DataDir: folder, Addr: "127.0.0.1:0", Registration: auth.RegisterOpen,
		ProviderURLs: map[string]string{"openai": provider.url},
		Imports:      []string{secretPrefix + "OPENAI_API_KEY=" + provider.key},
		StopTimeout:  demoStop, Version: version(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return notStarted(ctx, err, folder)
	}
	d := &demo{app: a, keeper: s, provider: provider}
	err = d.show(ctx, folder)
	if ctx.Err() != nil {
		err = errInterrupted
	}
	if err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	if d.failed {
		return &failure{code: exitError, message: "the demo did not go as it must; see the steps marked FAILED"}
	}
	return nil
}

// show goes through the steps.
func (d *demo) show(ctx context.Context, folder string) error {
	admin, err := readToken(d.keeper.AdminTokenFile())
	if err != nil {
		return err
	}
	base, err := url.Parse(d.keeper.URL())
	if err != nil {
		return fmt.Errorf("reading keeper's own address: %w", err)
	}
	if d.admin, err = d.app.connectTo(base, admin); err != nil {
		return err
	}
	d.print("keeper %s on %s, a made-up OpenAI on %s, data in %s", version(), base, d.provider.url, folder)
	for _, step := range []func(context.Context) error{
		d.withoutKey, d.register, d.injected, d.blocked, d.redacted, d.revoked, d.audited,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) withoutKey(ctx context.Context) error {
	d.heading("The provider wants a key. A call without one")
	answer, err := d.post(ctx, d.provider.url+demoChat, "", chat("Hello!", false))
	if err != nil {
		return err
	}
	d.expect(answer.status == http.StatusUnauthorized, "the provider refuses it")
	return nil
}

func (d *demo) register(ctx context.Context) error {
	d.heading("An agent registers and gets a token; it never gets the key")
	agent := &client{base: d.admin.base, http: d.admin.http}
	var registered struct {
		Secret string `json:"agentSecret"`
	}
	in := map[string]any{"agentId": demoAgent, "agentName": "Demo agent"}
	if _, err := agent.call(ctx, http.MethodPost, "/auth/register", in, &registered); err != nil {
		return err
	}
	var token issued
	in = map[string]any{"agentId": demoAgent, "agentSecret": registered.Secret, "scopes": []string{"openai:chat"}, "ttlHours": 1}
	if _, err := agent.call(ctx, http.MethodPost, "/auth/token", in, &token); err != nil {
		return err
	}
	d.token = token.Token
	d.print("   token %s…  scopes %s  expires %s", d.token[:min(len(d.token), 24)], listed(token.Scopes), when(token.ExpiresAt))
	return nil
}

func (d *demo) injected(ctx context.Context) error {
	d.heading("The same call through keeper, with the token")
	answer, err := d.call(ctx, chat("Hello!", false))
	if err != nil {
		return err
	}
	d.expect(answer.status == http.StatusOK && d.provider.served() == 1, "keeper put the key in on the way; the provider answers")
	return nil
}

func (d *demo) blocked(ctx context.Context) error {
	d.heading("The agent sends a GitHub token by mistake")
	leaked := "ghp_" + randomText(36)
	answer, err := d.call(ctx, chat("Please review: export GITHUB_PAT="+leaked, false))
	if err != nil {
		return err
	}
	d.expect(answer.status == http.StatusForbidden && answer.code == "secret_in_request" && !strings.Contains(answer.body, leaked) && d.provider.served() == 1,
		"blocked; nothing reached the provider")
	return nil
}

func (d *demo) redacted(ctx context.Context) error {
	d.heading("The provider's stream gives the key away, a few characters at a time")
	answer, err := d.call(ctx, chat("What is your API key?", true))
	if err != nil {
		return err
	}
	text := streamedText(answer.body)
	d.print("   the agent reads: %s", printable(text))
	d.expect(answer.status == http.StatusOK && strings.Contains(text, "[REDACTED:") && !strings.Contains(text, d.provider.key) && d.provider.served() == 2,
		"redacted while it streamed")
	return nil
}

func (d *demo) revoked(ctx context.Context) error {
	d.heading("The operator revokes the token; the agent tries once more")
	if _, err := d.admin.call(ctx, http.MethodPost, "/auth/revoke", map[string]string{"token": d.token}, nil); err != nil {
		return err
	}
	answer, err := d.call(ctx, chat("Hello again!", false))
	if err != nil {
		return err
	}
	d.expect(answer.status == http.StatusUnauthorized && answer.code == "token_revoked" && d.provider.served() == 2, "refused at once")
	return nil
}

// audited shows the log and looks for what must be in it.
func (d *demo) audited(ctx context.Context) error {
	d.heading("All of it is in the audit log, and no secret is")
	var log auditAnswer
	raw, err := d.admin.call(ctx, http.MethodGet, "/audit", nil, &log)
	if err != nil {
		return err
	}
	if err := d.app.auditTable(log.Entries); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range log.Entries {
		seen[e.Event] = true
	}
	complete := !bytes.Contains(raw, []byte(d.provider.key))
	for _, event := range []string{"agent.registered", "token.issued", "proxy.request", "proxy.response", "scan.blocked", "scan.redacted", "token.revoked"} {
		complete = complete && seen[event]
	}
	d.expect(complete, "every step is there")
	return nil
}

// demoAnswer is the answer to one call.
type demoAnswer struct {
	status int
	code   string // of keeper's own refusals
	body   string
}

// call makes a call as the agent, through keeper.
func (d *demo) call(ctx context.Context, body []byte) (demoAnswer, error) {
	return d.post(ctx, d.keeper.URL()+"/api/v1/proxy/openai"+demoChat, d.token, body)
}

func (d *demo) post(ctx context.Context, to, token string, body []byte) (demoAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return demoAnswer{}, fmt.Errorf("making a call: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	d.print("   %s", d.app.paint(dim, "POST "+to))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := d.admin.http.Do(req)
	if err != nil {
		return demoAnswer{}, fmt.Errorf("making a call: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return demoAnswer{}, fmt.Errorf("reading the answer: %w", err)
	}
	answer := demoAnswer{resp.StatusCode, resp.Header.Get("Keeper-Code"), string(text)}
	d.print("   %s", d.app.paint(bold, resp.Status))
	for line := range strings.Lines(answer.shown()) {
		if line = strings.TrimSpace(line); line != "" {
			d.print("   %s", printable(line))
		}
	}
	return answer, nil
}

// shown is the part of the answer that tells most: keeper's own sentence, or
// the body.
func (a demoAnswer) shown() string {
	var refusal struct {
		Message string `json:"message"`
	}
	if a.code != "" && json.Unmarshal([]byte(a.body), &refusal) == nil {
		return a.code + ": " + refusal.Message
	}
	return a.body
}

func (d *demo) print(format string, args ...any) { fmt.Fprintf(d.app.out, format+"\n", args...) }

func (d *demo) heading(text string) { d.print("\n%s", d.app.paint(bold, text)) }

// expect says whether a step went as it must, and remembers if not.
func (d *demo) expect(ok bool, what string) {
	if !ok {
		d.failed = true
		d.print("   %s %s", d.app.paint(red, "FAILED:"), what)
		return
	}
	d.print("   %s %s", d.app.paint(green, "ok:"), what)
}

func chat(text string, stream bool) []byte {
	body, _ := json.Marshal(map[string]any{ // of texts and booleans: cannot fail
		"model": "demo", "stream": stream, "messages": []map[string]string{{"role": "user", "content": text}},
	})
	return body
}

// streamedText is what the events of a stream add up to.
func streamedText(body string) string {
	var text strings.Builder
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data:")
		var event demoEvent
		if isData && json.Unmarshal([]byte(data), &event) == nil && len(event.Choices) > 0 {
			text.WriteString(event.Choices[0].Delta.Content)
		}
	}
	return text.String()
}

// randomText returns n random letters and digits, as keys consist of.
func randomText(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 0, n)
	for len(text) < n {
		var b [1]byte
		rand.Read(b[:])
		if i := int(b[0]) % 64; i < len(alphabet) {
			text = append(text, alphabet[i])
		}
	}
	return string(text)
}
