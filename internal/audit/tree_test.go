package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

func newKey(t *testing.T) (*audit.Key, note.Verifier) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewKey("keeper.test/1", private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, verifier
}

// fill records n events.
func fill(t *testing.T, l *audit.Log, n int) {
	t.Helper()
	for i := range n {
		if err := l.Record(t.Context(), audit.KeeperStarted{Version: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// rootOf is the root that RFC 6962 section 2.1 defines, by its recursion.
func rootOf(leaves [][]byte) tlog.Hash {
	if len(leaves) == 1 {
		return tlog.RecordHash(leaves[0])
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	return tlog.NodeHash(rootOf(leaves[:k]), rootOf(leaves[k:]))
}

func leavesOf(entries []store.AuditEntry) [][]byte {
	leaves := make([][]byte, len(entries))
	for i := range entries {
		leaves[i] = audit.Leaf(&entries[i])
	}
	return leaves
}

func TestCheckpointsAreTheRootsOfTheEntries(t *testing.T) {
	d, l := openSigned(t)
	key, verifier := newKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	for size := range 300 {
		fill(t, l, 1)
		signed, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := audit.OpenCheckpoint(signed, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if c.Size != int64(size+1) || c.Root != rootOf(leavesOf(d.entries)) {
			t.Fatalf("checkpoint after %d entries: got size %d and a root that is not theirs", size+1, c.Size)
		}
	}
}

func openSigned(t *testing.T) (*disk, *audit.Log) {
	t.Helper()
	d := &disk{}
	return d, open(t, d)
}

func TestALogGoesOnWhereItWasClosed(t *testing.T) {
	d := &disk{}
	key, verifier := newKey(t)
	for _, more := range []int{1, 254, 1, 1, 513, 0, 7, 247} {
		l := open(t, d)
		if err := l.Sign(t.Context(), key, nil); err != nil {
			t.Fatalf("after %d entries: %v", len(d.entries), err)
		}
		fill(t, l, more)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := audit.OpenCheckpoint(d.heads[len(d.heads)-1].Note, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if c.Size != int64(len(d.entries)) || c.Root != rootOf(leavesOf(d.entries)) {
			t.Errorf("the checkpoint at the stop is of %d entries and another root; there are %d", c.Size, len(d.entries))
		}
	}
	if len(d.nodes) != len(d.entries)/256 {
		t.Errorf("got %d nodes for %d entries", len(d.nodes), len(d.entries))
	}
}

// A log that an earlier keeper wrote has no nodes.
func TestATreeIsCompletedForEarlierEntries(t *testing.T) {
	d, l := openSigned(t)
	fill(t, l, 600)
	want := d.nodes
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.nodes = nil
	open(t, d)
	if fmt.Sprint(d.nodes) != fmt.Sprint(want) {
		t.Errorf("got nodes %v, want %v", d.nodes, want)
	}
}

func TestEachEntryIsProven(t *testing.T) {
	d, l := openSigned(t)
	key, verifier := newKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 530)
	for seq := int64(1); seq <= 530; seq++ {
		p, err := l.Prove(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		c, err := audit.OpenCheckpoint(p.Checkpoint, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Leaf, audit.Leaf(&d.entries[seq-1])) {
			t.Errorf("entry %d: the proof is of another leaf", seq)
		}
		if err := tlog.CheckRecord(p.Path, c.Size, c.Root, p.Index, tlog.RecordHash(p.Leaf)); err != nil {
			t.Errorf("entry %d: %v", seq, err)
		}
	}
	for _, seq := range []int64{-1, 0, 531} {
		if _, err := l.Prove(t.Context(), seq); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("entry %d: got %v, want %v", seq, err, store.ErrNotFound)
		}
	}
}

func TestEachHeadGoesOnFromEarlierOnes(t *testing.T) {
	d, l := openSigned(t)
	key, verifier := newKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 300)
	for size := int64(1); size <= 300; size++ {
		path, signed, err := l.Consistency(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		c, err := audit.OpenCheckpoint(signed, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(path, c.Size, c.Root, size, rootOf(leavesOf(d.entries[:size]))); err != nil {
			t.Errorf("from %d: %v", size, err)
		}
	}
	for _, size := range []int64{0, 301} {
		if _, _, err := l.Consistency(t.Context(), size); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("from %d: got %v, want %v", size, err, store.ErrNotFound)
		}
	}
}

func TestCheckpointsComeByNumberAndByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l, err := audit.Open(t.Context(), audit.Config{Store: d, CheckpointEntries: 10, CheckpointInterval: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close(context.Background())
		key, _ := newKey(t)
		if err := l.Sign(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		sizes := func() (all []int64) {
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, c := range d.heads {
				all = append(all, c.Size)
			}
			return all
		}
		fill(t, l, 25)
		if got := fmt.Sprint(sizes()); got != "[10 20]" {
			t.Errorf("after 25 entries: got checkpoints of %s, want [10 20]", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(sizes()); got != "[10 20 25]" {
			t.Errorf("a minute later: got checkpoints of %s, want [10 20 25]", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := fmt.Sprint(sizes()); got != "[10 20 25]" {
			t.Errorf("an idle hour later: got checkpoints of %s, want [10 20 25]", got)
		}
		d.set(func(d *disk) { d.fail = errors.New("disk is full") })
		if _, err := l.Checkpoint(t.Context()); err != nil {
			t.Errorf("asking for a checkpoint that is there: %v", err)
		}
		_ = l.Record(t.Context(), audit.KeeperStarted{})
		d.set(func(d *disk) { d.fail = nil })
		fill(t, l, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(sizes()); got != "[10 20 25 26]" {
			t.Errorf("after a failure: got checkpoints of %s, want [10 20 25 26]", got)
		}
	})
}

func TestATamperedLogIsNotSigned(t *testing.T) {
	edit := func(change func(*disk)) func(*disk, *audit.Key) { return func(d *disk, _ *audit.Key) { change(d) } }
	for name, tamper := range map[string]func(*disk, *audit.Key){
		"an entry was edited":         edit(func(d *disk) { d.entries[560].AgentID = "other" }),
		"the end was cut off":         edit(func(d *disk) { d.entries = d.entries[:299] }),
		"a node was edited":           edit(func(d *disk) { d.nodes[0].Hash[3] ^= 1 }),
		"the first nodes are missing": edit(func(d *disk) { d.nodes = d.nodes[1:] }),
		"the checkpoint was edited": edit(func(d *disk) {
			last := &d.heads[len(d.heads)-1]
			last.Note = bytes.Replace(last.Note, []byte("\n600\n"), []byte("\n599\n"), 1)
		}),
	} {
		d, l := openSigned(t)
		key, _ := newKey(t)
		if err := l.Sign(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 600)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		tamper(d, key)
		l, err := audit.Open(t.Context(), audit.Config{Store: d})
		if err == nil {
			err = l.Sign(t.Context(), key, nil)
			l.Close(context.Background())
		}
		if !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrTampered)
		}
	}
}

func TestLeafIsCanonicalJSON(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89000000, time.FixedZone("", 3600))
	for want, e := range map[string]store.AuditEntry{
		`{"agentId":"a","details":{"b":1},"event":"proxy.request","id":"7","provider":"openai","requestId":"req_1","risk":2,"timestamp":"2026-03-04T04:06:07.089Z"}`: {
			Seq: 7, Time: at, Event: "proxy.request", AgentID: "a", Provider: "openai", Risk: 2, RequestID: "req_1", Details: []byte(`{"b":1}`),
		},
		`{"details":{},"event":"x","id":"1","risk":0,"timestamp":"2026-03-04T04:06:07.089Z"}`: {Seq: 1, Time: at, Event: "x"},
		`{"agentId":"<\"\\/é\u0001\n �>","details":{},"event":"x","id":"1","risk":0,"timestamp":"2026-03-04T04:06:07.089Z"}`: {
			Seq: 1, Time: at, Event: "x", AgentID: "<\"\\/é\x01\n\u2028\xff>",
		},
	} {
		got := string(audit.Leaf(&e))
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON", got)
		}
	}
}

func TestDetailsAreCanonicalJSON(t *testing.T) {
	d, l := openSigned(t)
	e := audit.ProxyRequest{Agent: "a", Decision: "forward", Scope: "openai:chat", Call: audit.Call{Method: "POST", Path: "/<é>", Mode: "transparent", RequestBytes: 12}}
	if err := l.Record(audit.WithOrigin(t.Context(), audit.Origin{By: "z", Source: "::1"}), e); err != nil {
		t.Fatal(err)
	}
	want := `{"by":"z","decision":"forward","method":"POST","mode":"transparent","path":"/<é>","requestBytes":12,"scope":"openai:chat","source":"::1"}`
	if got := string(d.entries[0].Details); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
