package storetest

import (
	"errors"
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

func credential(id string, version int) store.Credential {
	return store.Credential{
		ID:            id,
		Version:       version,
		Provider:      "openai",
		Label:         "default",
		Restricted:    true,
		AllowedAgents: []string{"a", "b"},
		Source:        "api",
		KEKID:         "k1",
		WrappedKey:    []byte{1, 0, byte(version)},
		Ciphertext:    []byte{2, 0, 255, byte(version)},
		CreatedAt:     now().UTC(),
	}
}

func putCredentials(t *testing.T, b *bench, credentials ...store.Credential) {
	t.Helper()
	for _, c := range credentials {
		ok(t, "PutCredential", b.PutCredential(t.Context(), c))
	}
}

var credentialTests = map[string]func(*testing.T, *bench){
	"credentials come back as they were put, sorted by id and version": func(t *testing.T, b *bench) {
		putCredentials(t, b, credential("c", 10), credential("c", 2), credential("b", 1))
		same(t, "credentials", read(t, b.Credentials),
			[]store.Credential{credential("b", 1), credential("c", 2), credential("c", 10)})
	},
	"open to all and open to none stay apart": func(t *testing.T, b *bench) {
		all, none := credential("all", 1), credential("none", 1)
		all.Restricted, all.AllowedAgents, none.AllowedAgents = false, nil, nil
		putCredentials(t, b, all, none)
		got := read(t, b.Credentials)
		if got[0].Restricted || len(got[0].AllowedAgents) != 0 {
			t.Errorf("open to all: got restricted %v to %q, want unrestricted", got[0].Restricted, got[0].AllowedAgents)
		}
		if !got[1].Restricted || len(got[1].AllowedAgents) != 0 {
			t.Errorf("open to none: got restricted %v to %q, want restricted to none", got[1].Restricted, got[1].AllowedAgents)
		}
	},
	"a version that exists is refused and keeps its row": func(t *testing.T, b *bench) {
		putCredentials(t, b, credential("c", 1))
		other := credential("c", 1)
		other.Ciphertext = []byte("other")
		if err := b.PutCredential(t.Context(), other); !errors.Is(err, store.ErrExists) {
			t.Errorf("PutCredential: got %v, want %v", err, store.ErrExists)
		}
		same(t, "credentials", read(t, b.Credentials), []store.Credential{credential("c", 1)})
	},
	"deleting a credential removes all its versions and no other's": func(t *testing.T, b *bench) {
		putCredentials(t, b, credential("c", 1), credential("c", 2), credential("d", 1))
		ok(t, "DeleteCredential", b.DeleteCredential(t.Context(), "c"))
		same(t, "credentials", read(t, b.Credentials), []store.Credential{credential("d", 1)})
		if err := b.DeleteCredential(t.Context(), "c"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("second DeleteCredential: got %v, want %v", err, store.ErrNotFound)
		}
	},
	"pruning a credential keeps its newest versions": func(t *testing.T, b *bench) {
		putCredentials(t, b, credential("c", 1), credential("c", 3), credential("c", 7), credential("d", 1))
		ok(t, "PruneCredential", b.PruneCredential(t.Context(), "c", 2))
		want := []store.Credential{credential("c", 3), credential("c", 7), credential("d", 1)}
		same(t, "credentials", read(t, b.Credentials), want)
		ok(t, "PruneCredential of fewer", b.PruneCredential(t.Context(), "c", 5))
		ok(t, "PruneCredential of none", b.PruneCredential(t.Context(), "e", 1))
		same(t, "credentials", read(t, b.Credentials), want)
		if err := b.PruneCredential(t.Context(), "c", 0); err == nil {
			t.Error("PruneCredential keeping 0: got no error, want one")
		}
		same(t, "credentials", read(t, b.Credentials), want)
	},
}
