package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
)

// rawFrame is a message as gRPC frames it.
func rawFrame(flag byte, message string) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...))
}

func gzipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	io.WriteString(w, text)
	w.Close()
	return out.String()
}

// callRaw sends a body of the caller's choice.
func (r *remoteTest) callRaw(transport http.RoundTripper, body io.Reader, pairs ...string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.Server().ProviderURL("acme")+"/grpc.testing.TestService/UnaryCall", body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + r.Token(r.t, "worker", "acme:write")}, "Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Add(pairs[i], pairs[i+1])
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("calling: got %v, want an answer", err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

// statusOf is gRPC's status, of the trailers or, where there are none, the headers.
func statusOf(resp *http.Response) (status, code string) {
	if resp.Trailer.Get("Grpc-Status") != "" {
		return resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Keeper-Code")
	}
	return resp.Header.Get("Grpc-Status"), resp.Header.Get("Keeper-Code")
}

func TestMessagesThatCannotBeScannedAreRefused(t *testing.T) {
	r := newRemoteTest(t, nil, keepertest.Configured(func(c *server.Config) { c.MaxMessageBytes = 64 << 10 }))
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	bomb := gzipped(strings.Repeat("a ", 1<<20))
	for name, one := range map[string]struct {
		body   string
		pairs  []string
		status string
		code   string
	}{
		"unknown encoding":       {rawFrame(1, "x"), []string{"Grpc-Encoding", "snappy"}, "12", "body_undecodable"},
		"two encodings":          {rawFrame(1, "x"), []string{"Grpc-Encoding", "gzip", "Grpc-Encoding", "identity"}, "3", "bad_request"},
		"a content-encoding":     {rawFrame(0, ""), []string{"Content-Encoding", "gzip"}, "3", "bad_request"},
		"two content types":      {rawFrame(0, ""), []string{"Content-Type", "application/json"}, "3", "bad_request"},
		"compressed unannounced": {rawFrame(1, gzipped("x")), nil, "3", "bad_request"},
		"compressed as identity": {rawFrame(1, gzipped("x")), []string{"Grpc-Encoding", "identity"}, "3", "bad_request"},
		"unknown flag":           {rawFrame(128, "x"), []string{"Grpc-Encoding", "gzip"}, "3", "bad_request"},
		"no gzip":                {rawFrame(1, "plain"), []string{"Grpc-Encoding", "gzip"}, "12", "body_undecodable"},
		"half of gzip":           {rawFrame(1, gzipped(strings.Repeat("x", 1000))[:20]), []string{"Grpc-Encoding", "gzip"}, "12", "body_undecodable"},
		"a bomb":                 {rawFrame(1, bomb), []string{"Grpc-Encoding", "gzip"}, "8", "body_too_large"},
		"a length of 4 GiB":      {"\x00\xff\xff\xff\xff", nil, "8", "body_too_large"},
		"half a head":            {"\x00\x00", nil, "12", "body_undecodable"},
		"half a message":         {rawFrame(0, "hello")[:7], nil, "12", "body_undecodable"},
	} {
		resp := r.callRaw(h2, strings.NewReader(one.body), one.pairs...)
		if status, code := statusOf(resp); resp.StatusCode != 200 || status != one.status || code != one.code {
			t.Errorf("%s: got %d, status %s %s, want %s %s", name, resp.StatusCode, status, code, one.status, one.code)
		}
	}
	resp := r.callRaw(http.DefaultTransport, strings.NewReader(rawFrame(0, "")))
	if status, code := statusOf(resp); status != "3" || code != "bad_request" {
		t.Errorf("over HTTP/1.1: got status %s %s, want 3 bad_request", status, code)
	}
	if n := len(r.Audit(t, "event=proxy.request")); n != 14 {
		t.Errorf("got %d decisions, want one for each call", n)
	}
}

func TestAnswerBeforeTheRequestHasEndedIsNotHeldUp(t *testing.T) {
	r := newRemoteTest(t, nil)
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	body, writer := io.Pipe()
	defer writer.Close()
	go writer.Write([]byte(rawFrame(0, "\xff\xff no message of protobuf's"))) // and nothing more
	resp := r.callRaw(h2, body)
	if status, code := statusOf(resp); status != "13" || code != "" {
		t.Errorf("got status %s %s, want the service's own 13", status, code)
	}
	r.AwaitAudit(t, "event=proxy.response", 1)
}
