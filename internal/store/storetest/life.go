package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

var lifeTests = map[string]func(*testing.T, *bench){
	"a new database is empty": func(t *testing.T, b *bench) {
		same(t, "agents", len(read(t, b.Agents)), 0)
		same(t, "credentials", len(read(t, b.Credentials)), 0)
		same(t, "keys", len(read(t, b.Keys)), 0)
		same(t, "key-encryption keys", len(read(t, b.KEKs)), 0)
		same(t, "imports", len(read(t, b.Imports)), 0)
		same(t, "exceptions", len(read(t, b.Exceptions)), 0)
		totals, err := b.AuditTotals(t.Context())
		ok(t, "AuditTotals", err)
		same(t, "totals", totals, store.AuditTotals{})
	},
	"a database that can be written answers a ping": func(t *testing.T, b *bench) {
		ok(t, "Ping", b.Ping(t.Context()))
		ok(t, "second Ping", b.Ping(t.Context()))
	},
	"everything is there after close and reopen": func(t *testing.T, b *bench) {
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
		ok(t, "InsertToken", b.InsertToken(t.Context(), token("j", "a")))
		ok(t, "RevokeToken", b.RevokeToken(t.Context(), "j", now()))
		ok(t, "PutCredential", b.PutCredential(t.Context(), credential("c", 1)))
		ok(t, "PutKEK", b.PutKEK(t.Context(), kek("k1", true)))
		ok(t, "PutKeys", b.PutKeys(t.Context(), []store.Key{key("s", store.Current)}))
		ok(t, "PutImport", b.PutImport(t.Context(), store.Import{Name: "N", Digest: []byte{1}}))
		ok(t, "PutException", b.PutException(t.Context(), exception("f")))
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), entries(1, 3)))
		b.reopen(t)
		same(t, "agents", read(t, b.Agents), []store.Agent{inUTC(agent("a"))})
		got, err := b.Token(t.Context(), "j")
		ok(t, "Token", err)
		same(t, "revoked at", got.RevokedAt, now().UTC())
		same(t, "credentials", read(t, b.Credentials), []store.Credential{credential("c", 1)})
		same(t, "key-encryption keys", read(t, b.KEKs), []store.KEK{kek("k1", true)})
		same(t, "keys", read(t, b.Keys), []store.Key{key("s", store.Current)})
		same(t, "imports", read(t, b.Imports), []store.Import{{Name: "N", Digest: []byte{1}}})
		same(t, "exceptions", read(t, b.Exceptions), []store.Exception{exception("f")})
		sameEntries(t, search(t, b, store.AuditFilter{Limit: 10}), newestFirst(entries(1, 3)))
	},
	"a call whose context has ended changes nothing": func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.InsertAgent(ctx, agent("a")); !errors.Is(err, context.Canceled) {
			t.Errorf("InsertAgent: got %v, want %v", err, context.Canceled)
		}
		if err := b.AppendAudit(ctx, entries(1, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("AppendAudit: got %v, want %v", err, context.Canceled)
		}
		same(t, "agents", len(read(t, b.Agents)), 0)
		same(t, "entries", len(search(t, b, store.AuditFilter{Limit: 10})), 0)
	},
	"a closed database refuses": func(t *testing.T, b *bench) {
		ok(t, "Close", b.Close())
		ok(t, "second Close", b.Close())
		_, agentsErr := b.Agents(t.Context())
		_, entriesErr := b.AuditEntries(t.Context(), store.AuditFilter{Limit: 1})
		for name, err := range map[string]error{
			"Ping":         b.Ping(t.Context()),
			"InsertAgent":  b.InsertAgent(t.Context(), agent("a")),
			"AppendAudit":  b.AppendAudit(t.Context(), entries(1, 1)),
			"Agents":       agentsErr,
			"AuditEntries": entriesErr,
		} {
			if err == nil {
				t.Errorf("%s after Close: got no error, want one", name)
			}
		}
	},
	"a time is kept to the nanosecond, and never stays never": func(t *testing.T, b *bench) {
		a := agent("a")
		a.UpdatedAt = time.Date(1970, 1, 1, 0, 0, 0, 1, time.UTC)
		a.LastSeenAt = time.Time{}
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), a))
		got := read(t, b.Agents)[0]
		same(t, "created at", got.CreatedAt, now().UTC())
		same(t, "updated at", got.UpdatedAt, a.UpdatedAt)
		same(t, "last seen at", got.LastSeenAt, time.Time{})
	},
	"imports are replaced by name": func(t *testing.T, b *bench) {
		for _, i := range []store.Import{
			{Name: "B", Digest: []byte{1}}, {Name: "A", Digest: []byte{2}}, {Name: "B", Digest: []byte{3}},
		} {
			ok(t, "PutImport", b.PutImport(t.Context(), i))
		}
		same(t, "imports", read(t, b.Imports),
			[]store.Import{{Name: "A", Digest: []byte{2}}, {Name: "B", Digest: []byte{3}}})
	},
}
