package fleet_test

import (
	"net/http"
	"testing"
	"time"
)

// refusesAll asserts that keeper refuses a token that it knows, one that it has not seen
// and the issue of another, so that callers know when to come back.
func (k *keeper) refusesAll(known, unseen, agent string) {
	k.t.Helper()
	for what, got := range map[string]answer{"a token that it knows": k.call(known), "a token that it has not seen": k.call(unseen)} {
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" {
			k.t.Errorf("%s at %s without a lease: got %v, Retry-After %q; want 503 and 1", what, k.name, got, got.header.Get("Retry-After"))
		}
	}
	if got := k.manage(http.MethodPost, "/auth/token", map[string]any{"agentId": agent}); got.status != http.StatusServiceUnavailable {
		k.t.Errorf("a token to be made at %s without a lease: got %v, want 503", k.name, got)
	}
}

func TestAKeeperThatIsCutOffServesUntilItsLeaseEndsAndHeals(t *testing.T) {
	for what, fault := range map[string]fault{"where packets are lost": drop, "where packets come late": hold} {
		t.Run(what, func(t *testing.T) { cutOff(t, fault) })
	}
}

func cutOff(t *testing.T, fault fault) {
	f := newFleet(t, newDatabase(t))
	line := newLine(t, f.database)
	a, b := f.add("a"), f.add("b", by(line.address))
	alive, doomed := a.token("alive"), a.token("doomed")
	unseen := a.issue("alive")
	load := f.load(a)
	ofAlive, ofDoomed := b.watch(alive), b.watch(doomed)
	ofAlive.await(http.StatusOK)
	ofDoomed.await(http.StatusOK)
	s := b.stream(alive)

	cut := time.Now()
	line.set(fault)
	eventually(t, "the keeper that is not cut off revokes", func() bool { // the server first ends what the other had begun
		return a.revoke(doomed).status == http.StatusOK
	})
	t.Logf("a token was revoked %v after the other keeper was cut off", time.Since(cut).Round(time.Millisecond))
	ofAlive.await(http.StatusServiceUnavailable)
	ofDoomed.await(http.StatusServiceUnavailable)
	if body, err := b.end(s); !toldOf(body, err) {
		t.Errorf("the stream of a keeper whose lease ended: got %q, %v; want an error event and no clean end", body, err)
	}
	b.refusesAll(alive, unseen, "alive")
	if accepted, _, _ := ofAlive.seen(); !accepted.After(cut) {
		t.Error("the keeper refused all from the moment that it was cut off, want it serving until its lease ends")
	}
	ofAlive.acceptedBy("cut off", cut.Add(*staleness))
	a.expect("a call at the keeper that is not cut off", alive, http.StatusOK)

	line.set(pass)
	ofAlive.await(http.StatusOK)
	ofDoomed.await(http.StatusUnauthorized)
	ofDoomed.acceptedBy("a token that was revoked meanwhile", cut.Add(*staleness))
	b.expect("a token that it had not seen, after it healed", unseen, http.StatusOK)
	ofAlive.stop()
	ofDoomed.stop()
	load.stop()
	found := f.prove(b, load.requests())
	if got := found.outcomes[s.request]; len(got) != 1 || got[0] != "cut" {
		t.Errorf("outcomes of the stream whose keeper lost its lease: got %v, want cut", got)
	}
}

// TestAKeeperThatWasSuspendedRefusesBeforeItKnowsWhatItMissed stops a keeper for longer
// than its lease: what it would say first is by what it knew before.
func TestAKeeperThatWasSuspendedRefusesBeforeItKnowsWhatItMissed(t *testing.T) {
	_, a, b := pair(t)
	doomed := a.token("doomed")
	w := b.watch(doomed)
	w.await(http.StatusOK)
	b.freeze()
	frozen := time.Now()
	eventually(t, "the keeper that goes on revokes", func() bool { return a.revoke(doomed).status == http.StatusOK })
	for time.Since(frozen) < *staleness+time.Second {
		time.Sleep(100 * time.Millisecond)
	}
	thawed := time.Now()
	b.thaw()
	w.await(http.StatusUnauthorized)
	w.acceptedBy("a token that was revoked meanwhile", thawed)
	w.stop()
}

func TestKeepersWhoseServerIsGoneRefuseAndComeBack(t *testing.T) {
	server := newCluster(t)
	f := newFleet(t, server.database())
	a, b := f.add("a"), f.add("b")
	token, doomed := a.token("agent"), a.token("doomed")
	unseen := a.issue("agent")
	load := f.load(a, b)
	watches := []*watch{a.watch(token), b.watch(token)}
	all := func(status int) {
		for _, w := range watches {
			w.await(status)
		}
	}
	all(http.StatusOK)
	server.freeze()
	stopped := time.Now()
	all(http.StatusServiceUnavailable)
	for _, w := range watches {
		w.acceptedBy("the server stands still", stopped.Add(*staleness))
		w.keeper.refusesAll(token, unseen, "agent")
	}
	server.thaw()
	all(http.StatusOK)
	eventually(t, "a revokes after the server went on", func() bool { return a.revoke(doomed).status == http.StatusOK })
	b.expectRefusedWithin(*staleness, doomed)
	server.restart()
	all(http.StatusOK)
	for _, w := range watches {
		w.stop()
	}
	load.stop()
	f.prove(b, load.requests())
}

func TestNothingThatWasAcknowledgedIsLostWhenTheServerIsKilledUnderLoad(t *testing.T) {
	server := newCluster(t)
	f := newFleet(t, server.database())
	a, b := f.add("a"), f.add("b")
	load := f.load(a, b)
	var revoked []string
	for _, v := range victims(a, *rounds*5) {
		b.expectSoon("a call before its revocation", v.token, http.StatusOK)
		load.await(t, 10)
		done := make(chan answer, 1)
		go func() { done <- v.revoke(a) }() // in the midst of which the server may be killed
		if len(revoked)%5 == 4 {
			server.kill()
			server.start()
		}
		if got := <-done; got.status == http.StatusOK {
			revoked = append(revoked, v.token)
		}
	}
	server.kill()
	server.start()
	load.await(t, 20)
	load.stop()
	for _, k := range f.keepers {
		for _, token := range revoked {
			k.expectSoon("a revoked token, after it all", token, http.StatusUnauthorized)
		}
	}
	if len(revoked) == 0 {
		t.Error("no revocation was acknowledged")
	}
	f.prove(b, load.requests())
}

// expectSoon is expect where keeper may have no lease at present.
func (k *keeper) expectSoon(what, token string, want int) {
	k.t.Helper()
	var got answer
	eventually(k.t, what+" gets an answer at "+k.name, func() bool {
		got = k.call(token)
		return got.status != http.StatusServiceUnavailable
	})
	if got.status != want {
		k.t.Errorf("%s at %s: got %v, want %d", what, k.name, got, want)
	}
}
