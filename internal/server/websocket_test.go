package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

const realtime = "/v1/realtime?model=gpt-realtime"

// socketTest is a keeper whose provider speaks WebSocket.
type socketTest struct {
	*keepertest.Keeper
	t        *testing.T
	token    string
	received chan string // the messages that the provider got
	ended    chan error  // how it was left, once for each connection
}

// newSocketTest starts one. say is what the provider does with a connection; nil
// sends everything back.
func newSocketTest(t *testing.T, say func(context.Context, *websocket.Conn) error, opts ...keepertest.Option) *socketTest {
	t.Helper()
	s := &socketTest{t: t, received: make(chan string, 4096), ended: make(chan error, 64)}
	s.Keeper = keepertest.Start(t, opts...)
	s.token = s.Token(t, "worker", "openai:realtime")
	if say == nil {
		say = s.echo
	}
	s.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}, CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			s.ended <- err
			return
		}
		conn.SetReadLimit(-1)
		s.ended <- say(r.Context(), conn)
		conn.CloseNow()
	})
	return s
}

func (s *socketTest) echo(ctx context.Context, conn *websocket.Conn) error {
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		s.received <- string(message)
		if err := conn.Write(ctx, kind, message); err != nil {
			return err
		}
	}
}

// dial connects an agent; pairs are further headers.
func (s *socketTest) dial(pairs ...string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{}
	h.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(pairs); i += 2 {
		h.Del(pairs[i])
		if pairs[i+1] != "" {
			h.Set(pairs[i], pairs[i+1])
		}
	}
	protocols := strings.FieldsFunc(h.Get("Sec-WebSocket-Protocol"), func(r rune) bool { return r == ',' })
	h.Del("Sec-WebSocket-Protocol")
	conn, resp, err := websocket.Dial(s.t.Context(), s.ProxyURL("openai")+realtime, &websocket.DialOptions{
		HTTPHeader: h, Subprotocols: protocols, CompressionMode: websocket.CompressionContextTakeover,
	})
	if conn != nil {
		conn.SetReadLimit(-1)
		s.t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, resp, err
}

func (s *socketTest) connect(pairs ...string) *websocket.Conn {
	s.t.Helper()
	conn, _, err := s.dial(pairs...)
	if err != nil {
		s.t.Fatalf("connecting: got %v, want a WebSocket", err)
	}
	return conn
}

func (s *socketTest) send(conn *websocket.Conn, kind websocket.MessageType, message string) {
	s.t.Helper()
	if err := conn.Write(s.t.Context(), kind, []byte(message)); err != nil {
		s.t.Fatalf("sending: got %v, want no error", err)
	}
}

func (s *socketTest) want(conn *websocket.Conn, kind websocket.MessageType, message string) {
	s.t.Helper()
	got, read, err := conn.Read(s.t.Context())
	s.Capture("a message", read)
	if err != nil || got != kind || string(read) != message {
		s.t.Errorf("got %v of %d bytes %.80q, %v, want %v of %d bytes %.80q", got, len(read), read, err, kind, len(message), message)
	}
}

// closed reads on until the connection ends, and returns code and reason.
func (s *socketTest) closed(conn *websocket.Conn) (websocket.StatusCode, string) {
	for {
		_, message, err := conn.Read(s.t.Context())
		s.Capture("a message", message)
		var end websocket.CloseError
		if errors.As(err, &end) {
			return end.Code, end.Reason
		}
		if err != nil {
			return -1, err.Error()
		}
	}
}

func (s *socketTest) wantClosed(conn *websocket.Conn, code websocket.StatusCode, says string) {
	s.t.Helper()
	if got, reason := s.closed(conn); got != code || !strings.HasPrefix(reason, "keeper: ") || !strings.Contains(reason, says) {
		s.t.Errorf("got closed with %d %q, want %d and keeper's sentence with %q", got, reason, code, says)
	}
}

// outcome is the details of the one call's outcome.
func (s *socketTest) outcome() map[string]any {
	s.t.Helper()
	return s.AwaitAudit(s.t, "event=proxy.response", 1)[0].Details
}

func (s *socketTest) wantOutcome(outcome, code string) map[string]any {
	s.t.Helper()
	got := s.outcome()
	if got["outcome"] != outcome || got["code"] != code && (code != "" || got["code"] != nil) {
		s.t.Errorf("outcome: got %v %v, want %s %s", got["outcome"], got["code"], outcome, code)
	}
	return got
}

func TestMessagesOfAWebSocketPassBothWaysAsTheyAre(t *testing.T) {
	s := newSocketTest(t, nil)
	conn, resp, err := s.dial("Sec-Websocket-Protocol", "")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Keeper-Request-Id") == "" || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("answer: got %v, want a request id and no extension", resp.Header)
	}
	for _, message := range []string{"hello there", "", `{"type":"session.update"}`, strings.Repeat("plain words ", 20_000), "internationalization"} {
		s.send(conn, websocket.MessageText, message)
		s.want(conn, websocket.MessageText, message)
	}
	for _, message := range []string{"\x00\xff\xfe", "", strings.Repeat("\x01\x80", 1<<20)} {
		s.send(conn, websocket.MessageBinary, message)
		s.want(conn, websocket.MessageBinary, message)
	}
}

func TestCredentialGoesIntoTheHandshakeAndTheAgentsOwnStaysBehind(t *testing.T) {
	s := newSocketTest(t, nil)
	conn := s.connect("OpenAI-Beta", "realtime=v1", "X-Forwarded-For", "10.1.2.3")
	s.send(conn, websocket.MessageText, "hello")
	s.want(conn, websocket.MessageText, "hello")
	got := s.Provider().Last()
	if !got.Authorized || got.Header.Get("Openai-Beta") != "realtime=v1" || got.RawQuery != "model=gpt-realtime" {
		t.Errorf("the handshake: got authorized %v, %v, want the credential and the agent's headers", got.Authorized, got.Header)
	}
	if got.Header.Get("X-Forwarded-For") != "" || got.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Errorf("the handshake: got %v, want neither an address nor an extension", got.Header)
	}
	conn.Close(4321, "done here")
	var end websocket.CloseError
	if err := <-s.ended; !errors.As(err, &end) || end.Code != 4321 || end.Reason != "done here" {
		t.Errorf("the provider was left with %v, want 4321 and the agent's reason", err)
	}
	traffic, _ := s.wantOutcome("complete", "")["traffic"].(map[string]any)
	if traffic["messagesSent"] != 1.0 || traffic["messagesReceived"] != 1.0 || traffic["requestBytes"] != 5.0 || traffic["closeCode"] != 4321.0 {
		t.Errorf("traffic: got %v, want one message each way and 4321", traffic)
	}
	decided := s.Audit(t, "event=proxy.request")[0]
	if decided.Details["stream"] != "websocket" || decided.Details["decision"] != "forward" {
		t.Errorf("decision: got %v, want it to say that messages stream", decided.Details)
	}
}

func TestTokenInTheSubprotocolIsTakenOff(t *testing.T) {
	s := newSocketTest(t, nil)
	for _, offered := range []string{"realtime,openai-insecure-api-key." + s.token, "openai-insecure-api-key." + s.token + ",realtime,openai-beta.realtime-v1"} {
		conn := s.connect("Authorization", "", "Sec-WebSocket-Protocol", offered)
		if conn.Subprotocol() != "realtime" {
			t.Errorf("got subprotocol %q, want realtime", conn.Subprotocol())
		}
		if got := s.Provider().Last(); !got.Authorized || strings.Contains(got.Header.Get("Sec-Websocket-Protocol"), "insecure") {
			t.Errorf("the provider got subprotocols %q, want no key among them", got.Header.Get("Sec-Websocket-Protocol"))
		}
	}
}

func TestCloseOfTheProviderReachesTheAgentAsItWas(t *testing.T) {
	s := newSocketTest(t, func(ctx context.Context, conn *websocket.Conn) error {
		conn.Write(ctx, websocket.MessageText, []byte("internationalization"))
		return conn.Close(websocket.StatusTryAgainLater, "come back later")
	})
	conn := s.connect()
	s.want(conn, websocket.MessageText, "internationalization")
	if code, reason := s.closed(conn); code != websocket.StatusTryAgainLater || reason != "come back later" {
		t.Errorf("got %d %q, want the provider's 1013", code, reason)
	}
	s.wantOutcome("complete", "")
}

func TestSecretInAMessageEndsTheWebSocketAndStaysBehind(t *testing.T) {
	key := fake.NewKey("github")
	for name, message := range map[string]string{
		"json":     `{"type":"conversation.item.create","item":{"content":[{"text":"it is ` + key + `"}]}}`,
		"text":     "token " + key,
		"base64":   `{"data":"` + base64.StdEncoding.EncodeToString([]byte("token "+key+" and more")) + `"}`,
		"hex":      `{"data":"` + hex.EncodeToString([]byte(key)) + `"}`,
		"binary":   "\x00\x01" + key + "\xff",
		"longtext": strings.Repeat("plain words ", 20_000) + key,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSocketTest(t, nil)
			s.Canary().Plant("the agent's", key)
			conn := s.connect()
			s.send(conn, websocket.MessageText, "clean")
			s.want(conn, websocket.MessageText, "clean")
			kind := websocket.MessageText
			if name == "binary" {
				kind = websocket.MessageBinary
			}
			s.send(conn, kind, message)
			s.wantClosed(conn, websocket.StatusPolicyViolation, "secret in message")
			if err := <-s.ended; err == nil {
				t.Error("the provider was not left")
			}
			if n := len(s.received); n != 1 {
				t.Errorf("the provider got %d messages, want the clean one alone", n)
			}
			id := s.Audit(t, "event=proxy.request")[0].RequestID
			if blocked := s.Audit(t, "event=scan.blocked&requestId="+id); len(blocked) != 1 || blocked[0].Risk != 2 {
				t.Errorf("scan.blocked: got %v, want one of the highest risk", blocked)
			}
			s.wantOutcome("cut", "secret_in_request")
		})
	}
}

func TestVaultValueSplitOverMessagesDoesNotArriveWhole(t *testing.T) {
	s := newSocketTest(t, nil)
	key := s.Provider().Key("anthropic")
	conn := s.connect()
	half := len(key) / 2
	for i, piece := range []string{key[:half], key[half:]} {
		conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"type":"input_text.delta","event_id":"e%d","delta":"%s"}`, i, piece))
	}
	s.wantClosed(conn, websocket.StatusPolicyViolation, "secret in message")
	<-s.ended
	if n := len(s.received); n > 1 {
		t.Errorf("the provider got %d pieces, want one at most", n)
	}
}

func TestSecretsInAnswersOfAWebSocketAreRedacted(t *testing.T) {
	var key string
	s := newSocketTest(t, func(ctx context.Context, conn *websocket.Conn) error {
		conn.Write(ctx, websocket.MessageText, []byte(`{"type":"item","text":"it is `+key+`!"}`))
		for i := range len(key)/8 + 1 {
			piece := key[min(len(key), i*8):min(len(key), i*8+8)]
			conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"response.text.delta","event_id":"e%d","delta":"%s"}`, i, piece))
		}
		conn.Write(ctx, websocket.MessageText, []byte(`{"type":"response.text.done","text":"all of `+key+`"}`))
		conn.Write(ctx, websocket.MessageBinary, []byte("\x00\xff clean"))
		conn.Write(ctx, websocket.MessageBinary, []byte("\x00"+key+"\xff"))
		_, _, err := conn.Read(ctx)
		return err
	})
	key = s.Provider().Key("openai")
	conn := s.connect()
	s.want(conn, websocket.MessageText, `{"type":"item","text":"it is [REDACTED:vault:openai]!"}`)
	for i := range len(key)/8 + 1 {
		piece := ""
		if i == 0 {
			piece = "[REDACTED:vault:openai]"
		}
		s.want(conn, websocket.MessageText, fmt.Sprintf(`{"type":"response.text.delta","event_id":"e%d","delta":"%s"}`, i, piece))
	}
	s.want(conn, websocket.MessageText, `{"type":"response.text.done","text":"all of [REDACTED:vault:openai]"}`)
	s.want(conn, websocket.MessageBinary, "\x00\xff clean")
	s.wantClosed(conn, websocket.StatusPolicyViolation, "binary message")
	s.wantOutcome("cut", "redaction_impossible")
}

func TestRevokedTokenClosesItsWebSockets(t *testing.T) {
	s := newSocketTest(t, nil)
	conn := s.connect()
	s.send(conn, websocket.MessageText, "hello")
	s.want(conn, websocket.MessageText, "hello")
	if status, _ := s.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"token": s.token}); status != http.StatusOK {
		t.Fatalf("revoking: got %d", status)
	}
	s.wantClosed(conn, websocket.StatusPolicyViolation, "revoked")
	<-s.ended
	s.wantOutcome("cut", "token_revoked")
}

func TestStoppingKeeperClosesItsWebSockets(t *testing.T) {
	s := newSocketTest(t, nil, keepertest.Configured(func(c *server.Config) { c.StopTimeout = time.Millisecond }))
	conn := s.connect()
	s.send(conn, websocket.MessageText, "hello")
	s.want(conn, websocket.MessageText, "hello")
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Stop(t) }()
	s.wantClosed(conn, websocket.StatusGoingAway, "stopping")
	<-stopped
}

func TestExpiredTokenClosesItsWebSockets(t *testing.T) {
	s := newSocketTest(t, nil)
	secret := s.AgentSecret(t, "worker", "openai:realtime")
	status, answer := s.Manage(t, http.MethodPost, "/auth/token", "", map[string]any{"agentId": "worker", "agentSecret": secret, "ttlHours": 2.0 / 3600})
	if status != http.StatusOK {
		t.Fatalf("a token for two seconds: got %d %v", status, answer)
	}
	conn := s.connect("Authorization", "Bearer "+answer["token"].(string))
	s.wantClosed(conn, websocket.StatusPolicyViolation, "expired")
	s.wantOutcome("cut", "token_expired")
}

func TestHandshakesThatAreRefusedReachNoProvider(t *testing.T) {
	s := newSocketTest(t, nil)
	reader := s.Token(t, "reader", "openai:read")
	key := fake.NewKey("github")
	s.Canary().Plant("the agent's", key)
	for name, one := range map[string]struct {
		pairs  []string
		status int
		code   string
	}{
		"no token":                {[]string{"Authorization", ""}, 401, "token_missing"},
		"a scope to read":         {[]string{"Authorization", "Bearer " + reader}, 403, "scope_denied"},
		"a secret in a header":    {[]string{"X-Note", key}, 403, "secret_in_request"},
		"a secret as subprotocol": {[]string{"Sec-WebSocket-Protocol", "realtime," + key}, 403, "secret_in_request"},
		"two different tokens":    {[]string{"Sec-WebSocket-Protocol", "openai-insecure-api-key." + reader}, 401, "token_invalid"},
	} {
		_, resp, err := s.dial(one.pairs...)
		if err == nil || resp == nil || resp.StatusCode != one.status || resp.Header.Get("Keeper-Code") != one.code {
			t.Errorf("%s: got %v, want %d %s", name, resp, one.status, one.code)
		}
	}
	if n := len(s.Provider().Requests()); n != 0 {
		t.Errorf("%d handshakes reached the provider, want none", n)
	}
}

func TestProviderThatDoesNotSwitchIsHandedOn(t *testing.T) {
	s := newSocketTest(t, nil)
	s.Provider().Handle("openai", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"error":{"message":"quota of `+s.Provider().Key("openai")+`"}}`)
	})
	_, resp, err := s.dial()
	if err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("got %v, %v, want the provider's 429", resp, err)
	}
	body, _ := io.ReadAll(resp.Body)
	if !bytes.Contains(body, []byte("[REDACTED:vault:openai]")) {
		t.Errorf("got %s, want it redacted", body)
	}
	s.wantOutcome("complete", "")
}

func TestProviderThatDoesNotReadHoldsTheAgentBackAndFillsNoMemory(t *testing.T) {
	release := make(chan struct{})
	s := newSocketTest(t, func(ctx context.Context, conn *websocket.Conn) error {
		<-release
		for n := 0; ; n++ {
			if _, _, err := conn.Read(ctx); err != nil {
				return fmt.Errorf("after %d: %w", n, err)
			}
		}
	})
	conn := s.connect()
	message := strings.Repeat("plain words ", 40_000)
	sent := make(chan int)
	go func() {
		n := 0
		for range 24 {
			if conn.Write(t.Context(), websocket.MessageText, []byte(message)) != nil {
				break
			}
			n++
		}
		sent <- n
	}()
	close(release)
	if n := <-sent; n != 24 {
		t.Errorf("got %d messages through, want 24", n)
	}
	conn.Close(websocket.StatusNormalClosure, "")
	if err := <-s.ended; !strings.HasPrefix(err.Error(), "after 24:") {
		t.Errorf("the provider got it %v, want 24 messages", err)
	}
}

func TestWebSocketsThroughTheProxyAreScannedToo(t *testing.T) {
	s := newSocketTest(t, nil)
	c := newProxied(t, s.Keeper, s.token)
	for _, h2 := range []bool{false, true} {
		conn, _, err := websocket.Dial(t.Context(), "wss://api.openai.com"+realtime, &websocket.DialOptions{HTTPClient: c.client(t, h2)})
		if err != nil {
			t.Fatalf("connecting: got %v, want a WebSocket", err)
		}
		s.send(conn, websocket.MessageText, "hello")
		s.want(conn, websocket.MessageText, "hello")
		s.send(conn, websocket.MessageText, "with "+fake.NewKey("github"))
		s.wantClosed(conn, websocket.StatusPolicyViolation, "github-pat")
		<-s.ended
	}
	for _, e := range s.AwaitAudit(t, "event=proxy.request", 2) {
		if e.Details["mode"] != "forward" || e.Details["stream"] != "websocket" {
			t.Errorf("decision: got %v, want a forwarded WebSocket", e.Details)
		}
	}
}
