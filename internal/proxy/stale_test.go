package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
)

// lose has the keeper lose its store.
func (h *harness) lose() {
	h.lost.Store(true)
	h.auth.CutAll(auth.ErrStale)
}

func TestKeeperThatLostItsStoreLetsNoTokenIn(t *testing.T) {
	h := start(t, ok)
	cached, other := h.token("openai:chat"), h.token("openai:chat")
	if a := h.chat(cached, hello); a.status != 200 {
		t.Fatalf("before: got %d %s", a.status, a.body)
	}
	h.requests = nil
	h.lose()
	for what, token := range map[string]string{"a token that was let in before": cached, "another one": other} {
		a := h.chat(token, hello)
		h.wantRefusal(a, 503, "store_unavailable")
		if got := a.header.Get("Retry-After"); got != "1" {
			t.Errorf("%s: got Retry-After %q, want 1", what, got)
		}
	}
	h.lost.Store(false)
	if a := h.chat(cached, hello); a.status != 200 {
		t.Errorf("afterwards: got %d %s", a.status, a.body)
	}
}

func TestKeeperThatLosesItsStoreEndsStreams(t *testing.T) {
	for path, want := range map[string]string{
		"openai/v1/chat/completions":                                  `"code":"store_unavailable"`,
		"anthropic/v1/messages":                                       `"type":"error","error":{"type":"api_error"`,
		"gemini/v1beta/models/gemini-2.0-flash:streamGenerateContent": `"error":{"code":503`,
	} {
		t.Run(strings.Split(path, "/")[0], func(t *testing.T) {
			h := start(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, "data: {\"a\":\"one\"}\n\n")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			resp, err := http.DefaultClient.Do(h.request("POST", path, h.token("*"), hello))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			h.lose()
			body, err := io.ReadAll(resp.Body)
			if err == nil || !strings.Contains(string(body), "one") || !strings.Contains(string(body), want) {
				t.Errorf("got %v and %q, want an error event with %s, and an abort", err, body, want)
			}
			h.wantAudit("proxy.request", "proxy.response store_unavailable")
		})
	}
}

func TestStoreLostDuringAnUploadIsAnswered(t *testing.T) {
	h := start(t, ok)
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/proxy/openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+
		"Content-Length: 100\r\nAuthorization: Bearer %s\r\n\r\n", h.token("openai:chat"))
	answers := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; { // 100 Continue: the body is being read
		if line, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	h.lose()
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("got %v, want an answer", err)
	}
	if got := resp.Header.Get("Keeper-Code"); resp.StatusCode != 503 || got != "store_unavailable" {
		t.Errorf("got %d %s, want 503 store_unavailable", resp.StatusCode, got)
	}
	h.wantAudit("proxy.request store_unavailable")
}

// Whoever notices first: no credential is put on a call once the store is lost.
func TestStoreLostBeforeTheCredentialIsOnSendsNothing(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	h.vault.chosen = func() { h.lost.Store(true) }
	h.wantRefusal(h.chat(token, hello), 503, "store_unavailable")
	h.wantAudit("proxy.request", "proxy.response store_unavailable")
}

func TestVaultWithoutItsSecretsIsAStoreLost(t *testing.T) {
	dropped := fmt.Errorf("no secrets: %w", auth.ErrStale)
	for step, set := range map[string]func(*testVault){
		"choosing":  func(v *testVault) { v.chooseErr = dropped },
		"injecting": func(v *testVault) { v.injectErr = errors.Join(dropped) },
	} {
		t.Run(step, func(t *testing.T) {
			h := start(t, ok)
			set(h.vault)
			h.wantRefusal(h.chat(h.token("openai:chat"), hello), 503, "store_unavailable")
		})
	}
}

func TestStoreLostByACallThatIsLongInEndingIsAnswered(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	h.vault.chosen = func() {
		h.lose()
		<-time.After(time.Second) // on a machine that has many calls to end
	}
	h.wantRefusal(h.chat(token, hello), 503, "store_unavailable")
}
