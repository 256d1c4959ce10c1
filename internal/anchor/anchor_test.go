package anchor_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

var (
	quiet = slog.New(slog.DiscardHandler)
	start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

// keeper is what of a keeper keeps its rows.
type keeper struct {
	*anchor.Store
	t    *testing.T
	dir  string
	key  *audit.Key
	db   *sqlite.DB
	rows *brittle
	log  *audit.Log
}

// brittle are rows whose writes can be made to fail, after they happened or instead.
type brittle struct {
	*sqlite.DB
	before, after func() error // where set, called around UpdateAgent
}

func (b *brittle) UpdateAgent(ctx context.Context, a store.Agent) error {
	if b.before != nil {
		if err := b.before(); err != nil {
			return err
		}
	}
	if err := b.DB.UpdateAgent(ctx, a); err != nil || b.after == nil {
		return err
	}
	return b.after()
}

func newKey(t *testing.T) *audit.Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	key, err := audit.NewKey("keeper.test/1", private)
	must(t, err)
	return key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open starts on a folder. The error is that of holding the rows against the log.
func open(t *testing.T, dir string, key *audit.Key, accept bool) (*keeper, error) {
	t.Helper()
	k := &keeper{t: t, dir: dir, key: key}
	var err error
	k.db, err = sqlite.Open(t.Context(), dir, quiet)
	must(t, err)
	k.rows = &brittle{DB: k.db}
	k.log, err = audit.Open(t.Context(), audit.Config{Store: k.db, Logger: quiet})
	must(t, err)
	k.Store, err = anchor.Open(t.Context(), anchor.Config{Rows: k.rows, Entries: k.db, Log: k.log, Logger: quiet, Accept: accept})
	must(t, err)
	err = k.log.Sign(t.Context(), key, k.Store)
	if err != nil {
		k.close()
	}
	return k, err
}

func (k *keeper) close() { must(k.t, errors.Join(k.log.Close(context.Background()), k.db.Close())) }

// killed is a copy of the folder as a kill leaves it.
func (k *keeper) killed() string {
	k.t.Helper()
	dir := k.t.TempDir()
	for _, name := range []string{"keeper.db", "keeper.db-wal"} {
		from, err := os.Open(filepath.Join(k.dir, name))
		must(k.t, err)
		to, err := os.Create(filepath.Join(dir, name))
		must(k.t, err)
		_, err = io.Copy(to, from)
		must(k.t, errors.Join(err, from.Close(), to.Close()))
	}
	return dir
}

func agentRow(id string, scopes ...string) store.Agent {
	return store.Agent{ID: id, Name: "A", Status: store.Active, Scopes: scopes, SecretHash: []byte{1}, CreatedAt: start, UpdatedAt: start}
}

func tokenRow(jti, agent string) store.Token {
	return store.Token{JTI: jti, AgentID: agent, IssuedAt: start, ExpiresAt: start.Add(time.Hour)}
}

func secretRow(version int) store.Credential {
	return store.Credential{ID: "sec_1", Version: version, Provider: "openai", Label: "default", KEKID: "k", WrappedKey: []byte{1}, Ciphertext: []byte{byte(version)}, CreatedAt: start}
}

// fill makes every kind of change.
func (k *keeper) fill() {
	k.t.Helper()
	ctx := k.t.Context()
	exception := store.Exception{Fingerprint: "f1", Rule: "r", Reason: "w", CreatedAt: start, ExpiresAt: start, Seal: []byte{1}}
	gone := exception
	gone.Fingerprint = "f2"
	kek := store.KEK{ID: "kek1", Kind: "raw", Check: []byte{1}, Current: true, CreatedAt: start}
	other := kek
	other.ID = "kek2"
	key := store.Key{ID: "key1", Purpose: "signing", State: store.Current, Public: []byte{1}, KEKID: "kek1", WrappedKey: []byte{1}, Ciphertext: []byte{1}, CreatedAt: start, StateAt: start}
	for _, err := range []error{
		k.PutKEK(ctx, kek), k.PutKeys(ctx, []store.Key{key}),
		k.InsertAgent(ctx, agentRow("a", "openai:chat")), k.UpdateAgent(ctx, agentRow("a", "openai:models")),
		k.InsertAgent(ctx, agentRow("b")), k.InsertAgent(ctx, agentRow("c")),
		k.InsertToken(ctx, tokenRow("t1", "a")), k.InsertToken(ctx, tokenRow("t2", "a")), k.InsertToken(ctx, tokenRow("t3", "b")), k.InsertToken(ctx, tokenRow("t4", "c")),
		k.RevokeToken(ctx, "t1", start), k.RevokeAgent(ctx, "b", start), k.DeleteAgent(ctx, "c", start),
		k.PutCredential(ctx, secretRow(1)), k.PutCredential(ctx, secretRow(2)), k.PutCredential(ctx, secretRow(3)), k.PruneCredential(ctx, "sec_1", 2),
		k.PutImport(ctx, store.Import{Name: "OPENAI", Digest: []byte{1}}),
		k.PutException(ctx, exception), k.PutException(ctx, gone), k.DeleteException(ctx, "f2"),
		k.PutSettings(ctx, store.Settings{Text: []byte("x"), UpdatedAt: start}), k.DeleteSettings(ctx), k.PutSettings(ctx, store.Settings{Text: []byte("y"), UpdatedAt: start}),
		k.ApplyRewrap(ctx, store.Rewrap{KEK: other, Keys: []store.Key{{ID: "key1", KEKID: "kek2", WrappedKey: []byte{2}}}}),
	} {
		must(k.t, err)
	}
}

func TestWhatKeeperDidHoldsAtTheNextStart(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	for _, folder := range []string{k.killed(), dir} {
		if folder == dir {
			k.close()
		}
		again, err := open(t, folder, key, false)
		if err != nil {
			t.Fatal(err)
		}
		must(t, again.UpdateAgent(t.Context(), agentRow("a")))
		again.close()
	}
}

func TestWhatIsRefusedLeavesTheStateAsItWas(t *testing.T) {
	dir, key, ctx := t.TempDir(), newKey(t), t.Context()
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	for name, refused := range map[string][2]error{
		"an agent that exists":   {k.InsertAgent(ctx, agentRow("a")), store.ErrExists},
		"no agent":               {k.UpdateAgent(ctx, agentRow("x")), store.ErrNotFound},
		"no agent to revoke":     {k.RevokeAgent(ctx, "x", start), store.ErrNotFound},
		"no agent to delete":     {k.DeleteAgent(ctx, "x", start), store.ErrNotFound},
		"no token":               {k.RevokeToken(ctx, "x", start), store.ErrNotFound},
		"a version that exists":  {k.PutCredential(ctx, secretRow(3)), store.ErrExists},
		"no secret":              {k.DeleteCredential(ctx, "x"), store.ErrNotFound},
		"no exception":           {k.DeleteException(ctx, "x"), store.ErrNotFound},
		"a rewrap of no key row": {k.ApplyRewrap(ctx, store.Rewrap{KEK: store.KEK{ID: "kek3"}, Keys: []store.Key{{ID: "x"}}}), store.ErrNotFound},
	} {
		if !errors.Is(refused[0], refused[1]) {
			t.Errorf("%s: got %v, want %v", name, refused[0], refused[1])
		}
	}
	k.close()
	k, err = open(t, dir, key, false)
	must(t, err)
	k.close()
}

func TestChangesBehindKeepersBackAreNamed(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	k.close()
	for name, c := range map[string]struct{ sql, want string }{
		"a grant is widened":                   {`UPDATE agents SET scopes = '["*"]' WHERE id = 'a'`, `agent "a" was edited`},
		"a grant is put back":                  {`UPDATE agents SET scopes = '["openai:chat"]' WHERE id = 'a'`, `agent "a" was put back to what it was at entry`},
		"an agent is activated":                {`UPDATE agents SET status = 'active' WHERE id = 'b'`, `agent "b" was put back`},
		"an agent's secret is exchanged":       {`UPDATE agents SET secret_hash = x'02' WHERE id = 'a'`, `agent "a" was edited`},
		"an agent's last secret is good again": {`UPDATE agents SET old_secret_hash = x'02', old_secret_until = 4000000000000000000 WHERE id = 'a'`, `agent "a" was edited`},
		"an agent is added":                    {`INSERT INTO agents SELECT 'evil', name, github_user, status, scopes, secret_hash, created_at, updated_at, last_seen_at, old_secret_hash, old_secret_until FROM agents WHERE id = 'a'`, `agent "evil" was added`},
		"an agent is deleted":                  {`DELETE FROM agents WHERE id = 'a'`, `agent "a" was deleted`},
		"a revocation is taken back":           {`UPDATE tokens SET revoked_at = 0 WHERE jti = 't1'`, `revocations "a" was deleted`},
		"a revocation is deleted":              {`DELETE FROM tokens WHERE jti = 't3'`, `revocations "b" was deleted`},
		"a secret's version is deleted":        {`DELETE FROM credentials WHERE version = 3`, `secret "sec_1/3" was deleted`},
		"a secret's version is edited":         {`UPDATE credentials SET ciphertext = x'09' WHERE version = 3`, `secret "sec_1/3" was edited`},
		"a secret is opened to all":            {`UPDATE credentials SET restricted = 1 WHERE version = 3`, `secret "sec_1/3" was edited`},
		"a key is put back":                    {`UPDATE keys SET state = 'previous' WHERE id = 'key1'`, `key "key1" was edited`},
		"a vault key is current no more":       {`UPDATE keks SET current = 0`, `vault key "kek2" was edited`},
		"an import is forgotten":               {`DELETE FROM imports`, `import "OPENAI" was deleted`},
		"the log is emptied":                   {`DELETE FROM audit; DELETE FROM audit_nodes; DELETE FROM audit_checkpoints`, `agent "a" was added`},
		"an exception is prolonged":            {`UPDATE exceptions SET expires_at = expires_at + 3600000000000`, `exception "f1" was edited`},
		"shared settings are edited":           {`UPDATE settings SET text = x'7a'`, `config "shared" was edited`},
		"shared settings are dropped":          {`DELETE FROM settings`, `config "shared" was deleted`},
	} {
		folder := t.TempDir()
		must(t, os.CopyFS(filepath.Join(folder, "d"), os.DirFS(dir)))
		folder = filepath.Join(folder, "d")
		must(t, os.Chmod(folder, 0o700))
		raw, err := sql.Open("sqlite", filepath.Join(folder, "keeper.db"))
		must(t, err)
		done, err := raw.Exec(c.sql)
		must(t, err)
		if n, _ := done.RowsAffected(); n == 0 {
			t.Errorf("%s: changed nothing", name)
		}
		must(t, raw.Close())
		if _, err := open(t, folder, key, false); !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		accepted, err := open(t, folder, key, true)
		if err != nil {
			t.Errorf("%s, accepted: %v", name, err)
			continue
		}
		found, err := accepted.log.Entries(t.Context(), store.AuditFilter{Event: "state.accepted", Limit: 10})
		if err != nil || len(found.Entries) != 1 || found.Entries[0].Risk != 2 {
			t.Errorf("%s, accepted: got %d entries and %v, want one of risk 2", name, len(found.Entries), err)
		}
		accepted.close()
		again, err := open(t, folder, key, false)
		if err != nil {
			t.Errorf("%s, after it was accepted: %v", name, err)
			continue
		}
		again.close()
	}
}

// A kill may come before a change that is recorded is made, or before it is signed.
func TestAKillAmidAChangeIsNoTampering(t *testing.T) {
	for name, brittle := range map[string]func(k *keeper, kill func() error){
		"recorded, not made": func(k *keeper, kill func() error) { k.rows.before = kill },
		"made, not signed":   func(k *keeper, kill func() error) { k.rows.after = kill },
	} {
		key := newKey(t)
		k, err := open(t, t.TempDir(), key, false)
		must(t, err)
		k.fill()
		var folder string
		brittle(k, func() error {
			_, err := k.log.Checkpoint(t.Context()) // one may be due at any moment
			folder = k.killed()
			return err
		})
		must(t, k.UpdateAgent(t.Context(), agentRow("a", "github:read")))
		k.close()
		for range 2 {
			again, err := open(t, folder, key, false)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			again.close()
		}
	}
}

// Whoever verifies the folder of a keeper that runs sees no tampering where it changes
// rows meanwhile.
func TestRowsThatChangeWhileTheyAreVerifiedAreNoTampering(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	verifier, err := audit.NewVerifier(key.Public())
	must(t, err)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := k.UpdateAgent(context.Background(), agentRow("a", fmt.Sprintf("openai:p%d", i))); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 50 {
		db, err := sqlite.OpenToRead(t.Context(), dir)
		must(t, err)
		head, err := db.LastCheckpoint(t.Context())
		must(t, err)
		c, err := audit.OpenCheckpoint(head.Note, verifier)
		must(t, err)
		if err := anchor.Verify(t.Context(), db, db, c.State, true); err != nil {
			t.Errorf("got %v, want no tampering", err)
		}
		must(t, db.Close())
	}
	close(stop)
	must(t, <-done)
	k.close()
}

// Rows are edited while keeper runs, and a change of others, or one that fails, must not
// carry that into the log.
func TestAChangeTakesOverNoRowsThatWereEditedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		sql    string
		change func(k *keeper) error
	}{
		"a grant": {
			`UPDATE agents SET scopes = '["*"]' WHERE id = 'b'`,
			func(k *keeper) error { return k.UpdateAgent(k.t.Context(), agentRow("a", "github:read")) },
		},
		"a revocation of the same agent": {
			`UPDATE tokens SET revoked_at = 0 WHERE jti = 't1'`,
			func(k *keeper) error { return k.RevokeToken(k.t.Context(), "t2", start) },
		},
		"a grant, and a change that fails": {
			`UPDATE agents SET scopes = '["*"]' WHERE id = 'b'`,
			func(k *keeper) error {
				k.rows.before = func() error { return errors.New("disk") }
				return errors.Join(k.UpdateAgent(k.t.Context(), agentRow("a", "github:read")), k.PutImport(k.t.Context(), store.Import{Name: "X", Digest: []byte{2}}))
			},
		},
	} {
		dir, key := t.TempDir(), newKey(t)
		k, err := open(t, dir, key, false)
		must(t, err)
		k.fill()
		raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
		must(t, err)
		_, err = raw.Exec(c.sql)
		must(t, errors.Join(err, raw.Close()))
		if err := c.change(k); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrTampered)
		}
		k.close()
		if _, err := open(t, dir, key, false); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s, at the next start: got %v, want %v", name, err, audit.ErrTampered)
		}
	}
}

// Heads are deleted so that changes seem not to have been made when keeper was killed.
func TestOldChangesAreNotTakenBackByDeletingSignedHeads(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	_, err = k.log.Checkpoint(t.Context())
	must(t, err)
	size := k.log.Signed()
	must(t, errors.Join(k.RevokeToken(t.Context(), "t2", start), k.UpdateAgent(t.Context(), agentRow("a", "github:read"))))
	k.close()
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	must(t, err)
	_, err = raw.Exec(fmt.Sprintf(`DELETE FROM audit_checkpoints WHERE size > %d; UPDATE tokens SET revoked_at = 0 WHERE jti = 't2'`, size))
	must(t, errors.Join(err, raw.Close()))
	if _, err := open(t, dir, key, false); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("got %v, want %v", err, audit.ErrTampered)
	}
}

func TestAFailedChangeIsTakenBackInTheLog(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	broken := errors.New("disk")
	k.rows.before = func() error { return broken }
	if err := k.UpdateAgent(t.Context(), agentRow("a", "*")); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	k.rows.before = nil
	must(t, k.UpdateAgent(t.Context(), agentRow("b", "github:read")))
	k.close()
	again, err := open(t, dir, key, false)
	must(t, err)
	again.close()
}

// Rows of tokens that expired go, with the revocations that they hold.
func TestPrunedRevocationsAreNoTampering(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	k, err := open(t, dir, key, false)
	must(t, err)
	k.fill()
	if n, err := k.PruneTokens(t.Context(), start.Add(30*time.Minute)); n != 0 || err != nil {
		t.Errorf("before they expire: got %d and %v, want none", n, err)
	}
	if n, err := k.PruneTokens(t.Context(), start.Add(2*time.Hour)); n != 4 || err != nil {
		t.Errorf("after they expired: got %d and %v, want 4", n, err)
	}
	late := tokenRow("t9", "a")
	late.ExpiresAt = start.Add(9 * time.Hour)
	must(t, k.InsertToken(t.Context(), late))
	must(t, k.RevokeToken(t.Context(), "t9", start))
	for _, folder := range []string{k.killed(), dir} {
		if folder == dir {
			k.close()
		}
		again, err := open(t, folder, key, false)
		must(t, err)
		again.close()
	}
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	must(t, err)
	_, err = raw.Exec("DELETE FROM tokens")
	must(t, errors.Join(err, raw.Close()))
	if _, err := open(t, dir, key, false); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("a revocation that counts is deleted: got %v, want %v", err, audit.ErrTampered)
	}
}
