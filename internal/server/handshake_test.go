package server_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

func TestWhatAStrangerSaysInAHandshakeIsInNoLog(t *testing.T) {
	leak, log := fake.NewKey("anthropic"), &sent{}
	pieces := keepertest.NewPieces()
	pieces.Plant("what the stranger said", leak)
	c := quiet(t.TempDir())
	c.TLS.OwnCA, c.Logger = true, slog.New(slog.NewTextHandler(log, nil))
	k := start(t, c)
	address := k.URL()[len("https://"):]

	_, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{leak}})
	if err == nil {
		t.Error("another protocol: got no error, want one")
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, ServerName: leak})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, leak[13:]+leak)
	io.Copy(io.Discard, conn)
	stop(t, k)
	if found := pieces.In(log.bytes()); found != nil {
		t.Errorf("the log holds pieces of %q:\n%s", found, log.bytes())
	}
}
