package server_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
)

func TestSharedSettingsThatCannotBeTakenOverStopAStart(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		own := *c
		c.Reread = func([]byte) (server.Config, error) { return own, nil }
	}))
	if status, answer := k.Admin(t, http.MethodPut, "/settings", map[string]any{"text": "limits: {}"}); status != http.StatusOK {
		t.Fatalf("PUT /settings: got %d %v, want 200", status, answer)
	}
	k.Stop(t)
	start := func(accept bool) error {
		s, err := server.Start(t.Context(), server.Config{
			DataDir: k.DataDir(), Addr: "127.0.0.1:0", AcceptStore: accept,
			Reread: func(shared []byte) (server.Config, error) {
				return server.Config{}, errors.New("limits.tomorrow: unknown key")
			},
		})
		if err == nil {
			err = s.Stop(t.Context())
		}
		return err
	}
	if err := start(false); err == nil || !strings.Contains(err.Error(), "limits.tomorrow") || !strings.Contains(err.Error(), "--accept-store") {
		t.Errorf("a keeper that cannot take them over: got %v, want an error with the reason and the mend", err)
	}
	if err := start(true); err != nil {
		t.Errorf("the same, accepted by the operator: got %v, want it to serve", err)
	}
}
