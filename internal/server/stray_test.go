package server_test

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

// strayAnswers is a provider that sends the credential once more behind each
// answer, where nothing is expected.
func strayAnswers(t *testing.T) (url string, sent <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	closed := make(chan struct{}, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		from := bufio.NewReader(conn)
		r, err := http.ReadRequest(from)
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok%s", r.Header.Get("Authorization"))
		from.ReadByte() // keeper has looked at the rest and hangs up
		closed <- struct{}{}
	}()
	return "http://" + l.Addr().String(), closed
}

func TestWhatAProviderSendsOutOfTurnIsInNoLog(t *testing.T) {
	url, hungUp := strayAnswers(t)
	var standard strings.Builder
	log.SetOutput(&standard)
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.ProviderURLs["mistral"] = url }))
	k.Store(t, "mistral", "", fake.NewKey("generic"))
	if res := k.Call(t, http.MethodGet, "mistral", "/v1/models", k.Token(t, "caller", "mistral:*"), ""); string(res.Body) != "ok" {
		t.Fatalf("the call: got %d %q, want ok", res.Status, res.Body)
	}
	<-hungUp
	if standard.Len() > 0 {
		t.Errorf("the standard log: got %d bytes, want none", standard.Len())
	}
}
