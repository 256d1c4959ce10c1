package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// report verifies the pool's log by the key of one keeper, from an entry on.
func (m *mate) report(t *testing.T, first int64) audit.Report {
	t.Helper()
	if _, err := m.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := verifierNamed(t, m.PublicKey())
	if first == 1 {
		e, err := audit.EvidenceOf(t.Context(), &m.pool.disk, v)
		if err != nil {
			t.Fatal(err)
		}
		return verify(t, e)
	}
	r, err := exported(t, m.Log, &m.pool.disk, first, m.Known()).verify(t, v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func verifierNamed(t *testing.T, key string) audit.Verifier {
	t.Helper()
	v, err := audit.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// three is a log of three keepers, 20 entries of each.
func three(t *testing.T) (p *pool, key *audit.Key, a *mate) {
	t.Helper()
	p = &pool{}
	key, _ = quickKey(t)
	for _, member := range []string{"cc", "bb", "aa"} {
		a = p.start(t, member, mateOptions{}, key)
		for i := range 20 {
			a.record(t, fmt.Sprint(i))
		}
		p.await(t, member, 20)
	}
	return p, key, a
}

func TestEntriesOfEachKeeperFollowOneAnother(t *testing.T) {
	p, _, a := three(t)
	for _, first := range []int64{1, 25} {
		want := map[int64]int{1: 3, 25: 2}[first]
		if r := a.report(t, first); r.Damage != nil || r.Members != want || r.Last != int64(len(p.entries)) {
			t.Errorf("from entry %d: got %+v %+v, want the entries of %d keepers without harm", first, r, r.Damage, want)
		}
	}
	d := &disk{}
	l := open(t, d)
	key, _ := quickKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 30)
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, err := audit.EvidenceOf(t.Context(), d, verifierNamed(t, l.PublicKey()))
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, e); r.Damage != nil || r.Members != 0 {
		t.Errorf("a log of one keeper: got %+v %+v, want no member", r, r.Damage)
	}
}

func TestAGapAmongTheEntriesOfOneKeeperIsNamed(t *testing.T) {
	p, _, a := three(t)
	p.change(func(p *pool) { p.shipped["aa"] = 23 }) // so that what follows is taken for shared
	for i := range 5 {
		a.record(t, fmt.Sprint("more", i))
	}
	for _, first := range []int64{1, 45} {
		r := a.report(t, first)
		if r.Damage == nil || r.Damage.Harm != audit.Deleted || r.Damage.Entry != 61 || r.Last != 60 ||
			!strings.Contains(r.Damage.Text, "of the keeper aa the numbers 21 to 23 are missing") {
			t.Errorf("from entry %d: got %+v %+v, want that 21 to 23 of aa are missing before entry 61", first, r, r.Damage)
		}
	}
}

func TestADoubleAmongTheEntriesOfOneKeeperIsNamed(t *testing.T) {
	p, key, a := three(t)
	a.kill()
	p.change(func(p *pool) { p.shipped["aa"] = 18 })
	again := p.start(t, "aa", mateOptions{dir: a.dir}, key)
	again.record(t, "on")
	r := again.report(t, 1)
	if r.Damage == nil || r.Damage.Harm != audit.Inserted || r.Damage.Entry != 61 ||
		!strings.Contains(r.Damage.Text, "number 19 of the entries of the keeper aa, which come up to 20 before it") {
		t.Errorf("got %+v %+v, want that entry 61 is number 19 of aa again", r, r.Damage)
	}
}

func TestTheFirstEntriesOfAKeeperAreMissedWhereTheLogIsWhole(t *testing.T) {
	p, key, _ := three(t)
	p.change(func(p *pool) { p.shipped["dd"] = 5 })
	d := p.start(t, "dd", mateOptions{}, key)
	d.record(t, "6")
	r := d.report(t, 1)
	if r.Damage == nil || r.Damage.Harm != audit.Deleted || r.Damage.Entry != 61 || !strings.Contains(r.Damage.Text, "of the keeper dd the numbers 1 to 5 are missing") {
		t.Errorf("got %+v %+v, want that 1 to 5 of dd are missing", r, r.Damage)
	}
	if r := d.report(t, 30); r.Damage != nil || r.Members != 3 {
		t.Errorf("from entry 30 on: got %+v %+v, want no harm", r, r.Damage)
	}
}

func TestOnlyTheMemberOfDetailsIsAKeeper(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	key, v := quickKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{`{"keeper":{"id":"aa","number":9}}`, `"keeper":{`} {
		if err := l.Record(t.Context(), audit.ScanBlocked{Path: path, Findings: []audit.Finding{{Rule: path}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	nested := []byte(`{"other":{"keeper":{"id":"aa","number":9}}}`)
	raw := store.AuditEntry{Seq: 1, Details: nested}
	e, err := audit.EvidenceOf(t.Context(), d, v)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, e); r.Damage != nil || r.Members != 0 {
		t.Errorf("got %+v %+v, want no member", r, r.Damage)
	}
	r := verify(t, audit.Evidence{Key: v, Entries: each([]audit.Stated{{Seq: 1, Leaf: audit.Leaf(&raw)}})})
	if r.Members != 0 || r.Damage == nil || r.Damage.Harm != audit.Forged {
		t.Errorf("nested deeper: got %+v %+v, want no member, and that it is not signed", r, r.Damage)
	}
}
