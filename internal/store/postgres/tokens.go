package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

const (
	tokenColumns = "jti, agent_id, scopes, issued_at, expires_at, revoked_at"
	pruneTokens  = 1000 // tokens deleted in one transaction
)

func readToken(rows pgx.Rows, t *store.Token) error {
	err := rows.Scan(&t.JTI, &t.AgentID, &t.Scopes, instant{&t.IssuedAt}, instant{&t.ExpiresAt}, instant{&t.RevokedAt})
	t.Scopes = names(t.Scopes)
	return err
}

// InsertToken adds a token: store.ErrExists where one has its JTI. Where several keepers
// share the database, it returns store.ErrBehind unless the agent is active: another may
// have revoked it a moment ago.
func (db *DB) InsertToken(ctx context.Context, t store.Token) error {
	return db.change(ctx, "inserting token "+t.JTI, func(w tx) error {
		if db.member.Load() != nil {
			var active bool
			if err := w.conn.QueryRow(w.ctx, "SELECT EXISTS (SELECT FROM keeper.agents WHERE id = $1 AND status = $2)", t.AgentID, string(store.Active)).Scan(&active); err != nil {
				return err
			}
			if !active {
				return store.ErrBehind
			}
		}
		return w.execOne(store.ErrExists,
			"INSERT INTO keeper.tokens ("+tokenColumns+") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (jti) DO NOTHING",
			t.JTI, t.AgentID, list(t.Scopes), store.Nanos(t.IssuedAt), store.Nanos(t.ExpiresAt), store.Nanos(t.RevokedAt))
	})
}

// Token returns one token, revoked or not: store.ErrNotFound where there is
// none.
func (db *DB) Token(ctx context.Context, jti string) (store.Token, error) {
	tokens, err := scan(ctx, db, readToken, "SELECT "+tokenColumns+" FROM keeper.tokens WHERE jti = $1", jti)
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
	return db.change(ctx, fmt.Sprintf("revoking token %q", jti), func(w tx) error {
		return w.execOne(store.ErrNotFound,
			"UPDATE keeper.tokens SET revoked_at = CASE revoked_at WHEN 0 THEN $2 ELSE revoked_at END WHERE jti = $1", jti, store.Nanos(at))
	})
}

func (w tx) revokeTokens(agentID string, at time.Time) error {
	_, err := w.exec("UPDATE keeper.tokens SET revoked_at = $2 WHERE agent_id = $1 AND revoked_at = 0", agentID, store.Nanos(at))
	return err
}

// Tokens returns the tokens that f selects, in the order of issue or, of the newest, in
// the other one. There is no index of that order: a page of the newest reads through the
// living tokens, and keeps no more of them than it returns.
func (db *DB) Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error) {
	query := "SELECT " + tokenColumns + " FROM keeper.tokens WHERE expires_at > $1 AND revoked_at = 0"
	if f.Revoked {
		query = "SELECT " + tokenColumns + " FROM keeper.tokens WHERE expires_at > $1 AND revoked_at <> 0"
	}
	args := []any{store.Nanos(f.At)}
	and := func(condition string, more ...any) {
		numbers := make([]any, len(more))
		for i := range more {
			numbers[i] = len(args) + i + 1
		}
		query += fmt.Sprintf(condition, numbers...)
		args = append(args, more...)
	}
	if f.AgentID != "" {
		and(" AND agent_id = $%d", f.AgentID)
	}
	if f.Newest > 0 && !f.Before.IssuedAt.IsZero() {
		and(" AND (issued_at, jti) < ($%d, $%d)", store.Nanos(f.Before.IssuedAt), f.Before.JTI)
	}
	if f.Newest > 0 {
		and(" ORDER BY issued_at DESC, jti DESC LIMIT $%d", f.Newest)
	} else {
		query += " ORDER BY issued_at, jti"
	}
	tokens, err := scan(ctx, db, readToken, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	return tokens, nil
}

// LiveTokens counts the tokens that are neither expired at the given time nor revoked.
func (db *DB) LiveTokens(ctx context.Context, at time.Time) (int, error) {
	var n int
	err := db.one(ctx, []any{&n}, "SELECT count(*) FROM keeper.tokens WHERE expires_at > $1 AND revoked_at = 0", store.Nanos(at))
	if err != nil {
		return 0, fmt.Errorf("counting tokens: %w", err)
	}
	return n, nil
}

// PruneTokens forgets the tokens that expired at or before the given time and
// returns how many. It lets other writers in between; where it returns an
// error, it has forgotten as many as it returns.
func (db *DB) PruneTokens(ctx context.Context, before time.Time) (int, error) {
	pruned := 0
	for {
		var n int64
		err := db.write(ctx, "forgetting expired tokens", func(w tx) (err error) {
			n, err = w.exec("DELETE FROM keeper.tokens WHERE jti IN (SELECT jti FROM keeper.tokens WHERE expires_at <= $1 LIMIT $2)",
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
