package server_test

import (
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
)

func rotate(t *testing.T, k *keepertest.Keeper, purpose string) {
	t.Helper()
	if status, body := k.Admin(t, http.MethodPost, "/keys/rotate", map[string]any{"purpose": purpose}); status != http.StatusOK {
		t.Fatalf("rotating %s: got %d %v, want 200", purpose, status, body)
	}
}

// underLoad has three callers call, none of whom may fail, until stop is called.
func underLoad(t *testing.T, k *keepertest.Keeper, token string) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var running sync.WaitGroup
	for range 3 {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusOK {
					t.Errorf("call: got %d %s, want 200", got.Status, got.Body)
				}
			}
		})
	}
	return func() {
		close(done)
		running.Wait()
	}
}

func TestEveryRotationUnderLoadFailsNoCall(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat")
	stop := underLoad(t, k, token)
	for range 3 {
		for _, purpose := range []string{"signing", "vault", "ca", "audit", "fingerprint", "import"} {
			rotate(t, k, purpose)
		}
	}
	stop()
	status, body := k.Admin(t, http.MethodGet, "/keys", nil)
	if status != http.StatusOK {
		t.Fatalf("keys: got %d, want 200", status)
	}
	states := map[string]int{}
	for _, key := range body["keys"].([]any) {
		one := key.(map[string]any)
		states[one["purpose"].(string)+" "+one["state"].(string)]++
	}
	for state, want := range map[string]int{"ca current": 1, "ca next": 1, "ca previous": 1, "signing current": 1, "signing next": 1, "audit current": 1, "audit retired": 3, "fingerprint current": 1, "fingerprint retired": 3, "import current": 1, "import retired": 3, "vault current": 1} {
		if states[state] != want {
			t.Errorf("keys that are %s: got %d of %v, want %d", state, states[state], states, want)
		}
	}
	k.Restart(t)
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusOK {
		t.Errorf("call after a restart: got %d, want 200", got.Status)
	}
	k.Stop(t)
	isSound(t, k.DataDir())
}

// authorities are those that clients are told to trust.
func authorities(t *testing.T, k *keepertest.Keeper) (text string, count int) {
	t.Helper()
	resp, err := http.Get(k.URL() + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), strings.Count(string(b), "BEGIN CERTIFICATE")
}

func TestAuthorityIsTrustedBeforeItIssuesAndAfter(t *testing.T) {
	k := keepertest.Start(t)
	takes := func(pem string) bool {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(pem))
		made, err := k.Server().Certificate("api.openai.com")
		if err != nil {
			t.Fatal(err)
		}
		_, err = made.Leaf.Verify(x509.VerifyOptions{DNSName: "api.openai.com", Roots: roots})
		return err == nil
	}
	first, n := authorities(t, k)
	if n != 1 || !takes(first) {
		t.Fatalf("at first: got %d authorities, want one that is trusted", n)
	}
	rotate(t, k, "ca")
	both, n := authorities(t, k)
	if n != 2 || !takes(first) || !takes(both) {
		t.Errorf("announced: got %d authorities, want two, and certificates by the first still", n)
	}
	k.Restart(t)
	if again, _ := authorities(t, k); again != both {
		t.Error("after a restart the authorities are others")
	}
	rotate(t, k, "ca")
	after, n := authorities(t, k)
	if n != 2 || takes(first) || !takes(both) || !takes(after) {
		t.Errorf("in force: got %d authorities, want two, and certificates by the second", n)
	}
	rotate(t, k, "ca")
	rotate(t, k, "ca")
	if last, n := authorities(t, k); n != 2 || strings.Contains(last, first) {
		t.Errorf("two rotations on: got %d authorities, want two without the first", n)
	}
}

func TestAdminTokensOverlap(t *testing.T) {
	dir := t.TempDir()
	s, err := server.Start(t.Context(), server.Config{DataDir: dir, Addr: "127.0.0.1:0", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	token := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "admin.token"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	ask := func(method, path, token, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/api/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	old := token()
	if got := ask(http.MethodPost, "/keys/rotate", old, `{"purpose":"admin"}`); got != http.StatusOK {
		t.Fatalf("rotating: got %d, want 200", got)
	}
	now := token()
	if now == old {
		t.Error("the file holds the old token")
	}
	for name, one := range map[string]string{"old": old, "new": now} {
		if got := ask(http.MethodGet, "/status", one, ""); got != http.StatusOK {
			t.Errorf("with the %s token: got %d, want 200", name, got)
		}
	}
}
