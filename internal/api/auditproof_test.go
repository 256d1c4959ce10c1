package api_test

import (
	"encoding/base64"
	"strconv"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
)

// head reads the checkpoint of an answer as a verifier does.
func head(t *testing.T, a answer) audit.Checkpoint {
	t.Helper()
	verifier, err := note.NewVerifier(a.text("publicKey"))
	must(t, err)
	c, err := audit.OpenCheckpoint([]byte(a.text("checkpoint")), verifier)
	must(t, err)
	return c
}

func path(t *testing.T, a answer) (hashes []tlog.Hash) {
	t.Helper()
	for _, text := range a.body["path"].([]any) {
		b, err := base64.StdEncoding.DecodeString(text.(string))
		must(t, err)
		hashes = append(hashes, tlog.Hash(b))
	}
	return hashes
}

func TestEntriesAreProvenToWhoeverHasThePublicKey(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	reader := k.token("auditor", "keeper:audit")
	early := head(t, k.want(k.call("GET", "/audit/checkpoint", reader, ""), 200))
	for range 5 {
		k.want(k.call("GET", "/vault", k.admin, ""), 200)
	}
	entries := k.want(k.call("GET", "/audit", reader, ""), 200)
	for _, one := range entries.body["entries"].([]any) {
		id := one.(map[string]any)["id"].(string)
		a := k.want(k.call("GET", "/audit/proof?id="+id, reader, ""), 200)
		n, err := strconv.ParseInt(id, 10, 64)
		must(t, err)
		now := head(t, a)
		if err := tlog.CheckRecord(path(t, a), now.Size, now.Root, n-1, tlog.RecordHash([]byte(a.text("leaf")))); err != nil {
			t.Errorf("entry %s: %v", id, err)
		}
	}
	a := k.want(k.call("GET", "/audit/proof?from="+strconv.FormatInt(early.Size, 10), reader, ""), 200)
	now := head(t, a)
	if now.Size <= early.Size {
		t.Errorf("got a head of %d entries after one of %d", now.Size, early.Size)
	}
	if err := tlog.CheckTree(path(t, a), now.Size, now.Root, early.Size, early.Root); err != nil {
		t.Errorf("from %d: %v", early.Size, err)
	}
}

func TestProofsAreRefused(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for query, status := range map[string]int{"": 400, "?id=1&from=1": 400, "?id=x": 400, "?id=-1": 400, "?id=99999": 404, "?from=99999": 404} {
		if a := k.call("GET", "/audit/proof"+query, k.admin, ""); a.status != status {
			t.Errorf("%q: got %d (%s), want %d", query, a.status, a.raw, status)
		}
	}
	other := k.token("other", "keeper:read")
	for _, route := range []string{"/audit/checkpoint", "/audit/proof?id=1"} {
		k.want(k.call("GET", route, "", ""), 401, "token_missing")
		k.want(k.call("GET", route, other, ""), 403, "scope_denied")
	}
}
