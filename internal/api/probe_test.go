package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
)

func (k *keeper) probe(path string) (status int, body string) {
	k.t.Helper()
	got := k.call("GET", "!"+path, "", "")
	return got.status, strings.TrimSpace(got.raw)
}

func TestReadyzNamesTheCheckThatFailsAndNoReason(t *testing.T) {
	t.Parallel()
	var broken atomic.Pointer[error]
	k := newKeeper(t, settings{ready: func(context.Context) error { return *broken.Load() }})
	for _, want := range []struct {
		err    error
		status int
		fails  string
	}{
		{nil, http.StatusOK, ""},
		{fmt.Errorf("/secret/folder: %w", api.ErrStopping), http.StatusServiceUnavailable, "draining"},
		{fmt.Errorf("/secret/folder: %w", audit.ErrUnavailable), http.StatusServiceUnavailable, "auditLog"},
		{fmt.Errorf("/secret/folder: %w", audit.ErrTampered), http.StatusServiceUnavailable, "auditLog"},
		{errors.New("/secret/folder is gone"), http.StatusServiceUnavailable, "store"},
	} {
		broken.Store(&want.err)
		status, body := k.probe("/readyz")
		if status != want.status || strings.Contains(body, "secret") {
			t.Errorf("%v: got %d %s, want %d and no reason", want.err, status, body, want.status)
		}
		for _, check := range []string{"draining", "auditLog", "store"} {
			if got := strings.Contains(body, fmt.Sprintf(`{"name":%q,"ok":false}`, check)); got != (check == want.fails) {
				t.Errorf("%v: got %s, want %q alone to fail", want.err, body, want.fails)
			}
		}
	}
}

func TestLivezIsNoReadyz(t *testing.T) {
	t.Parallel()
	var stuck atomic.Bool
	k := newKeeper(t, settings{
		ready: func(context.Context) error { return errBroken },
		alive: func(context.Context) error {
			if stuck.Load() {
				return errBroken
			}
			return nil
		},
	})
	if status, body := k.probe("/livez"); status != http.StatusOK {
		t.Errorf("while the store is broken: got %d %s, want 200", status, body)
	}
	stuck.Store(true)
	if status, body := k.probe("/livez"); status != http.StatusServiceUnavailable || strings.Contains(body, errBroken.Error()) {
		t.Errorf("while calls are stuck: got %d %s, want 503 and no reason", status, body)
	}
}
