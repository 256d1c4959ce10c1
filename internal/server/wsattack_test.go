package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

// rawAgent writes the bytes of its choice.
type rawAgent struct {
	net.Conn
	*socketTest
	in *bufio.Reader
}

// raw connects and asks for a WebSocket; ahead is sent in the same write, before
// the answer. The answer is read where it switches protocols.
func (s *socketTest) raw(ahead []byte, lines ...string) (*rawAgent, *http.Response) {
	s.t.Helper()
	at, err := url.Parse(s.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", at.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if lines == nil {
		lines = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	}
	head := "GET /api/v1/proxy/openai" + realtime + " HTTP/1.1\r\nHost: " + at.Host + "\r\nAuthorization: Bearer " + s.token + "\r\n" +
		strings.Join(lines, "\r\n") + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), ahead...)); err != nil {
		s.t.Fatal(err)
	}
	a := &rawAgent{conn, s, bufio.NewReader(conn)}
	resp, err := http.ReadResponse(a.in, &http.Request{Method: "GET"})
	if err != nil {
		s.t.Fatalf("the handshake: got %v, want an answer", err)
	}
	return a, resp
}

// masked is a frame of an agent's.
func masked(op ws.OpCode, fin bool, payload string) []byte {
	f := ws.NewFrame(op, fin, []byte(payload))
	return ws.MustCompileFrame(ws.MaskFrame(f))
}

// next is the next frame, unfragmented as keeper sends them.
func (a *rawAgent) next() (ws.OpCode, string) {
	a.t.Helper()
	h, err := ws.ReadHeader(a.in)
	if err != nil {
		return 0, err.Error()
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(a.in, payload); err != nil {
		return 0, err.Error()
	}
	a.Capture("a frame", payload)
	if h.Masked || !h.Fin || h.Rsv != 0 {
		a.t.Errorf("got a frame with masked %v, fin %v, rsv %d, want a whole one in clear", h.Masked, h.Fin, h.Rsv)
	}
	return h.OpCode, string(payload)
}

// closing is the code and reason of the close frame that comes next.
func (a *rawAgent) closing() (int, string) {
	a.t.Helper()
	op, payload := a.next()
	if op != ws.OpClose || len(payload) < 2 {
		a.t.Fatalf("got frame %v %q, want a close frame with a code", op, payload)
	}
	return int(binary.BigEndian.Uint16([]byte(payload))), payload[2:]
}

func TestFramesThatBreakTheProtocolCloseTheWebSocket(t *testing.T) {
	big := make([]byte, 8)
	binary.BigEndian.PutUint64(big, 1<<62)
	msb := make([]byte, 8)
	binary.BigEndian.PutUint64(msb, 1<<63)
	rsv := masked(ws.OpText, true, "hello")
	rsv[0] |= 0x40
	s := newSocketTest(t, nil, keepertest.Configured(func(c *server.Config) { c.MaxMessageBytes = 8 << 10 }))
	calls := 0
	for name, one := range map[string]struct {
		frames []byte
		code   int
	}{
		"unmasked":                      {ws.MustCompileFrame(ws.NewTextFrame([]byte("hello"))), 1002},
		"reserved bit":                  {rsv, 1002},
		"reserved opcode":               {masked(3, true, "hello"), 1002},
		"reserved control opcode":       {masked(0xb, true, "hello"), 1002},
		"fragmented ping":               {masked(ws.OpPing, false, "a"), 1002},
		"long ping":                     {masked(ws.OpPing, true, strings.Repeat("a", 126)), 1002},
		"continuation of nothing":       {masked(ws.OpContinuation, true, "hello"), 1002},
		"message within a message":      {bytes.Join([][]byte{masked(ws.OpText, false, "a"), masked(ws.OpText, true, "b")}, nil), 1002},
		"invalid UTF-8":                 {masked(ws.OpText, true, "ab\xc3"), 1007},
		"invalid UTF-8 over fragments":  {bytes.Join([][]byte{masked(ws.OpText, false, "ab\xc3"), masked(ws.OpContinuation, true, "z")}, nil), 1007},
		"length of 4 EiB":               {append([]byte{0x81, 0xff}, big...), 1009},
		"length with the top bit":       {append([]byte{0x81, 0xff}, msb...), 1002},
		"close of one byte":             {masked(ws.OpClose, true, "\x03"), 1002},
		"close with 1005":               {masked(ws.OpClose, true, "\x03\xed"), 1002},
		"close with 1016":               {masked(ws.OpClose, true, "\x03\xf8"), 1002},
		"close with 999":                {masked(ws.OpClose, true, "\x03\xe7"), 1002},
		"close reason of invalid UTF-8": {masked(ws.OpClose, true, "\x03\xe8\xc3"), 1007},
		"fragments over the limit":      {bytes.Join([][]byte{masked(ws.OpText, false, strings.Repeat("a ", 4<<10)), masked(ws.OpContinuation, true, "b")}, nil), 1009},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := s.raw(nil)
			frames := one.frames
			if strings.HasPrefix(name, "length") {
				frames = append(frames, 1, 2, 3, 4)
			}
			a.Write(frames)
			if code, reason := a.closing(); code != one.code || !strings.HasPrefix(reason, "keeper: ") {
				t.Errorf("got closed with %d %q, want %d and keeper's sentence", code, reason, one.code)
			}
			<-s.ended
			if n := len(s.received); n != 0 {
				t.Errorf("the provider got %d messages, want none", n)
			}
			calls++
			all := s.AwaitAudit(t, "event=proxy.response", calls)
			if got := all[len(all)-1].Details; got["code"] != "bad_request" && got["code"] != "body_too_large" {
				t.Errorf("outcome: got %v, want why", got)
			}
		})
	}
}

func TestSecretOverFragmentsAndPingsStaysBehind(t *testing.T) {
	key := fake.NewKey("github")
	s := newSocketTest(t, nil)
	a, _ := s.raw(nil)
	a.Write(bytes.Join([][]byte{
		masked(ws.OpPing, true, key), masked(ws.OpText, false, key[:10]), masked(ws.OpPing, true, "between"), masked(ws.OpContinuation, true, key[10:]),
	}, nil))
	op, payload := a.next()
	for op == ws.OpPong { // what the agent gets back is its own
		op, payload = a.next()
	}
	if op != ws.OpClose || !strings.Contains(payload, "rule github-pat") {
		t.Errorf("got frame %v %q, want it closed for the secret", op, payload)
	}
	<-s.ended
	if n := len(s.received); n != 0 {
		t.Errorf("the provider got %d messages, want none", n)
	}
}

func TestPayloadsOfPingsDoNotPass(t *testing.T) {
	pinged := make(chan string, 4)
	ponged := make(chan string, 4)
	s := newSocketTest(t, nil)
	s.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			OnPingReceived: func(_ context.Context, p []byte) bool { pinged <- string(p); return true },
			OnPongReceived: func(_ context.Context, p []byte) { ponged <- string(p) },
		})
		if err != nil {
			return
		}
		go conn.Ping(r.Context())
		_, _, err = conn.Read(r.Context())
		s.ended <- err
	})
	a, _ := s.raw(nil)
	a.Write(masked(ws.OpPing, true, "what only the agent knows"))
	for range 2 {
		switch op, payload := a.next(); op {
		case ws.OpPong:
			if payload != "what only the agent knows" {
				t.Errorf("pong: got %q, want the agent's own payload", payload)
			}
		case ws.OpPing:
			a.Write(masked(ws.OpPong, true, payload))
		default:
			t.Errorf("got frame %v %q, want a ping and a pong", op, payload)
		}
	}
	if got := <-pinged; strings.Contains(got, "agent") {
		t.Errorf("the provider got ping %q, want nothing of the agent's", got)
	}
	if got := <-ponged; got != "1" {
		t.Errorf("the provider got pong %q, want its own payload", got)
	}
	a.Write(masked(ws.OpClose, true, "\x03\xe8"))
	<-s.ended
}

func TestSecretInACloseReasonIsNotPassedOn(t *testing.T) {
	key := fake.NewKey("github")
	s := newSocketTest(t, nil)
	a, _ := s.raw(nil)
	a.Write(masked(ws.OpClose, true, "\x03\xe8"+key))
	if code, reason := a.closing(); code != 1008 || !strings.Contains(reason, "github-pat") {
		t.Errorf("got closed with %d %q, want 1008 for the secret", code, reason)
	}
	if err := <-s.ended; strings.Contains(err.Error(), key[6:]) {
		t.Error("the provider got the reason")
	}
}

func TestSecretInAProvidersCloseReasonIsRedacted(t *testing.T) {
	var key string
	s := newSocketTest(t, func(_ context.Context, conn *websocket.Conn) error {
		return conn.Close(websocket.StatusInternalError, "key "+key[:min(100, len(key))])
	})
	key = fake.NewKey("github")
	s.Canary().Plant("the provider's", key)
	conn := s.connect()
	if code, reason := s.closed(conn); code != websocket.StatusInternalError || reason != "key [REDACTED:github-pat]" {
		t.Errorf("got %d %q, want 1011 and the reason redacted", code, reason)
	}
}

func TestMessagesBeforeTheAnswerAreScannedAsAllOthers(t *testing.T) {
	key := fake.NewKey("github")
	s := newSocketTest(t, nil)
	a, resp := s.raw(append(masked(ws.OpText, true, "early"), masked(ws.OpText, true, "with "+key)...))
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %d, want 101", resp.StatusCode)
	}
	op, payload := a.next()
	if op == ws.OpText && payload == "early" {
		op, payload = a.next()
	}
	if op != ws.OpClose || !strings.Contains(payload, "github-pat") {
		t.Errorf("got frame %v %q, want it closed for the secret", op, payload)
	}
	<-s.ended
	if n := len(s.received); n != 1 {
		t.Errorf("the provider got %d messages, want the clean one", n)
	}
}

func TestUpgradesOtherThanToAWebSocketAreNotPassedOn(t *testing.T) {
	s := newSocketTest(t, nil)
	all := s.Token(t, "all", "openai:*")
	s.token = all
	s.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" || r.Header.Get("Connection") != "" {
			t.Errorf("the provider was asked to switch: %v", r.Header)
		}
		io.WriteString(w, "plain")
	})
	key := "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	for name, one := range map[string]struct {
		lines  []string
		status int
	}{
		"h2c":                     {[]string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"}, 200},
		"h2c or websocket":        {[]string{"Connection: Upgrade", "Upgrade: h2c, websocket", key}, 200},
		"without Connection":      {[]string{"Upgrade: websocket", "Sec-WebSocket-Version: 13", key}, 200},
		"with a body":             {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key, "Content-Length: 5"}, 400},
		"with a chunked body":     {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key, "Transfer-Encoding: chunked"}, 400},
		"another version":         {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", key}, 400},
		"no key":                  {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"}, 400},
		"two keys":                {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key, key}, 400},
		"a key of another length": {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: aGVsbG8="}, 400},
	} {
		body := "hello"
		if strings.Contains(name, "chunked") {
			body = "5\r\nhello\r\n0\r\n\r\n"
		}
		_, resp := s.raw([]byte(body), one.lines...)
		if resp.StatusCode != one.status {
			t.Errorf("%s: got %d, want %d", name, resp.StatusCode, one.status)
		}
		if one.status == 400 && resp.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: got no Sec-WebSocket-Version, want 13", name)
		}
	}
}

// switching answers a handshake by hand.
func switching(s *socketTest, lines func(accept string) string, then func(net.Conn)) {
	s.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n%s\r\n", lines(base64.StdEncoding.EncodeToString(sum[:])))
		if then != nil {
			then(conn)
		}
	})
}

func TestSwitchesThatWereNotAskedForAreRefused(t *testing.T) {
	s := newSocketTest(t, nil)
	for name, lines := range map[string]func(string) string{
		"to another protocol": func(a string) string { return "Upgrade: h2c\r\nSec-WebSocket-Accept: " + a + "\r\n" },
		"with a wrong key": func(string) string {
			return "Upgrade: websocket\r\nSec-WebSocket-Accept: aGVsbG8gdGhlcmUgaGVsbG8gdGhlcmU=\r\n"
		},
		"without a key": func(string) string { return "Upgrade: websocket\r\n" },
		"with an extension": func(a string) string {
			return "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: " + a + "\r\n"
		},
		"with a subprotocol": func(a string) string {
			return "Upgrade: websocket\r\nSec-WebSocket-Protocol: other\r\nSec-WebSocket-Accept: " + a + "\r\n"
		},
	} {
		switching(s, lines, nil)
		_, resp := s.raw(nil)
		if resp.StatusCode != http.StatusBadGateway || resp.Header.Get("Keeper-Code") != "upstream_invalid" {
			t.Errorf("%s: got %d %s, want 502 upstream_invalid", name, resp.StatusCode, resp.Header.Get("Keeper-Code"))
		}
	}
}

func TestProviderThatBreaksTheProtocolOrOffClosesTheAgentsSide(t *testing.T) {
	s := newSocketTest(t, nil)
	for name, frames := range map[string][]byte{
		"masked":        masked(ws.OpText, true, "hello"),
		"invalid UTF-8": ws.MustCompileFrame(ws.NewTextFrame([]byte("\xff"))),
		"broken off":    nil,
		"half a frame":  {0x81, 0x05, 'h'},
	} {
		switching(s, func(a string) string { return "Upgrade: websocket\r\nSec-WebSocket-Accept: " + a + "\r\n" }, func(c net.Conn) { c.Write(frames) })
		a, _ := s.raw(nil)
		if code, reason := a.closing(); code != 1011 || !strings.HasPrefix(reason, "keeper: the provider") {
			t.Errorf("%s: got closed with %d %q, want 1011 and keeper's sentence", name, code, reason)
		}
		s.wantOutcome("failed", "upstream_invalid")
	}
}

func TestSilentSideIsTakenForGone(t *testing.T) {
	quiet := make(chan struct{})
	s := newSocketTest(t, nil, keepertest.Configured(func(c *server.Config) { c.IdlePing = 20 * time.Millisecond }))
	switching(s, func(a string) string { return "Upgrade: websocket\r\nSec-WebSocket-Accept: " + a + "\r\n" }, func(net.Conn) { <-quiet })
	conn := s.connect()
	s.wantClosed(conn, websocket.StatusInternalError, "the provider broke")
	close(quiet)
}

func TestAgentThatHangsUpLeavesTheProvider(t *testing.T) {
	s := newSocketTest(t, nil)
	a, _ := s.raw(nil)
	a.Write(masked(ws.OpText, true, "hello"))
	a.next()
	a.Conn.Close()
	if err := <-s.ended; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the provider was left with %v, want 1001", err)
	}
	s.wantOutcome("agent_gone", "agent_gone")
}

func TestRevocationEndsAWebSocketWhoseAgentDoesNotRead(t *testing.T) {
	flooded := make(chan struct{})
	s := newSocketTest(t, func(ctx context.Context, conn *websocket.Conn) error {
		message := bytes.Repeat([]byte("plain words "), 5000)
		for n := 0; ; n++ {
			if n == 20 {
				close(flooded)
			}
			if err := conn.Write(ctx, websocket.MessageText, message); err != nil {
				return err
			}
		}
	})
	a, _ := s.raw(nil)
	if tcp, ok := a.Conn.(*net.TCPConn); ok {
		tcp.SetReadBuffer(4 << 10)
	}
	<-flooded
	if status, _ := s.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"token": s.token}); status != http.StatusOK {
		t.Fatalf("revoking: got %d", status)
	}
	if err := <-s.ended; err == nil {
		t.Error("the provider was not left")
	}
	s.wantOutcome("cut", "token_revoked")
}
