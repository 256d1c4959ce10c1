package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

func key(id string, state store.KeyState) store.Key {
	return store.Key{
		ID:         id,
		Purpose:    "signing",
		State:      state,
		Public:     []byte{3, 0, 1},
		KEKID:      "k1",
		WrappedKey: []byte{4, 0, 1},
		Ciphertext: []byte{5, 0, 1},
		CreatedAt:  now().UTC(),
		StateAt:    now().UTC().Add(time.Second),
	}
}

func kek(id string, current bool) store.KEK {
	return store.KEK{
		ID:        id,
		Kind:      "passphrase",
		Salt:      []byte{6, 0},
		Passes:    3,
		MemoryKiB: 64 * 1024,
		Lanes:     4,
		Check:     []byte{7, 0},
		Current:   current,
		CreatedAt: now().UTC(),
	}
}

// rewrapped is what a database holds before a rewrap, and the rewrap.
func rewrapped(t *testing.T, b *bench) store.Rewrap {
	t.Helper()
	ok(t, "PutKEK", b.PutKEK(t.Context(), kek("k1", true)))
	ok(t, "PutKeys", b.PutKeys(t.Context(), []store.Key{key("s1", store.Current), key("s2", store.Next)}))
	putCredentials(t, b, credential("c", 1), credential("c", 2))
	r := store.Rewrap{KEK: kek("k2", true)}
	for _, c := range []store.Credential{credential("c", 1), credential("c", 2)} {
		c.KEKID, c.WrappedKey = "k2", append(c.WrappedKey, 'n')
		r.Credentials = append(r.Credentials, c)
	}
	for _, k := range []store.Key{key("s1", store.Current), key("s2", store.Next)} {
		k.KEKID, k.WrappedKey = "k2", append(k.WrappedKey, 'n')
		r.Keys = append(r.Keys, k)
	}
	return r
}

// refusesRewrap checks that r is refused and changes nothing.
func refusesRewrap(t *testing.T, b *bench, r store.Rewrap) {
	t.Helper()
	if err := b.ApplyRewrap(t.Context(), r); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ApplyRewrap: got %v, want %v", err, store.ErrNotFound)
	}
	same(t, "key-encryption keys", read(t, b.KEKs), []store.KEK{kek("k1", true)})
	same(t, "credentials", read(t, b.Credentials), []store.Credential{credential("c", 1), credential("c", 2)})
	same(t, "keys", read(t, b.Keys), []store.Key{key("s1", store.Current), key("s2", store.Next)})
}

var keyTests = map[string]func(*testing.T, *bench){
	"keys come back as they were put and are replaced by id": func(t *testing.T, b *bench) {
		ok(t, "PutKeys", b.PutKeys(t.Context(), []store.Key{key("s2", store.Next), key("s1", store.Current)}))
		same(t, "keys", read(t, b.Keys), []store.Key{key("s1", store.Current), key("s2", store.Next)})
		ok(t, "PutKeys", b.PutKeys(t.Context(), []store.Key{key("s1", store.Previous), key("s3", store.Next)}))
		same(t, "keys", read(t, b.Keys),
			[]store.Key{key("s1", store.Previous), key("s2", store.Next), key("s3", store.Next)})
		ok(t, "PutKeys of none", b.PutKeys(t.Context(), nil))
	},
	"one key-encryption key is current": func(t *testing.T, b *bench) {
		ok(t, "PutKEK", b.PutKEK(t.Context(), kek("k1", true)))
		ok(t, "PutKEK", b.PutKEK(t.Context(), kek("k3", false)))
		same(t, "key-encryption keys", read(t, b.KEKs), []store.KEK{kek("k1", true), kek("k3", false)})
		ok(t, "PutKEK", b.PutKEK(t.Context(), kek("k2", true)))
		same(t, "key-encryption keys", read(t, b.KEKs),
			[]store.KEK{kek("k1", false), kek("k2", true), kek("k3", false)})
		ok(t, "PutKEK again", b.PutKEK(t.Context(), kek("k2", true)))
		same(t, "key-encryption keys", read(t, b.KEKs),
			[]store.KEK{kek("k1", false), kek("k2", true), kek("k3", false)})
	},
	"a rewrap changes what wraps and nothing that is wrapped": func(t *testing.T, b *bench) {
		r := rewrapped(t, b)
		wantCredentials, wantKeys := r.Credentials, r.Keys
		r.Credentials = []store.Credential{
			{ID: "c", Version: 1, KEKID: "k2", WrappedKey: wantCredentials[0].WrappedKey},
			{ID: "c", Version: 2, KEKID: "k2", WrappedKey: wantCredentials[1].WrappedKey},
		}
		r.Keys = []store.Key{
			{ID: "s1", KEKID: "k2", WrappedKey: wantKeys[0].WrappedKey},
			{ID: "s2", KEKID: "k2", WrappedKey: wantKeys[1].WrappedKey},
		}
		r.KEK.Current = false // it becomes current all the same
		ok(t, "ApplyRewrap", b.ApplyRewrap(t.Context(), r))
		same(t, "key-encryption keys", read(t, b.KEKs), []store.KEK{kek("k1", false), kek("k2", true)})
		same(t, "credentials", read(t, b.Credentials), wantCredentials)
		same(t, "keys", read(t, b.Keys), wantKeys)
	},
	"a rewrap with an unknown credential changes nothing": func(t *testing.T, b *bench) {
		r := rewrapped(t, b)
		r.Credentials[1].Version = 3
		refusesRewrap(t, b, r)
	},
	"a rewrap with an unknown key changes nothing": func(t *testing.T, b *bench) {
		r := rewrapped(t, b)
		r.Keys[1].ID = "s3"
		refusesRewrap(t, b, r)
	},
}
