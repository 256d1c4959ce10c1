package auth_test

import (
	"errors"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

// takes says whether an agent gets a token with a secret.
func takes(t *testing.T, a *authtest.Authority, id, secret string) bool {
	t.Helper()
	_, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: id, AgentSecret: secret})
	if err != nil && !errors.Is(err, auth.ErrCredentials) {
		t.Fatal(err)
	}
	return err == nil
}

func TestAnAgentsLastSecretIsGoodForTheGraceAlone(t *testing.T) {
	c := newClock()
	a := authtest.Open(t, func(config *auth.Config) { config.Now = c.Now })
	_, first, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "agent", Scopes: authtest.Scopes(t, "openai:chat"), ScopesGiven: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "agent", AgentSecret: first})
	if err != nil {
		t.Fatal(err)
	}
	row, second, err := a.RotateSecret(t.Context(), a.Admin, "agent", time.Minute)
	if err != nil || !row.OldSecretUntil.Equal(c.Now().Add(time.Minute)) || row.SecretHash != nil || row.OldSecretHash != nil {
		t.Errorf("got %+v and %v, want the end of the last secret, and no hash", row, err)
	}
	want := func(when string, good map[string]bool) {
		t.Helper()
		for secret, want := range good {
			if got := takes(t, a, "agent", secret); got != want {
				t.Errorf("%s: the secret is taken: %v, want %v", when, got, want)
			}
		}
	}
	want("within the grace", map[string]bool{first: true, second: true, "": false, first + "x": false})
	if _, err := a.Update(t.Context(), a.Admin, "agent", auth.AgentChange{Name: new(string)}); err != nil {
		t.Fatal(err)
	}
	want("within the grace, after another change", map[string]bool{first: true, second: true})
	c.Advance(time.Minute)
	want("after the grace", map[string]bool{first: false, second: true})
	if _, third, err := a.RotateSecret(t.Context(), a.Admin, "agent", time.Hour); err != nil {
		t.Error(err)
	} else {
		want("after another", map[string]bool{first: false, second: true, third: true})
		_, fourth, err := a.RotateSecret(t.Context(), a.Admin, "agent", 0)
		if err != nil {
			t.Error(err)
		}
		want("without grace", map[string]bool{first: false, second: false, third: false, fourth: true})
	}
	wantVerdict(t, a, token.Token, nil) // it is none of the secret's
}

func TestWhoMayChangeAnAgentsSecret(t *testing.T) {
	a := authtest.Open(t, nil)
	register(t, a, "agent", "github:*")
	if _, _, err := a.RotateSecret(t.Context(), a.Claims(t, "deputy", "keeper:write", "openai:*"), "agent", 0); err == nil {
		t.Error("who does not hold the agent's grant got its secret")
	} else {
		wantMissing(t, err, "github:*")
	}
	if _, _, err := a.RotateSecret(t.Context(), a.Claims(t, "holder", "keeper:write", "github:*"), "agent", 0); err != nil {
		t.Errorf("who holds the agent's grant: %v", err)
	}
	_, _, err := a.RotateSecret(t.Context(), a.Claims(t, "reader", "github:*", "keeper:read"), "agent", 0)
	wantError(t, "without keeper:write", err, auth.ErrForbidden)
	_, _, err = a.RotateSecret(t.Context(), a.Admin, "nobody", 0)
	wantError(t, "no agent", err, store.ErrNotFound)
	var field *auth.FieldError
	for _, grace := range []time.Duration{-time.Second, auth.MaxGrace + time.Second} {
		if _, _, err := a.RotateSecret(t.Context(), a.Admin, "agent", grace); !errors.As(err, &field) {
			t.Errorf("a grace of %v: got %v, want that the field is wrong", grace, err)
		}
	}
}

func TestASecretThatCannotBeStoredIsNotInForce(t *testing.T) {
	a := authtest.Open(t, nil)
	_, first, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk")
	for name, fail := range map[string]func(error){"journal": a.Journal.Fail, "store": a.Store.Fail} {
		fail(broken)
		_, secret, err := a.RotateSecret(t.Context(), a.Admin, "agent", 0)
		fail(nil)
		if !errors.Is(err, broken) || secret != "" || !takes(t, a, "agent", first) {
			t.Errorf("%s: got %v and the last secret is not good", name, err)
		}
	}
}
