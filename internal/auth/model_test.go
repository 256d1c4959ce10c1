package auth_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

// modelAgent and modelToken are what a person would write on paper.
type modelAgent struct {
	status store.AgentStatus
	secret string
}

type modelToken struct {
	agent   *modelAgent
	issued  auth.Issued
	dead    bool // for good
	expires time.Time
}

func (m *modelToken) verdict(now time.Time) error {
	switch {
	case !now.Before(m.expires):
		return auth.ErrTokenExpired
	case m.dead || m.agent.status != store.Active:
		return auth.ErrTokenRevoked
	default:
		return nil
	}
}

// world is an authority beside its model.
type world struct {
	tb     *testing.T
	now    *clock
	real   *authtest.Authority
	agents map[string]*modelAgent
	tokens []*modelToken
}

func newWorld(t *testing.T) *world {
	w := &world{tb: t, now: newClock(), agents: map[string]*modelAgent{}}
	w.real = authtest.Open(t, w.configure)
	return w
}

func (w *world) configure(c *auth.Config) { c.Now = w.now.Now }

func anID(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id") }

func (w *world) aToken(t *rapid.T) *modelToken {
	if len(w.tokens) == 0 {
		t.Skip("no token yet")
	}
	return rapid.SampledFrom(w.tokens).Draw(t, "token")
}

func same(t *rapid.T, doing string, got, want error) {
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", doing, got, want)
	}
}

// exists is what a change of the agent is to answer.
func (w *world) exists(id string) error {
	if w.agents[id] == nil {
		return store.ErrNotFound
	}
	return nil
}

func (w *world) killAll(agent *modelAgent) {
	for _, token := range w.tokens {
		if token.agent == agent {
			token.dead = true
		}
	}
}

func (w *world) register(t *rapid.T) {
	id := anID(t)
	_, secret, err := w.real.Register(context.Background(), w.real.Admin, auth.RegisterRequest{
		AgentID: id, Scopes: authtest.Scopes(w.tb, "openai:chat"), ScopesGiven: true,
	})
	if w.agents[id] != nil {
		same(t, "registering", err, store.ErrExists)
		return
	}
	same(t, "registering", err, nil)
	w.agents[id] = &modelAgent{status: store.Active, secret: secret}
}

func (w *world) issue(t *rapid.T) {
	id := anID(t)
	agent := w.agents[id]
	ttl := rapid.SampledFrom([]time.Duration{time.Hour, 24 * time.Hour}).Draw(t, "ttl")
	request := auth.TokenRequest{AgentID: id, TTL: ttl, AgentSecret: "of nobody"}
	want := auth.ErrCredentials
	if agent != nil {
		request.AgentSecret = agent.secret
		want = map[store.AgentStatus]error{
			store.Disabled: auth.ErrAgentDisabled, store.Revoked: auth.ErrAgentRevoked,
		}[agent.status]
	}
	issued, err := w.real.Issue(context.Background(), auth.Claims{}, request)
	same(t, "issuing", err, want)
	if err == nil {
		expires := w.now.Now().Truncate(time.Second).Add(ttl)
		w.tokens = append(w.tokens, &modelToken{agent: agent, issued: issued, expires: expires})
	}
}

func (w *world) revokeToken(t *rapid.T) {
	token := w.aToken(t)
	var err error
	if rapid.Bool().Draw(t, "by jti") {
		err = w.real.RevokeJTI(context.Background(), w.real.Admin, token.issued.JTI)
	} else {
		err = w.real.RevokeToken(context.Background(), w.real.Admin, token.issued.Token)
	}
	same(t, "revoking a token", err, nil)
	token.dead = true
}

func (w *world) revokeAgent(t *rapid.T) {
	id := anID(t)
	same(t, "revoking an agent", w.real.RevokeAgent(context.Background(), w.real.Admin, id), w.exists(id))
	if agent := w.agents[id]; agent != nil {
		agent.status = store.Revoked
		w.killAll(agent)
	}
}

func (w *world) update(t *rapid.T) {
	id := anID(t)
	status := rapid.SampledFrom([]store.AgentStatus{store.Active, store.Disabled, store.Revoked}).Draw(t, "status")
	_, err := w.real.Update(context.Background(), w.real.Admin, id, auth.AgentChange{Status: &status})
	same(t, "updating", err, w.exists(id))
	if agent := w.agents[id]; agent != nil {
		agent.status = status
		if status == store.Revoked {
			w.killAll(agent)
		}
	}
}

func (w *world) remove(t *rapid.T) {
	id := anID(t)
	same(t, "deleting", w.real.Delete(context.Background(), w.real.Admin, id), w.exists(id))
	if agent := w.agents[id]; agent != nil {
		w.killAll(agent)
		delete(w.agents, id)
	}
}

func (w *world) failingRevocation(t *rapid.T) {
	token, broken := w.aToken(t), errors.New("broken")
	if token.verdict(w.now.Now()) != nil {
		t.Skip("dead already")
	}
	w.real.Journal.Fail(broken)
	same(t, "revoking without a journal", w.real.RevokeJTI(context.Background(), w.real.Admin, token.issued.JTI), broken)
	w.real.Journal.Fail(nil)
}

func (w *world) wait(t *rapid.T) {
	w.now.Advance(time.Duration(rapid.IntRange(1, 36_000).Draw(t, "seconds")) * time.Second)
}

func (w *world) reopen(*rapid.T) {
	w.real = authtest.OpenOn(w.tb, w.real.Store, w.real.Keys, w.configure)
}

// check compares the verdict on one token, so that others stay unseen until
// later and both the remembered and the unknown are met.
func (w *world) check(t *rapid.T) {
	if len(w.tokens) == 0 {
		return
	}
	token := w.aToken(t)
	claims, err := w.real.Verify(context.Background(), token.issued.Token)
	same(t, fmt.Sprintf("verifying a token of %s", token.issued.AgentID), err, token.verdict(w.now.Now()))
	if (err == nil) != claims.Valid() {
		t.Fatalf("got claims valid %v beside error %v", claims.Valid(), err)
	}
}

func TestVerdictsFollowTheModelInWhateverOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		rt.Repeat(map[string]func(*rapid.T){
			"register": w.register, "issue": w.issue, "issue more": w.issue, "revoke token": w.revokeToken,
			"revoke agent": w.revokeAgent, "update": w.update, "update more": w.update, "delete": w.remove,
			"failing revocation": w.failingRevocation, "wait": w.wait, "reopen": w.reopen, "": w.check,
		})
		w.reopen(rt)
		for _, token := range w.tokens {
			_, err := w.real.Verify(context.Background(), token.issued.Token)
			same(rt, "verifying after reopening", err, token.verdict(w.now.Now()))
		}
	})
}
