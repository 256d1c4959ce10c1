package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/store"
)

// disk is a store whose commits can be made to fail, to hang or to happen in
// spite of an error.
type disk struct {
	mu      sync.Mutex
	entries []store.AuditEntry
	nodes   []store.AuditNode
	heads   []store.Checkpoint

	successions []store.Checkpoint
	commits     int
	fail        error         // returned instead of writing
	lie         error         // returned after writing
	gate        chan struct{} // where set, a commit waits for it
	blind       error         // returned by AuditTotals
}

func (d *disk) AppendAudit(_ context.Context, entries []store.AuditEntry, nodes ...store.AuditNode) error {
	d.mu.Lock()
	gate := d.gate
	d.mu.Unlock()
	if gate != nil {
		<-gate // a sync that hangs heeds no context
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	for i, e := range entries {
		if want := int64(len(d.entries)) + 1; e.Seq != want {
			return fmt.Errorf("entry %d of the batch has number %d, want %d", i, e.Seq, want)
		}
		d.entries = append(d.entries, e)
	}
	d.nodes = append(d.nodes, nodes...)
	d.commits++
	return d.lie
}

func (d *disk) AuditNodes(_ context.Context, level int, from int64, limit int) ([]store.AuditNode, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []store.AuditNode
	for _, n := range d.nodes {
		if n.Level == level && n.Index >= from && len(found) < limit {
			found = append(found, n)
		}
	}
	return found, nil
}

func (d *disk) PutNodes(_ context.Context, nodes []store.AuditNode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes = append(d.nodes, nodes...)
	return nil
}

func (d *disk) PutCheckpoint(_ context.Context, c store.Checkpoint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.heads = append(d.heads, c)
	return nil
}

func (d *disk) AppendSuccession(ctx context.Context, entry store.AuditEntry, head store.Checkpoint, nodes ...store.AuditNode) error {
	err := d.AppendAudit(ctx, []store.AuditEntry{entry}, nodes...)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil || d.lie != nil {
		d.heads, d.successions = append(d.heads, head), append(d.successions, head)
	}
	return err
}

func (d *disk) Successions(context.Context) ([]store.Checkpoint, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.successions), nil
}

func (d *disk) Checkpoints(_ context.Context, size int64, limit int) ([]store.Checkpoint, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []store.Checkpoint
	for _, c := range d.heads {
		if c.Size > size && len(found) < limit {
			found = append(found, c)
		}
	}
	return found, nil
}

func (d *disk) LastCheckpoint(context.Context) (store.Checkpoint, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heads) == 0 {
		return store.Checkpoint{}, store.ErrNotFound
	}
	return d.heads[len(d.heads)-1], nil
}

func (d *disk) AuditEntries(_ context.Context, f store.AuditFilter) (page store.AuditPage, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range slices.Backward(d.entries) {
		if f.Matches(&e) && (f.Before == 0 || e.Seq < f.Before) && len(page.Entries) < f.Limit {
			page.Entries = append(page.Entries, e)
		}
	}
	return page, nil
}

func (d *disk) AuditAfter(_ context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := d.entries[min(int(seq), len(d.entries)):]
	return rest[:min(limit, len(rest))], d.blind
}

func (d *disk) AuditTotals(context.Context) (store.AuditTotals, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return store.AuditTotals{Entries: int64(len(d.entries)), First: int64(min(1, len(d.entries))), LastSeq: int64(len(d.entries))}, d.blind
}

func (d *disk) set(change func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *disk) events() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, e := range d.entries {
		names = append(names, e.Event)
	}
	return names
}

func open(t *testing.T, d *disk) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), audit.Config{Store: d, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

func grant(t *testing.T) (policy.Grant, policy.Ref) {
	t.Helper()
	catalogue, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	call, err := policy.NewCall(policy.CallSpec{Provider: "openai", Method: "GET", EscapedPath: "/v1/models"})
	if err != nil {
		t.Fatal(err)
	}
	claims := authtest.Open(t, nil).Claims(t, "agent-1", "openai:models")
	g, err := catalogue.Authorize(claims, call)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := policy.Choose(g, []policy.Candidate{{SecretID: "s", Label: "default", Version: 3}})
	if err != nil {
		t.Fatal(err)
	}
	return g, ref
}

func TestAnEntryIsDurableWhenRecordReturns(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	ctx := audit.WithOrigin(t.Context(), audit.Origin{RequestID: "req_1", By: "admin", Source: "127.0.0.1"})
	if err := l.Record(ctx, audit.VaultModified{Provider: "openai", Label: "default", Version: 2, Action: "rotated"}); err != nil {
		t.Fatal(err)
	}
	e := d.entries[0]
	var details map[string]any
	if err := json.Unmarshal(e.Details, &details); err != nil {
		t.Fatal(err)
	}
	if e.Seq != 1 || e.Event != "vault.modified" || e.Provider != "openai" || e.RequestID != "req_1" ||
		details["by"] != "admin" || details["source"] != "127.0.0.1" || details["version"] != 2.0 {
		t.Errorf("got %+v with %v", e, details)
	}
}

func TestSecretThatItsSourceFailsForIsAWarning(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	for i, action := range []string{"withdrawn", "restored"} {
		if err := l.Record(t.Context(), audit.VaultModified{Provider: "openai", Action: action}); err != nil {
			t.Fatal(err)
		}
		if got, want := d.entries[i].Risk, 1-i; got != want {
			t.Errorf("risk of %s: got %d, want %d", action, got, want)
		}
	}
}

func TestConcurrentCallersShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{gate: make(chan struct{})}
		l, err := audit.Open(t.Context(), audit.Config{Store: d})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := l.Record(context.Background(), audit.KeeperStarted{Version: "v"}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // one commit is under way, and all others wait
		close(d.gate)
		wg.Wait()
		if len(d.entries) != 100 || d.commits > 2 {
			t.Errorf("got %d entries in %d commits, want 100 in 2", len(d.entries), d.commits)
		}
		l.Close(context.Background())
	})
}

func TestNoReceiptWithoutADurableDecision(t *testing.T) {
	g, ref := grant(t)
	d := &disk{fail: errors.New("disk full")}
	l := open(t, d)
	r, err := l.Decide(t.Context(), audit.Decision{Grant: g, Ref: ref})
	if !errors.Is(err, audit.ErrUnavailable) || r.Valid() {
		t.Fatalf("got %v and valid=%v, want ErrUnavailable and no receipt", err, r.Valid())
	}
	d.set(func(d *disk) { d.fail = nil })
	if r, err = l.Decide(t.Context(), audit.Decision{Grant: g, Ref: ref}); err != nil || !r.Valid() {
		t.Fatalf("after the disk has room: got %v and valid=%v", err, r.Valid())
	}
	if e := d.entries[0]; e.Event != "proxy.request" || e.AgentID != "agent-1" || e.Provider != "openai" || !strings.Contains(string(e.Details), `"version":3`) {
		t.Errorf("got %+v %s", e, e.Details)
	}
	for _, bad := range []audit.Decision{{}, {Grant: g}, {Ref: ref}} {
		if r, err := l.Decide(t.Context(), bad); err == nil || r.Valid() {
			t.Errorf("a decision without grant or credential got a receipt")
		}
	}
	if err := l.Finish(t.Context(), audit.Receipt{}, audit.Outcome{Outcome: "complete"}); err == nil {
		t.Error("an outcome without a receipt was taken")
	}
}

func TestAHangingDiskRefusesWithinTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{gate: make(chan struct{})}
		l, err := audit.Open(t.Context(), audit.Config{Store: d, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := l.Record(t.Context(), audit.KeeperStarted{}); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		if waited := time.Since(start); waited > 2*time.Second {
			t.Errorf("refused after %v, want at most 2s", waited)
		}
		close(d.gate)
		synctest.Wait()
		if err := l.Record(t.Context(), audit.KeeperStarted{}); err != nil {
			t.Errorf("after the disk came back: %v", err)
		}
		l.Close(context.Background())
	})
}

func TestAnOutcomeSurvivesAFailedCommitAndIsWrittenOnce(t *testing.T) {
	g, ref := grant(t)
	for name, breaks := range map[string]func(*disk){
		"not written":                    func(d *disk) { d.fail = errors.New("io") },
		"written in spite of the error":  func(d *disk) { d.lie = errors.New("io") },
		"written, and the store is away": func(d *disk) { d.lie, d.blind = errors.New("io"), errors.New("away") },
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{}
			l := open(t, d)
			r, err := l.Decide(t.Context(), audit.Decision{Grant: g, Ref: ref})
			if err != nil {
				t.Fatal(err)
			}
			d.set(breaks)
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if err := l.Finish(gone, r, audit.Outcome{Outcome: "agent_gone"}); err != nil {
				t.Fatalf("an outcome after the agent has gone: %v", err)
			}
			if err := l.Record(t.Context(), audit.KeeperStarted{}); err == nil {
				t.Fatal("the broken disk took an entry")
			}
			d.set(func(d *disk) { d.fail, d.lie, d.blind = nil, nil, nil })
			if err := l.Record(t.Context(), audit.KeeperStopped{}); err != nil {
				t.Fatal(err)
			}
			count := map[string]int{}
			for _, e := range d.events() {
				count[e]++
			}
			if count["proxy.response"] != 1 || count["keeper.stopped"] != 1 {
				t.Errorf("got %v, want each once", count)
			}
		})
	}
}

func TestCloseWritesWhatWaitsAndRefusesMore(t *testing.T) {
	g, ref := grant(t)
	d := &disk{}
	l := open(t, d)
	r, err := l.Decide(t.Context(), audit.Decision{Grant: g, Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if err := l.Finish(t.Context(), r, audit.Outcome{Outcome: "complete"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(d.entries) != 501 {
		t.Errorf("got %d entries, want 501", len(d.entries))
	}
	if err := l.Record(t.Context(), audit.KeeperStarted{}); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("after Close: got %v, want ErrUnavailable", err)
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	var clock sync.Mutex
	d := &disk{}
	l, err := audit.Open(t.Context(), audit.Config{Store: d, Now: func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	from := func(ip string) context.Context {
		return audit.WithOrigin(t.Context(), audit.Origin{RequestID: "req_x", Source: ip})
	}
	for range 1000 {
		if err := l.Refuse(from("10.0.0.1"), audit.Refusal{Code: "token_invalid", Provider: "openai", Risk: 1}); err != nil {
			t.Fatal(err)
		}
	}
	l.Refuse(from("10.0.0.2"), audit.Refusal{Code: "token_invalid", Risk: 1})
	l.RefuseRoute(from("10.0.0.1"), "", "GET /vault", "token_missing")
	if len(d.entries) != 3 {
		t.Fatalf("got %d entries within the minute, want 3: one for each kind and source", len(d.entries))
	}
	clock.Lock()
	now = now.Add(time.Minute)
	clock.Unlock()
	l.Refuse(from("10.0.0.1"), audit.Refusal{Code: "token_invalid", Risk: 1})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(d.entries) != 5 {
		t.Fatalf("got %d entries, want 5: the count of the minute and the first of the next", len(d.entries))
	}
	if got := string(d.entries[3].Details); !strings.Contains(got, `"count":999`) {
		t.Errorf("got %s, want the 999 that were not written", got)
	}
}

func TestARefusalOfAKnownAgentIsWrittenEachTime(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	blocked := audit.Refusal{
		Code: "secret_in_request", Agent: "a", Provider: "openai", Risk: audit.RiskCritical,
		Findings: []audit.Finding{{Type: "github-pat", Rule: "github-pat", Location: "body", Confidence: "high"}},
	}
	for range 3 {
		if err := l.Refuse(t.Context(), blocked); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Repeat("scan.blocked proxy.request ", 3)
	if got := strings.Join(d.events(), " ") + " "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChangesOfAgentsAndTokensAreEvents(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	a := store.Agent{ID: "a", Status: store.Active, Scopes: []string{"openai:chat"}}
	for _, err := range []error{
		l.AgentRegistered(t.Context(), a),
		l.AgentUpdated(t.Context(), a, store.Agent{ID: "a"}),
		l.TokenIssued(t.Context(), store.Token{JTI: "j", AgentID: "a"}),
		l.TokenRevoked(t.Context(), auth.Revocation{AgentID: "a", All: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "agent.registered agent.updated token.issued token.revoked"
	if got := strings.Join(d.events(), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := string(d.entries[1].Details); !strings.Contains(got, `"status":"deleted"`) {
		t.Errorf("got %s, want the deletion named", got)
	}
}

func TestAwaitReturnsWhenAnEntryIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{gate: make(chan struct{})}
		l := open(t, d)
		seen := make(chan int64)
		go func() {
			last, err := l.Await(t.Context(), 0)
			if err != nil {
				t.Error(err)
			}
			seen <- last
		}()
		recorded := make(chan error, 1)
		go func() { recorded <- l.Record(t.Context(), audit.KeeperStarted{Version: "1"}) }()
		synctest.Wait()
		select {
		case last := <-seen:
			t.Fatalf("Await returned %d before anything was durable", last)
		default:
		}
		close(d.gate)
		if last := <-seen; last != 1 {
			t.Errorf("Await returned %d, want 1", last)
		}
		if err := <-recorded; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Await(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("Await after the last entry, with an ended context: got %v", err)
		}
		if found, err := l.After(t.Context(), 0, 10); err != nil || len(found) != 1 {
			t.Errorf("After(0): got %d entries and %v, want 1", len(found), err)
		}
	})
}
