package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	tokenColumns = "jti, agent_id, scopes, issued_at, expires_at, revoked_at"
	pruneTokens  = 1000 // tokens deleted in one transaction
)

func readToken(rows *sql.Rows, t *store.Token) error {
	return rows.Scan(&t.JTI, &t.AgentID, names{&t.Scopes},
		instant{&t.IssuedAt}, instant{&t.ExpiresAt}, instant{&t.RevokedAt})
}

// InsertToken adds a token: store.ErrExists where one has its JTI.
func (db *DB) InsertToken(ctx context.Context, t store.Token) error {
	scopes, err := list(t.Scopes)
	if err != nil {
		return fmt.Errorf("encoding scopes: %w", err)
	}
	return db.write(ctx, "inserting token "+t.JTI, func(w tx) error {
		return w.execOne(store.ErrExists,
			"INSERT INTO tokens ("+tokenColumns+") VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (jti) DO NOTHING",
			t.JTI, t.AgentID, scopes, store.Nanos(t.IssuedAt), store.Nanos(t.ExpiresAt), store.Nanos(t.RevokedAt))
	})
}

// Token returns one token, revoked or not: store.ErrNotFound where there is
// none.
func (db *DB) Token(ctx context.Context, jti string) (store.Token, error) {
	tokens, err := scan(ctx, db, readToken, "SELECT "+tokenColumns+" FROM tokens WHERE jti = ?", jti)
	if err == nil && len(tokens) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("reading token %q: %w", jti, err)
	}
	return tokens[0], nil
}

// RevokeToken marks a token revoked. One that was revoked before keeps its
// time. store.ErrNotFound where there is no such token.
func (db *DB) RevokeToken(ctx context.Context, jti string, at time.Time) error {
	return db.write(ctx, fmt.Sprintf("revoking token %q", jti), func(w tx) error {
		return w.execOne(store.ErrNotFound,
			"UPDATE tokens SET revoked_at = iif(revoked_at = 0, ?, revoked_at) WHERE jti = ?", store.Nanos(at), jti)
	})
}

func (w tx) revokeTokens(agentID string, at time.Time) error {
	_, err := w.exec("UPDATE tokens SET revoked_at = ? WHERE agent_id = ? AND revoked_at = 0", store.Nanos(at), agentID)
	return err
}

// Tokens returns the tokens that f selects, in the order of issue or, of the newest, in
// the other one. There is no index of that order: a page of the newest reads through the
// living tokens, and keeps no more of them than it returns.
func (db *DB) Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error) {
	query := "SELECT " + tokenColumns + " FROM tokens WHERE expires_at > ? AND (revoked_at <> 0) = ?"
	args := []any{store.Nanos(f.At), f.Revoked}
	if f.AgentID != "" {
		query += " AND agent_id = ?"
		args = append(args, f.AgentID)
	}
	order := " ORDER BY issued_at, jti"
	if f.Newest > 0 {
		if !f.Before.IssuedAt.IsZero() {
			query += " AND (issued_at, jti) < (?, ?)"
			args = append(args, store.Nanos(f.Before.IssuedAt), f.Before.JTI)
		}
		order = " ORDER BY issued_at DESC, jti DESC LIMIT ?"
		args = append(args, f.Newest)
	}
	tokens, err := scan(ctx, db, readToken, query+order, args...)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	return tokens, nil
}

// LiveTokens counts the tokens that are neither expired at the given time nor revoked.
func (db *DB) LiveTokens(ctx context.Context, at time.Time) (int, error) {
	counts, err := scan(ctx, db, func(rows *sql.Rows, n *int) error { return rows.Scan(n) },
		"SELECT count(*) FROM tokens WHERE expires_at > ? AND revoked_at = 0", store.Nanos(at))
	if err != nil {
		return 0, fmt.Errorf("counting tokens: %w", err)
	}
	return counts[0], nil
}

// PruneTokens forgets the tokens that expired at or before the given time and
// returns how many. It lets other writers in between; where it returns an
// error, it has forgotten as many as it returns.
func (db *DB) PruneTokens(ctx context.Context, before time.Time) (int, error) {
	pruned := 0
	for {
		var n int64
		err := db.write(ctx, "forgetting expired tokens", func(w tx) (err error) {
			n, err = w.exec("DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens WHERE expires_at <= ? LIMIT ?)",
				store.Nanos(before), pruneTokens)
			return err
		})
		if err != nil {
			return pruned, err
		}
		pruned += int(n)
		if n < pruneTokens {
			return pruned, nil
		}
	}
}
