package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

func exception(fingerprint string) store.Exception {
	return store.Exception{
		Fingerprint: fingerprint,
		Rule:        "github-pat",
		Reason:      "a sample, “quoted”",
		CreatedBy:   "admin token",
		CreatedAt:   now().UTC(),
		ExpiresAt:   now().UTC().Add(24 * time.Hour),
		Seal:        []byte{8, 0, 1},
	}
}

var exceptionTests = map[string]func(*testing.T, *bench){
	"exceptions come back as they were put, sorted by fingerprint": func(t *testing.T, b *bench) {
		for _, fingerprint := range []string{"f2", "f1"} {
			ok(t, "PutException", b.PutException(t.Context(), exception(fingerprint)))
		}
		same(t, "exceptions", read(t, b.Exceptions), []store.Exception{exception("f1"), exception("f2")})
	},
	"an exception of a fingerprint that is there takes its place": func(t *testing.T, b *bench) {
		ok(t, "PutException", b.PutException(t.Context(), exception("f1")))
		ok(t, "PutException", b.PutException(t.Context(), exception("f2")))
		longer := exception("f1")
		longer.Reason, longer.CreatedBy, longer.Seal = "another", "ops", []byte{9}
		longer.CreatedAt, longer.ExpiresAt = longer.CreatedAt.Add(1), longer.ExpiresAt.Add(time.Hour)
		ok(t, "PutException again", b.PutException(t.Context(), longer))
		same(t, "exceptions", read(t, b.Exceptions), []store.Exception{longer, exception("f2")})
	},
	"a deleted exception is gone and the others stay": func(t *testing.T, b *bench) {
		ok(t, "PutException", b.PutException(t.Context(), exception("f1")))
		ok(t, "PutException", b.PutException(t.Context(), exception("f2")))
		ok(t, "DeleteException", b.DeleteException(t.Context(), "f1"))
		same(t, "exceptions", read(t, b.Exceptions), []store.Exception{exception("f2")})
	},
	"an unknown exception is not found": func(t *testing.T, b *bench) {
		ok(t, "PutException", b.PutException(t.Context(), exception("f1")))
		if err := b.DeleteException(t.Context(), "f2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DeleteException: got %v, want %v", err, store.ErrNotFound)
		}
		same(t, "exceptions", read(t, b.Exceptions), []store.Exception{exception("f1")})
	},
}
