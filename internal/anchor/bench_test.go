package anchor_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// inMemory are rows of agents and of revoked tokens, and of nothing else, that cost
// nothing to read, and an empty log.
type inMemory struct {
	anchor.Rows
	audit.Entries
	agents []store.Agent
	tokens []store.Token
}

func manyRows(n int) *inMemory {
	m := &inMemory{}
	for i := range n {
		id := fmt.Sprintf("agent-%07d", i)
		a := agentRow(id, "openai:chat", "github:read")
		a.SecretHash = make([]byte, 32)
		m.agents = append(m.agents, a)
		m.tokens = append(m.tokens, tokenRow(fmt.Sprintf("tok_%026d", i), id))
	}
	return m
}

func (m *inMemory) Agents(context.Context) ([]store.Agent, error) { return m.agents, nil }
func (m *inMemory) Tokens(context.Context, store.TokenFilter) ([]store.Token, error) {
	return m.tokens, nil
}
func (*inMemory) Credentials(context.Context) ([]store.Credential, error) { return nil, nil }
func (*inMemory) Keys(context.Context) ([]store.Key, error)               { return nil, nil }
func (*inMemory) KEKs(context.Context) ([]store.KEK, error)               { return nil, nil }
func (*inMemory) Imports(context.Context) ([]store.Import, error)         { return nil, nil }
func (*inMemory) Exceptions(context.Context) ([]store.Exception, error)   { return nil, nil }
func (*inMemory) AuditAfter(context.Context, int64, int) ([]store.AuditEntry, error) {
	return nil, nil
}
func (*inMemory) AuditEntries(context.Context, store.AuditFilter) (store.AuditPage, error) {
	return store.AuditPage{}, nil
}

// unwritten is a log that takes everything and keeps nothing.
type unwritten struct{}

func (unwritten) Record(context.Context, audit.Event) error  { return nil }
func (unwritten) Checkpoint(context.Context) ([]byte, error) { return nil, nil }
func (unwritten) BeginChange()                               {}
func (unwritten) EndChange(string, time.Time)                {}
func (unwritten) Known() int64                               { return 0 }
func (unwritten) CheckEnd(store.LogEnd, int64) error         { return nil }
func (unwritten) ChangeState(context.Context, audit.Shared, audit.StateChanged, string, time.Time) (func(), error) {
	return func() {}, nil
}

// BenchmarkVerify takes the digest of all rows and holds it against the signed one, where
// half of the rows are agents and half are revoked tokens.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			rows, ctx := manyRows(n/2), context.Background()
			s, err := anchor.Open(ctx, anchor.Config{Rows: rows, Entries: rows, Log: unwritten{}, Logger: quiet, Accept: true})
			if err != nil {
				b.Fatal(err)
			}
			digest, cutoff, err := s.CheckState(ctx, audit.State{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := anchor.Verify(ctx, rows, rows, audit.State{Digest: digest, Cutoff: cutoff}, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
		})
	}
}
