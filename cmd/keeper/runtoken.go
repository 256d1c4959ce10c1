package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const revokeTimeout = 5 * time.Second

// newPassword returns a password of 130 random bits, in characters that may stand in
// any part of a URL. It says what it is, to people and to who finds it in a log.
func newPassword() string { return "keeper-run-" + strings.ToLower(rand.Text()) }

// lease is a token of minutes that is renewed as long as it is needed. It is safe for
// concurrent use.
type lease struct {
	issue func(context.Context) (issued, error)
	ttl   time.Duration

	mu     sync.Mutex // guards tokens
	tokens []issued   // oldest first; the last is in use
	ended  bool       // they are revoked
}

// lease asks for the first token.
func (c *client) lease(ctx context.Context, f runFlags) (*lease, error) {
	l := &lease{ttl: f.ttl, issue: func(ctx context.Context) (issued, error) {
		token, _, err := c.issue(ctx, f.agent, f.scopes, f.ttl)
		return token, missing(err, "there is no agent %q; add it with `keeper agent add %s --scopes openai:chat`, or name another with --agent", f.agent, f.agent)
	}}
	return l, l.renew(ctx)
}

func (l *lease) renew(ctx context.Context) error {
	token, err := l.issue(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = append(l.tokens, token)
	return nil
}

// token is the one in use.
func (l *lease) token() string { return l.latest().Token }

func (l *lease) latest() issued {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens[len(l.tokens)-1]
}

func (l *lease) first() issued {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens[0]
}

// jtis are the ids of all tokens there were.
func (l *lease) jtis() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]bool{}
	for _, t := range l.tokens {
		ids[t.JTI] = true
	}
	return ids
}

// keep renews the token at half of its time until ctx ends, or sooner again where that
// fails; of failures it warns once until it succeeds. The token before stays good for
// what it has begun.
func (l *lease) keep(ctx context.Context, warn func(error)) {
	again := min(l.ttl/10, 30*time.Second)
	wait, failing := l.ttl/2, false
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := l.renew(ctx)
		wait = l.ttl / 2
		if err != nil {
			wait = again
			if !failing && ctx.Err() == nil {
				warn(fmt.Errorf("the token could not be renewed, which is tried again: %w", err))
			}
		}
		failing = err != nil
		timer.Reset(wait)
	}
}

// end returns the tokens that are still good, once.
func (l *lease) end(now time.Time) (left []issued) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.ended = true
	for _, t := range l.tokens {
		if now.Before(t.ExpiresAt) || t.JTI == l.tokens[len(l.tokens)-1].JTI {
			left = append(left, t)
		}
	}
	return left
}

// revoke ends the command's tokens, whatever has become of ctx.
func (r *running) revoke(ctx context.Context, l *lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	for _, token := range l.end(time.Now()) {
		if _, err := r.client.call(ctx, http.MethodPost, "/auth/revoke", map[string]string{"token": token.Token}, nil); err != nil {
			fmt.Fprintf(r.err, "keeper: the token could not be revoked and is good until %s: %s\n", when(token.ExpiresAt), printable(err.Error()))
		}
	}
}
