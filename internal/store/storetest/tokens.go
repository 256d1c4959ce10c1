package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

func token(jti, agentID string) store.Token {
	return store.Token{
		JTI:       jti,
		AgentID:   agentID,
		Scopes:    []string{"openai:chat"},
		IssuedAt:  now().UTC(),
		ExpiresAt: now().UTC().Add(24 * time.Hour),
	}
}

func jtis(t *testing.T, b *bench, f store.TokenFilter) []string {
	t.Helper()
	tokens, err := b.Tokens(t.Context(), f)
	ok(t, "Tokens", err)
	var ids []string
	for _, token := range tokens {
		ids = append(ids, token.JTI)
	}
	return ids
}

// endsTokens checks that end revokes the tokens of agent "a" alone, and leaves
// the time of those revoked before.
func endsTokens(t *testing.T, b *bench, end func(ctx context.Context, id string, at time.Time) error) {
	t.Helper()
	before := now().UTC().Add(-time.Hour)
	ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
	for _, token := range []store.Token{token("living", "a"), token("ended", "a"), token("other", "b")} {
		ok(t, "InsertToken", b.InsertToken(t.Context(), token))
	}
	ok(t, "RevokeToken", b.RevokeToken(t.Context(), "ended", before))
	ok(t, "ending the agent", end(t.Context(), "a", now()))
	for jti, want := range map[string]time.Time{"living": now().UTC(), "ended": before, "other": {}} {
		got, err := b.Token(t.Context(), jti)
		ok(t, "Token", err)
		same(t, "revocation of token "+jti, got.RevokedAt, want)
	}
}

var tokenTests = map[string]func(*testing.T, *bench){
	"a token comes back as it was put": func(t *testing.T, b *bench) {
		want := token("j", "a")
		want.RevokedAt = now().UTC()
		ok(t, "InsertToken", b.InsertToken(t.Context(), want))
		got, err := b.Token(t.Context(), "j")
		ok(t, "Token", err)
		same(t, "token", got, want)
	},
	"a token id that exists is refused and keeps its row": func(t *testing.T, b *bench) {
		ok(t, "InsertToken", b.InsertToken(t.Context(), token("j", "a")))
		if err := b.InsertToken(t.Context(), token("j", "b")); !errors.Is(err, store.ErrExists) {
			t.Errorf("InsertToken: got %v, want %v", err, store.ErrExists)
		}
		got, err := b.Token(t.Context(), "j")
		ok(t, "Token", err)
		same(t, "token", got, token("j", "a"))
	},
	"an unknown token is not found": func(t *testing.T, b *bench) {
		if _, err := b.Token(t.Context(), "j"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Token: got %v, want %v", err, store.ErrNotFound)
		}
		if err := b.RevokeToken(t.Context(), "j", now()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("RevokeToken: got %v, want %v", err, store.ErrNotFound)
		}
	},
	"a second revocation keeps the time of the first": func(t *testing.T, b *bench) {
		ok(t, "InsertToken", b.InsertToken(t.Context(), token("j", "a")))
		ok(t, "RevokeToken", b.RevokeToken(t.Context(), "j", now()))
		ok(t, "second RevokeToken", b.RevokeToken(t.Context(), "j", now().Add(time.Hour)))
		got, err := b.Token(t.Context(), "j")
		ok(t, "Token", err)
		same(t, "revoked at", got.RevokedAt, now().UTC())
	},
	"a filter tells the revoked, the expired and the agents apart": func(t *testing.T, b *bench) {
		at := now()
		for i, c := range []struct {
			jti, agent       string
			expired, revoked bool
		}{
			{"a-living", "a", false, false}, {"a-revoked", "a", false, true},
			{"a-expired", "a", true, false}, {"a-both", "a", true, true},
			{"b-living", "b", false, false}, {"b-revoked", "b", false, true},
		} {
			row := token(c.jti, c.agent)
			row.IssuedAt = at.Add(-time.Duration(i) * time.Minute)
			if c.expired {
				row.ExpiresAt = at
			}
			if c.revoked {
				row.RevokedAt = at
			}
			ok(t, "InsertToken", b.InsertToken(t.Context(), row))
		}
		same(t, "living", jtis(t, b, store.TokenFilter{At: at}), []string{"b-living", "a-living"})
		same(t, "revoked", jtis(t, b, store.TokenFilter{At: at, Revoked: true}), []string{"b-revoked", "a-revoked"})
		same(t, "living of a", jtis(t, b, store.TokenFilter{At: at, AgentID: "a"}), []string{"a-living"})
		same(t, "revoked of a", jtis(t, b, store.TokenFilter{At: at, AgentID: "a", Revoked: true}), []string{"a-revoked"})
		same(t, "living a moment before", jtis(t, b, store.TokenFilter{At: at.Add(-1), AgentID: "a"}),
			[]string{"a-expired", "a-living"})
		same(t, "of an unknown agent", len(jtis(t, b, store.TokenFilter{At: at, AgentID: "c"})), 0)
	},
	"the newest come in pages, newest first, also those that were issued at once": func(t *testing.T, b *bench) {
		at := now()
		for i, jti := range []string{"a", "c", "b", "old", "revoked", "expired"} {
			row := token(jti, "agent-"+jti)
			row.IssuedAt = at.Add(-time.Duration(max(0, i-2)) * time.Minute)
			if jti == "revoked" {
				row.RevokedAt = at
			}
			if jti == "expired" {
				row.ExpiresAt = at
			}
			ok(t, "InsertToken", b.InsertToken(t.Context(), row))
		}
		same(t, "the first page", jtis(t, b, store.TokenFilter{At: at, Newest: 2}), []string{"c", "b"})
		same(t, "the next", jtis(t, b, store.TokenFilter{At: at, Newest: 2, Before: store.TokenPlace{IssuedAt: at, JTI: "b"}}), []string{"a", "old"})
		same(t, "behind one that is gone", jtis(t, b, store.TokenFilter{At: at, Newest: 9, Before: store.TokenPlace{IssuedAt: at, JTI: "aa"}}), []string{"a", "old"})
		same(t, "the last", len(jtis(t, b, store.TokenFilter{At: at, Newest: 2, Before: store.TokenPlace{IssuedAt: at.Add(-time.Minute), JTI: "old"}})), 0)
		same(t, "of one agent", jtis(t, b, store.TokenFilter{At: at, Newest: 2, AgentID: "agent-b"}), []string{"b"})
	},
	"pruning forgets what has expired and nothing else": func(t *testing.T, b *bench) {
		ok(t, "InsertToken", b.InsertToken(t.Context(), token("living", "a")))
		const expired = 30
		for i := range expired {
			row := token(fmt.Sprint("expired-", i), "a")
			row.ExpiresAt = now().Add(-time.Duration(i))
			ok(t, "InsertToken", b.InsertToken(t.Context(), row))
		}
		n, err := b.PruneTokens(t.Context(), now().Add(-10))
		ok(t, "PruneTokens", err)
		same(t, "pruned", n, expired-10)
		n, err = b.PruneTokens(t.Context(), now())
		ok(t, "second PruneTokens", err)
		same(t, "pruned", n, 10)
		same(t, "left", jtis(t, b, store.TokenFilter{}), []string{"living"})
	},
}
