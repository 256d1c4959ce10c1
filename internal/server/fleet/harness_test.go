package fleet_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
)

// TestOneKeeperLosesEachOfItsGroundsAndComesBack takes from one keeper what the tests
// beside this one take from several.
func TestOneKeeperLosesEachOfItsGroundsAndComesBack(t *testing.T) {
	server := newCluster(t)
	f := newFleet(t, server.database())
	line := newLine(t, f.database)
	k := f.add("a", by(line.address))
	token, doomed := k.token("agent"), k.token("doomed")
	k.expect("a call", token, http.StatusOK)
	if got := k.revoke(doomed); got.status != http.StatusOK {
		t.Fatalf("revoking: got %v, want 200", got)
	}
	k.expect("a call with a revoked token", doomed, http.StatusUnauthorized)

	s := k.stream(token)
	s.gate.Open()
	if body, err := k.end(s); err != nil || toldOf(body, err) {
		t.Errorf("a stream: got %q, %v; want a clean end", body, err)
	}
	load := f.load(k)
	load.await(t, 20)
	s = k.stream(token)
	k.kill()
	if _, err := k.end(s); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream of a keeper that was killed ended with %v, want %v", err, io.ErrUnexpectedEOF)
	}
	k.start()
	w := k.watch(token)
	w.await(http.StatusOK)
	for _, fault := range []fault{drop, hold, reset} {
		line.set(fault)
		w.await(http.StatusServiceUnavailable)
		line.set(pass)
		w.await(http.StatusOK)
	}
	for _, trouble := range []struct{ begin, end func() }{{server.freeze, server.thaw}, {server.restart, func() {}}, {server.kill, server.start}} {
		trouble.begin()
		trouble.end()
		w.await(http.StatusOK)
	}
	load.stop()
	w.stop()
	k.freeze()
	k.thaw()
	k.stop()
	k.start()
	k.expect("a call with a revoked token, after it all", doomed, http.StatusUnauthorized)
	found := f.prove(k, load.requests())
	if got := found.outcomes[s.request]; len(got) != 1 || got[0] != "unknown" {
		t.Errorf("outcomes of the stream whose keeper was killed: got %v, want unknown", got)
	}
}
