package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// BenchmarkEcho sends messages of 1 KiB to an echo and back through a bare reverse
// proxy and through keeper, in one run: compare the two.
func BenchmarkEcho(b *testing.B) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	defer provider.Close()
	bare := bareProxy(b, provider.URL)
	keeper, token := benchKeeper(b, provider.URL)
	message := `{"type":"conversation.item.create","item":{"content":[{"type":"input_text","text":"` + strings.Repeat("plain words ", 76) + `."}]}}`
	b.Run("1KiB/reverseproxy", func(b *testing.B) { echo(b, bare+"/v1/responses", "", message) })
	b.Run("1KiB/keeper", func(b *testing.B) { echo(b, keeper+"/api/v1/proxy/openai/v1/responses", token, message) })
}

func echo(b *testing.B, address, token, message string) {
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	conn, _, err := websocket.Dial(context.Background(), address, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		b.Fatal(fmt.Errorf("connecting: %w", err))
	}
	defer conn.CloseNow()
	for b.Loop() {
		if err := conn.Write(context.Background(), websocket.MessageText, []byte(message)); err != nil {
			b.Fatal(err)
		}
		if _, read, err := conn.Read(context.Background()); err != nil || len(read) != len(message) {
			b.Fatalf("got %d bytes, %v", len(read), err)
		}
	}
}
