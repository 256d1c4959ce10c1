package proxy_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestS3ClientsGetARefusalInXML(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("PUT", "objects/bucket/key", h.token("objects:*"), "x "+githubToken()))
	var said struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}
	if err := xml.Unmarshal([]byte(a.body), &said); err != nil || said.Code != "AccessDenied" || !strings.HasPrefix(said.Message, "keeper: ") || said.RequestID == "" {
		t.Errorf("got %v and %q", err, a.body)
	}
	if a.header.Get("Content-Type") != "application/xml" || a.header.Get("X-Should-Retry") != "false" {
		t.Errorf("got headers %v", a.header)
	}
	h.wantRefusal(a, 403, "secret_in_request")
}

func TestAWSClientsGetARefusalWithItsType(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("POST", "models/model/m/converse", h.token("openai:chat"), hello))
	var said struct{ Message string }
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || !strings.HasPrefix(said.Message, "keeper: ") {
		t.Errorf("got %v and %q", err, a.body)
	}
	if got := a.header.Get("X-Amzn-Errortype"); got != "AccessDeniedException" {
		t.Errorf("x-amzn-errortype: got %q, want AccessDeniedException", got)
	}
	h.wantRefusal(a, 403, "scope_denied")
}

func TestSlacksLogShowsTheSentence(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("POST", "slack/api/chat.postMessage", h.token("openai:chat"), hello))
	var said struct {
		Metadata struct{ Messages []string } `json:"response_metadata"`
	}
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || len(said.Metadata.Messages) != 1 || !strings.HasPrefix(said.Metadata.Messages[0], "[ERROR] keeper: ") {
		t.Errorf("got %v and %q, want the sentence among the messages", err, a.body)
	}
}

func TestGitGetsTheErrorOfAPackInItsOwnProtocol(t *testing.T) {
	h := start(t, ok)
	good, bad := h.token("github:*"), h.auth.Token(t, "agent-2", "openai:chat").Token
	for name, c := range map[string]struct {
		service, token, body, code string
		want                       func(sentence string) string
	}{
		"a push": {"git-receive-pack", good, "00b4" + githubToken() + " \x00 report-status side-band-64k", "secret_in_request",
			func(said string) string { return fmt.Sprintf("%04x\x03%s0000", len(said)+5, said) }},
		"a fetch": {"git-upload-pack", bad, "0000", "scope_denied",
			func(said string) string { return fmt.Sprintf("%04xERR %s", len(said)+8, said) }},
	} {
		r := h.request("POST", "github/o/r.git/"+c.service, c.token, c.body)
		r.Header.Set("Content-Type", "application/x-"+c.service+"-request")
		a := h.do(r)
		at := strings.Index(a.body, "keeper: ")
		if at < 0 {
			t.Fatalf("%s: got %q, want a sentence", name, a.body)
		}
		said := strings.TrimSuffix(a.body[at:], "0000")
		if a.body != c.want(said) || a.header.Get("Content-Type") != "application/x-"+c.service+"-result" {
			t.Errorf("%s: got %v and %q", name, a.header, a.body)
		}
		h.wantRefusal(a, 200, c.code)
	}
}

type rpcError struct {
	ID    any
	Error struct {
		Code    int
		Message string
	}
}

// TestMCPRequestsGetARefusalByTheirID also where the body was not read yet when
// the call was refused.
func TestMCPRequestsGetARefusalByTheirID(t *testing.T) {
	h := start(t, ok)
	good, bad := h.token("mcp:session"), h.auth.Token(t, "agent-2", "openai:chat").Token
	for name, c := range map[string]struct {
		token, body, code string
		id                any
	}{
		"a secret":             {good, `{"method":"tools/call","params":{"text":"` + githubToken() + `"},"jsonrpc":"2.0","id":7}`, "secret_in_request", 7.0},
		"a scope":              {bad, `{"method":"tools/list","jsonrpc":"2.0","id":"a-1"}`, "scope_denied", "a-1"},
		"no token":             {"", `{"method":"initialize","jsonrpc":"2.0","id":0}`, "token_missing", 0.0},
		"a token of another's": {"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrZWVwZXIifQ.AAAA", `{"method":"initialize","jsonrpc":"2.0","id":0}`, "token_invalid", 0.0},
	} {
		a := h.do(h.request("POST", "mcp/", c.token, c.body))
		var said rpcError
		if err := json.Unmarshal([]byte(a.body), &said); err != nil || said.ID != c.id || said.Error.Code != -32001 || !strings.HasPrefix(said.Error.Message, "keeper: ") {
			t.Errorf("%s: got %v and %q", name, err, a.body)
		}
		h.wantRefusal(a, 200, c.code)
	}
}

func TestAnMCPBatchGetsARefusalForEachOfItsRequests(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("POST", "mcp/", h.token("openai:chat"), ` [{"id":1,"method":"a"},{"method":"note"},{"id":"2","method":"b"},{"id":9,"result":{}}]`))
	var said []rpcError
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || len(said) != 2 || said[0].ID != 1.0 || said[1].ID != "2" {
		t.Errorf("got %v and %q, want the errors of 1 and 2", err, a.body)
	}
}

// TestWhatHasNoIDIsRefusedByItsStatus: nobody waits for an answer to it, or the
// id must not be sent back.
func TestWhatHasNoIDIsRefusedByItsStatus(t *testing.T) {
	h := start(t, ok)
	good, bad := h.token("mcp:session"), h.auth.Token(t, "agent-2", "openai:chat").Token
	for name, c := range map[string]struct {
		method, token, body string
	}{
		"a stream":       {"GET", bad, ""},
		"the end":        {"DELETE", bad, ""},
		"a notification": {"POST", bad, `{"jsonrpc":"2.0","method":"notifications/initialized"}`},
		"no JSON":        {"POST", bad, `{"id":1`},
		"an object":      {"POST", bad, `{"method":"x","id":{"a":1}}`},
		"a long id":      {"POST", bad, `{"method":"x","id":"` + strings.Repeat("a", 500) + `"}`},
		"a secret id":    {"POST", good, `{"method":"x","id":"` + githubToken() + `"}`},
		"too long":       {"POST", bad, `{"method":"x","id":1,"p":"` + strings.Repeat("a", 5<<20) + `"}`},
	} {
		a := h.do(h.request(c.method, "mcp/", c.token, c.body))
		if a.status != 403 || !strings.Contains(a.body, `"permission_error"`) || strings.Contains(a.body, "ghp_") {
			t.Errorf("%s: got %d %q, want 403 in the universal shape", name, a.status, a.body)
		}
	}
}

func TestAnMCPStreamThatIsCutAnswersItsRequest(t *testing.T) {
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: message\ndata: {\"method\":\"notifications/progress\"}\n\ndata: {\"half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	a := h.do(h.request("POST", "mcp/", h.token("mcp:session"), `{"method":"tools/call","jsonrpc":"2.0","id":3}`))
	last := a.body[strings.LastIndex(a.body, "data: ")+len("data: "):]
	var said rpcError
	if err := json.Unmarshal([]byte(strings.TrimSpace(last)), &said); err != nil || a.err == nil || said.ID != 3.0 || !strings.HasPrefix(said.Error.Message, "keeper: ") {
		t.Errorf("got %v and %q, want an error for 3 and an abort", a.err, a.body)
	}
}

// frame makes a frame of a binary event stream with no headers.
func frame(payload string) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(16+len(payload)))
	f = binary.BigEndian.AppendUint32(f, 0)
	f = binary.BigEndian.AppendUint32(f, crc32.ChecksumIEEE(f))
	f = append(f, payload...)
	return binary.BigEndian.AppendUint32(f, crc32.ChecksumIEEE(f))
}

// frames takes a stream apart, or says where it is none.
func frames(t *testing.T, stream []byte) (whole [][]byte) {
	t.Helper()
	for len(stream) > 0 {
		if len(stream) < 16 || int(binary.BigEndian.Uint32(stream)) > len(stream) {
			t.Fatalf("got a part of a frame after %d: %q", len(whole), stream)
		}
		n := binary.BigEndian.Uint32(stream)
		if crc32.ChecksumIEEE(stream[:n-4]) != binary.BigEndian.Uint32(stream[n-4:]) {
			t.Fatalf("frame %d: its checksum is wrong", len(whole))
		}
		whole, stream = append(whole, stream[:n]), stream[n:]
	}
	return whole
}

func TestABinaryEventStreamWithASecretEndsInAWholeErrorFrame(t *testing.T) {
	for name, tail := range map[string]func(h *harness) []byte{
		"a secret":     func(h *harness) []byte { return frame(`{"text":"` + h.vault.key + ` and more"}`) },
		"half a frame": func(*harness) []byte { return frame(`{"text":"hello again"}`)[:20] },
		"no frame":     func(*harness) []byte { return []byte("this is no frame at all, and never was") },
	} {
		var h *harness
		h = start(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
			for _, b := range append(frame(`{"text":"hello"}`), tail(h)...) {
				w.Write([]byte{b})
				w.(http.Flusher).Flush()
			}
		})
		a := h.do(h.request("POST", "models/model/m/converse-stream", h.token("models:*"), hello))
		got := frames(t, []byte(a.body))
		if len(got) != 2 || !bytes.Contains(got[0], []byte("hello")) || !bytes.Contains(got[1], []byte("keeper: ")) || !bytes.Contains(got[1], []byte(":error-message")) || a.err == nil {
			t.Errorf("%s: got %q and %v, want the first frame, an error's and an abort", name, got, a.err)
		}
		if strings.Contains(a.body, h.vault.key) {
			t.Errorf("%s: the secret passed", name)
		}
	}
}

func TestACleanBinaryEventStreamPassesFrameByFrame(t *testing.T) {
	sent := append(frame(`{"text":"hello"}`), frame(`{"text":"again"}`)...)
	next := make(chan struct{})
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		w.Write(sent[:len(sent)/2])
		w.(http.Flusher).Flush()
		<-next
		w.Write(sent[len(sent)/2:])
	})
	resp, err := http.DefaultClient.Do(h.request("POST", "models/model/m/converse-stream", h.token("models:*"), hello))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len(sent)/2)
	if _, err := io.ReadFull(resp.Body, first); err != nil || !bytes.Equal(first, sent[:len(sent)/2]) {
		t.Errorf("before the second: got %q and %v, want the first", first, err)
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(rest, sent[len(sent)/2:]) {
		t.Errorf("got %q and %v, want the second", rest, err)
	}
}
