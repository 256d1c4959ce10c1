package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

var settingsTests = map[string]func(*testing.T, *bench){
	"settings come back as they were put, also after a reopen": func(t *testing.T, b *bench) {
		first := store.Settings{Text: []byte("limits:\n  stop: 5s # “quoted”\n\x00"), UpdatedAt: now().UTC()}
		ok(t, "PutSettings", b.PutSettings(t.Context(), first))
		b.reopen(t)
		same(t, "settings", settings(t, b), first)
	},
	"settings take the place of those before": func(t *testing.T, b *bench) {
		ok(t, "PutSettings", b.PutSettings(t.Context(), store.Settings{Text: []byte("a: 1"), UpdatedAt: now()}))
		second := store.Settings{Text: []byte("b: 2"), UpdatedAt: now().UTC().Add(time.Hour)}
		ok(t, "PutSettings again", b.PutSettings(t.Context(), second))
		same(t, "settings", settings(t, b), second)
	},
	"settings that are not there, or no more, are not found": func(t *testing.T, b *bench) {
		noSettings(t, b)
		ok(t, "PutSettings", b.PutSettings(t.Context(), store.Settings{Text: []byte("a: 1"), UpdatedAt: now()}))
		ok(t, "DeleteSettings", b.DeleteSettings(t.Context()))
		noSettings(t, b)
	},
	"settings may be empty": func(t *testing.T, b *bench) {
		ok(t, "PutSettings", b.PutSettings(t.Context(), store.Settings{UpdatedAt: now()}))
		same(t, "length", len(settings(t, b).Text), 0)
	},
}

func settings(t *testing.T, b *bench) store.Settings {
	t.Helper()
	s, err := b.Settings(t.Context())
	ok(t, "Settings", err)
	return s
}

func noSettings(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.Settings(t.Context())
	for name, err := range map[string]error{"Settings": err, "DeleteSettings": b.DeleteSettings(t.Context())} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: got %v, want %v", name, err, store.ErrNotFound)
		}
	}
}
