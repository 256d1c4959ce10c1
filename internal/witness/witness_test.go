package witness_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/witness"
)

var quiet = slog.New(slog.DiscardHandler)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) *audit.Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	key, err := audit.NewKey("keeper.test/1", private)
	must(t, err)
	return key
}

// openLog opens the log in a folder.
func openLog(t *testing.T, dir string, key *audit.Key) *audit.Log {
	t.Helper()
	log, _ := startLog(t, dir, key)
	return log
}

// startLog is openLog for a log that may be closed before the test's end.
func startLog(t *testing.T, dir string, key *audit.Key) (log *audit.Log, stop func()) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), dir, quiet)
	must(t, err)
	log, err = audit.Open(t.Context(), audit.Config{Store: db, Logger: quiet})
	must(t, err)
	must(t, log.Sign(t.Context(), key, nil))
	stop = sync.OnceFunc(func() { must(t, errors.Join(log.Close(context.Background()), db.Close())) })
	t.Cleanup(stop)
	return log, stop
}

func write(t *testing.T, log *audit.Log, n int) []byte {
	t.Helper()
	for range n {
		must(t, log.Record(t.Context(), audit.KeeperStarted{Version: "1"}))
	}
	signed, err := log.Checkpoint(t.Context())
	must(t, err)
	return signed
}

// remote is a witness as C2SP's tlog-witness has it.
type remote struct {
	t *testing.T
	*httptest.Server

	mu    sync.Mutex // guards all below
	keys  []note.Verifier
	tree  tlog.Tree
	heads [][]byte
	down  bool
	taken chan struct{} // a value for each head
}

func newRemote(t *testing.T, key *audit.Key) *remote {
	t.Helper()
	verifier, err := audit.NewVerifier(key.Public())
	must(t, err)
	r := &remote{t: t, keys: []note.Verifier{verifier}, taken: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(r.add))
	t.Cleanup(r.Close)
	return r
}

func (r *remote) add(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	head, signed, _ := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	var old int64
	if _, err := fmt.Sscanf(lines[0], "old %d", &old); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var c audit.Checkpoint
	for _, key := range r.keys {
		if c, err = audit.OpenCheckpoint(signed, key); err == nil {
			break
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if old != r.tree.N {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, "%d\n", r.tree.N)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(hash) != tlog.HashSize {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		proof = append(proof, tlog.Hash(hash))
	}
	if old > 0 && tlog.CheckTree(proof, c.Size, c.Root, old, r.tree.Hash) != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	r.tree, r.heads = tlog.Tree{N: c.Size, Hash: c.Root}, append(r.heads, signed)
	r.taken <- struct{}{}
	fmt.Fprintln(w, "— witness.test AAAA")
}

// await returns when the witness has a head over so many entries.
func (r *remote) await(size int64) {
	r.t.Helper()
	late := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		n := r.tree.N
		r.mu.Unlock()
		if n >= size {
			return
		}
		select {
		case <-r.taken:
		case <-late:
			r.t.Fatalf("the witness has a head over %d entries, want %d", n, size)
		}
	}
}

func openSet(t *testing.T, c witness.Config) *witness.Set {
	t.Helper()
	c.Logger = quiet
	s, err := witness.Open(t.Context(), c)
	must(t, err)
	return s
}

func sizeOf(t *testing.T, key *audit.Key, signed []byte) int64 {
	t.Helper()
	verifier, err := audit.NewVerifier(key.Public())
	must(t, err)
	c, err := audit.OpenCheckpoint(signed, verifier)
	must(t, err)
	return c.Size
}

func TestHeadsReachFilesAndWitnessesAsTheyAreMade(t *testing.T) {
	key, file := newKey(t), filepath.Join(t.TempDir(), "heads.txt")
	log, far := openLog(t, t.TempDir(), key), newRemote(t, key)
	s := openSet(t, witness.Config{Log: log, Files: []string{file}, URLs: []string{far.URL}})
	for range 5 {
		far.await(sizeOf(t, key, write(t, log, 3)))
	}
	must(t, s.Close(t.Context()))
	b, err := os.ReadFile(file)
	must(t, err)
	kept := audit.SplitCheckpoints(b)
	if len(kept) == 0 || sizeOf(t, key, kept[len(kept)-1]) != far.tree.N {
		t.Errorf("the file ends with another head than the witness's, over %d entries:\n%s", far.tree.N, b)
	}
	for i := 1; i < len(kept); i++ {
		if sizeOf(t, key, kept[i-1]) >= sizeOf(t, key, kept[i]) {
			t.Errorf("head %d of the file is over no more entries than the one before it", i)
		}
	}
	for _, now := range s.Status() {
		if now.Size != far.tree.N || now.Problem != "" {
			t.Errorf("status of %s: got size %d, problem %q; want %d and none", now.Name, now.Size, now.Problem, far.tree.N)
		}
	}
}

// A witness takes the head by which a key takes over, as the key signed it that it knows,
// and no other by the next key until it is told of that.
func TestAWitnessFollowsAChangeOfTheLogsKey(t *testing.T) {
	key, next, file := newKey(t), newKey(t), filepath.Join(t.TempDir(), "heads.txt")
	dir := t.TempDir()
	log, stop := startLog(t, dir, key)
	far := newRemote(t, key)
	s := openSet(t, witness.Config{Log: log, Files: []string{file}, URLs: []string{far.URL}})
	far.await(sizeOf(t, key, write(t, log, 3)))
	must(t, log.Succeed(t.Context(), next))
	newest := sizeOf(t, next, write(t, log, 5))
	far.await(4)
	for s.Status()[1].Problem == "" {
		time.Sleep(time.Millisecond) // it is on another goroutine, behind a socket
	}
	if now := s.Status()[1]; now.Size != 4 || now.Problem != "it answered 403" {
		t.Errorf("a witness that knows the first key alone: got size %d and problem %q, want 4, and that it answered 403", now.Size, now.Problem)
	}
	verifier, err := audit.NewVerifier(next.Public())
	must(t, err)
	far.mu.Lock()
	far.keys = append(far.keys, verifier)
	far.mu.Unlock()
	far.await(newest)
	must(t, s.Close(t.Context()))
	stop()
	b, err := os.ReadFile(file)
	must(t, err)
	kept := audit.SplitCheckpoints(b)
	changes := slices.ContainsFunc(kept, func(h []byte) bool { return strings.Contains(string(h), "\nkey "+key.Public()+" "+next.Public()+"\n") })
	if last := kept[len(kept)-1]; !changes || sizeOf(t, next, last) != newest {
		t.Errorf("the file lacks the head that changes the key, or the newest:\n%s", b)
	}
	// A start holds the log against the file, whichever key signed its newest head.
	for _, text := range [][]byte{b, kept[0]} {
		must(t, os.WriteFile(file, text, 0o600))
		again, stop := startLog(t, dir, next)
		must(t, openSet(t, witness.Config{Log: again, Files: []string{file}}).Close(t.Context()))
		stop()
	}
	other := openLog(t, t.TempDir(), key) // by a thief of the first key
	write(t, other, 20)
	if _, err := witness.Open(t.Context(), witness.Config{Log: other, Files: []string{file}, Logger: quiet}); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("a log that goes on by the first key: got %v, want %v", err, audit.ErrTampered)
	}
}

func TestAWitnessThatComesBackIsShownTheNewestHead(t *testing.T) {
	key := newKey(t)
	log, far := openLog(t, t.TempDir(), key), newRemote(t, key)
	first := openSet(t, witness.Config{Log: log, URLs: []string{far.URL}})
	far.await(sizeOf(t, key, write(t, log, 2)))
	must(t, first.Close(t.Context()))
	far.mu.Lock()
	far.down = true
	far.mu.Unlock()
	s := openSet(t, witness.Config{Log: log, URLs: []string{far.URL}})
	defer s.Close(t.Context())
	want := sizeOf(t, key, write(t, log, 7))
	for s.Status()[0].Problem == "" {
		time.Sleep(time.Millisecond) // it is on another goroutine, behind a socket
	}
	if got := s.Status()[0].Problem; got != "it answered 502" {
		t.Errorf("problem: got %q, want %q", got, "it answered 502")
	}
	far.mu.Lock()
	far.down = false
	far.mu.Unlock()
	far.await(want) // it knows of a head that this keeper did not show it
}

func TestALogThatWasPutBackIsNotShownButDisputed(t *testing.T) {
	key, far := newKey(t), (*remote)(nil)
	far = newRemote(t, key)
	long := openLog(t, t.TempDir(), key)
	s := openSet(t, witness.Config{Log: long, URLs: []string{far.URL}})
	far.await(sizeOf(t, key, write(t, long, 9)))
	must(t, s.Close(t.Context()))
	for name, entries := range map[string]int{"shorter": 3, "as long, of other entries": 20} {
		other := openLog(t, t.TempDir(), key)
		s := openSet(t, witness.Config{Log: other, URLs: []string{far.URL}})
		write(t, other, entries)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		var seq int64
		for disputed := false; !disputed; {
			last, err := other.Await(ctx, seq)
			must(t, err)
			page, err := other.Entries(ctx, store.AuditFilter{Event: "audit.disputed", Limit: 1})
			must(t, err)
			disputed, seq = len(page.Entries) == 1 && page.Entries[0].Risk == 2, last
		}
		cancel()
		if got := s.Status()[0].Problem; !strings.Contains(got, "not of this log") {
			t.Errorf("%s: got problem %q, want that the witness has seen another log", name, got)
		}
		must(t, s.Close(t.Context()))
	}
	if len(far.heads) == 0 || far.tree.N != sizeOf(t, key, far.heads[len(far.heads)-1]) || far.tree.N != 9 {
		t.Errorf("the witness took a head of another log: it is at %d, want 9", far.tree.N)
	}
}

func TestAFileThatKeptAnotherLogsHeadStopsTheStart(t *testing.T) {
	key, file := newKey(t), filepath.Join(t.TempDir(), "heads.txt")
	dir := t.TempDir()
	for _, entries := range []int{5, 4} {
		long, stop := startLog(t, dir, key)
		s := openSet(t, witness.Config{Log: long, Files: []string{file}})
		write(t, long, entries)
		must(t, s.Close(t.Context()))
		stop()
	}
	for name, entries := range map[string]int{"shorter": 3, "as long, of other entries": 20} {
		other := openLog(t, t.TempDir(), key)
		write(t, other, entries)
		if _, err := witness.Open(t.Context(), witness.Config{Log: other, Files: []string{file}, Logger: quiet}); !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want %v that names the file", name, err, audit.ErrTampered)
		}
	}
	// What a crash left of a head is none.
	torn, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, torn[:len(torn)-40], 0o600))
	must(t, openSet(t, witness.Config{Log: openLog(t, dir, key), Files: []string{file}}).Close(t.Context()))
}

func TestAFileOfSomethingElseIsLeftAlone(t *testing.T) {
	log, file := openLog(t, t.TempDir(), newKey(t)), filepath.Join(t.TempDir(), "precious.txt")
	const precious = "precious\n\nmore of it\n"
	must(t, os.WriteFile(file, []byte(precious), 0o600))
	if _, err := witness.Open(t.Context(), witness.Config{Log: log, Files: []string{file}, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "name another file") {
		t.Errorf("got %v, want an error that names the mend", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != precious {
		t.Errorf("got %q and %v, want it untouched", b, err)
	}
}

func TestAFileWithoutAWholeHeadIsBegunAnew(t *testing.T) {
	key := newKey(t)
	log := openLog(t, t.TempDir(), key)
	whole := string(write(t, log, 12))
	for name, text := range map[string]string{
		"a line's end":       "\n",
		"white space":        " \t\r\n \n  ",
		"a torn name":        whole[:5],
		"a name":             "keeper.test/1\n",
		"a torn first head":  "keeper.test/1\n12\nabcd",
		"a torn signature":   whole[:len(whole)-9],
		"behind empty lines": "\n\nkeeper.test/1\n12\nab",
	} {
		file := filepath.Join(t.TempDir(), "heads.txt")
		must(t, os.WriteFile(file, []byte(text), 0o600))
		s, err := witness.Open(t.Context(), witness.Config{Log: log, Origin: "keeper.test/1", Files: []string{file}, Logger: quiet})
		if err != nil {
			t.Errorf("%s: got %v, want it begun anew", name, err)
			continue
		}
		must(t, s.Close(t.Context()))
		b, err := os.ReadFile(file)
		must(t, err)
		if kept := audit.SplitCheckpoints(b); len(kept) != 1 || string(b) != whole+"\n" || sizeOf(t, key, kept[0]) != 12 {
			t.Errorf("%s: got %q, want one head over 12 entries", name, b)
		}
	}
}

func TestAWholeHeadWithoutItsEmptyLineIsKept(t *testing.T) {
	key, file := newKey(t), filepath.Join(t.TempDir(), "heads.txt")
	dir := t.TempDir()
	log, stop := startLog(t, dir, key)
	whole := string(write(t, log, 12))
	stop()
	must(t, os.WriteFile(file, []byte(whole), 0o600))
	other := openLog(t, t.TempDir(), key)
	if _, err := witness.Open(t.Context(), witness.Config{Log: other, Origin: "keeper.test/1", Files: []string{file}, Logger: quiet}); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("another log: got %v, want %v", err, audit.ErrTampered)
	}
	log = openLog(t, dir, key)
	s := openSet(t, witness.Config{Log: log, Origin: "keeper.test/1", Files: []string{file}})
	want := whole + "\n" + string(write(t, log, 1)) + "\n"
	must(t, s.Close(t.Context()))
	if b, err := os.ReadFile(file); err != nil || string(b) != want {
		t.Errorf("got %q and %v, want %q", b, err, want)
	}
}

func TestAFileOfSomethingElseIsNotCut(t *testing.T) {
	key := newKey(t)
	log := openLog(t, t.TempDir(), key)
	whole := string(write(t, log, 12))
	for name, c := range map[string]struct{ origin, text string }{
		"another log's":         {"keeper.test/1", "keeper.test/12\n12\nabcd"},
		"behind something":      {"keeper.test/1", "mine\nkeeper.test/1\n12\nabcd"},
		"more than one head":    {"keeper.test/1", strings.Repeat(strings.ReplaceAll(whole, "\u2014", "-")+"\n", 2)},
		"heads that were saved": {"keeper.test/1", strings.ReplaceAll(whole, "\u2014", "-") + "\n"},
		"of a log without name": {"", "keeper.test/1\n12\nabcd"},
	} {
		file := filepath.Join(t.TempDir(), "heads.txt")
		must(t, os.WriteFile(file, []byte(c.text), 0o600))
		_, err := witness.Open(t.Context(), witness.Config{Log: log, Origin: c.origin, Files: []string{file}, Logger: quiet})
		if err == nil || !strings.Contains(err.Error(), "name another file") {
			t.Errorf("%s: got %v, want an error that names the mend", name, err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != c.text {
			t.Errorf("%s: got %q and %v, want it untouched", name, b, err)
		}
	}
}

// forgetful is a log that has too little left to prove that it goes on.
type forgetful struct{ *audit.Log }

func (forgetful) ConsistencyBetween(context.Context, int64, int64) ([]tlog.Hash, error) {
	return nil, fmt.Errorf("proving that the log goes on: %w", store.ErrNotFound)
}

func TestALogThatCannotProveThatItGoesOnIsNotAnUnreachableWitness(t *testing.T) {
	key := newKey(t)
	log, far := openLog(t, t.TempDir(), key), newRemote(t, key)
	s := openSet(t, witness.Config{Log: forgetful{log}, URLs: []string{far.URL}})
	defer s.Close(t.Context())
	far.await(sizeOf(t, key, write(t, log, 3)))
	write(t, log, 3)
	for s.Status()[0].Problem == "" {
		time.Sleep(time.Millisecond) // it is on another goroutine, behind a socket
	}
	if got, want := s.Status()[0].Problem, "the log cannot prove that it goes on from what it has seen"; got != want {
		t.Errorf("problem: got %q, want %q", got, want)
	}
}

func TestAddressesThatAreNoWitnessesAreRefused(t *testing.T) {
	log := openLog(t, t.TempDir(), newKey(t))
	for _, address := range []string{"", "witness", "http://witness.example.com/", "ftp://127.0.0.1/", "https://user:pass@witness.example.com/"} {
		_, err := witness.Open(t.Context(), witness.Config{Log: log, URLs: []string{address}, Logger: quiet})
		if err == nil || !strings.Contains(err.Error(), "audit.witnesses.urls[0]") || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%q: got %v, want an error that names the field", address, err)
		}
	}
}
