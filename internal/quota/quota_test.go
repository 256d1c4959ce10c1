package quota_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// clock is a time that a test sets.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// shared is a real database that can be cut off, before it hears of a draw or behind it.
type shared struct {
	quota.Store
	away, mute atomic.Bool
	asked      atomic.Int64
	before     func([]store.Draw) error
}

func (s *shared) DrawQuotas(ctx context.Context, draws []store.Draw) ([]int64, error) {
	s.asked.Add(1)
	if s.away.Load() {
		return nil, errors.New("the network is gone")
	}
	if s.before != nil {
		if err := s.before(draws); err != nil {
			return nil, err
		}
	}
	granted, err := s.Store.DrawQuotas(ctx, draws)
	if s.mute.Load() {
		return nil, errors.New("the answer is lost")
	}
	return granted, err
}

func newStore(t *testing.T) *shared {
	t.Helper()
	db, err := sqlite.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &shared{Store: db}
}

func newBook(t *testing.T, s quota.Store, c *clock, quotas ...quota.Quota) *quota.Book {
	t.Helper()
	l, err := quota.New(quota.Config{Store: s, Now: c.now})
	if err == nil {
		err = quota.Check(quotas)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Set(quotas)
	return l
}

var someone = quota.Call{Agent: "bot", Token: "t1", Provider: "openai", Scope: "openai:chat"}

// passes counts how many of n calls, one after another, may begin.
func passes(t *testing.T, l *quota.Book, c quota.Call, n int) (passed int) {
	t.Helper()
	for range n {
		u, err := l.Begin(t.Context(), c)
		var full *quota.Exceeded
		if err != nil && !errors.As(err, &full) {
			t.Fatalf("got %v, want that it may or may not", err)
		}
		if err == nil {
			passed++
			u.End()
		}
	}
	return passed
}

func want(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

func TestRequestsOfAWindow(t *testing.T) {
	c, s := newClock(), newStore(t)
	l := newBook(t, s, c, quota.Quota{Name: "hourly", Window: time.Hour, Requests: 100})
	want(t, "of 250 calls", passes(t, l, someone, 250), 100)
	_, err := l.Begin(t.Context(), someone)
	var full *quota.Exceeded
	if !errors.As(err, &full) || full.Quota != "hourly" || full.Of != "requests" || full.After != 53*time.Minute+53*time.Second {
		t.Errorf("got %#v, want hourly, requests, for what is left of the hour", err)
	}
	for _, word := range []string{"hourly", "100 requests each 1h", "until 2026-03-04T06:00:00Z", "operator"} {
		if !strings.Contains(fmt.Sprint(err), word) {
			t.Errorf("got %q, want it to say %q", err, word)
		}
	}
	c.advance(full.After)
	want(t, "of 250 calls in the next hour", passes(t, l, someone, 250), 100)
	c.advance(-time.Hour)
	want(t, "with the clock set back", passes(t, l, someone, 250), 0)
}

func TestLimitsTellCallsApart(t *testing.T) {
	other := quota.Call{Agent: "cat", Token: "t2", Provider: "openai", Scope: "openai:models"}
	far := quota.Call{Agent: "bot", Token: "t1", Provider: "github", Scope: "github:read"}
	for _, test := range []struct {
		quota                   quota.Quota
		someone, other, further int // of 5 calls each, in this order
	}{
		{quota.Quota{}, 3, 0, 0},
		{quota.Quota{Each: []string{"agent"}}, 3, 3, 0},
		{quota.Quota{Each: []string{"token"}}, 3, 3, 0},
		{quota.Quota{Each: []string{"provider"}}, 3, 0, 3},
		{quota.Quota{Each: []string{"scope"}}, 3, 3, 3},
		{quota.Quota{Each: []string{"agent", "provider"}}, 3, 3, 3},
		{quota.Quota{Agents: []string{"cat"}}, 5, 3, 5},
		{quota.Quota{Providers: []string{"github"}}, 5, 5, 3},
		{quota.Quota{Scopes: []string{"openai:chat"}}, 3, 5, 5},
		{quota.Quota{Scopes: []string{"openai:*"}}, 3, 0, 5},
		{quota.Quota{Agents: []string{"bot"}, Scopes: []string{"openai:*"}}, 3, 5, 5},
	} {
		test.quota.Name, test.quota.Window, test.quota.Requests = "a", time.Hour, 3
		l := newBook(t, newStore(t), newClock(), test.quota)
		what := fmt.Sprintf("%+v", test.quota)
		want(t, what, passes(t, l, someone, 5), test.someone)
		want(t, what, passes(t, l, other, 5), test.other)
		want(t, what, passes(t, l, far, 5), test.further)
	}
}

func TestARefusedCallCostsNoOtherLimit(t *testing.T) {
	l := newBook(t, newStore(t), newClock(),
		quota.Quota{Name: "wide", Window: time.Hour, Requests: 10, Concurrent: 1},
		quota.Quota{Name: "narrow", Window: time.Hour, Requests: 2, Scopes: []string{"openai:chat"}})
	want(t, "narrow", passes(t, l, someone, 20), 2)
	want(t, "what is left of wide", passes(t, l, quota.Call{Agent: "bot", Provider: "github", Scope: "github:read"}, 20), 8)
}

func TestConcurrentCalls(t *testing.T) {
	l := newBook(t, newStore(t), newClock(), quota.Quota{Name: "few", Concurrent: 2, Each: []string{"agent"}})
	first, err := l.Begin(t.Context(), someone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Begin(t.Context(), someone); err != nil {
		t.Fatal(err)
	}
	_, err = l.Begin(t.Context(), someone)
	var full *quota.Exceeded
	if !errors.As(err, &full) || full.Of != "concurrent" || full.After != time.Second {
		t.Errorf("got %#v, want that two are under way", err)
	}
	want(t, "another agent's", passes(t, l, quota.Call{Agent: "cat"}, 5), 5)
	first.End()
	first.End()
	want(t, "behind the end of one", passes(t, l, someone, 5), 5)
	if _, err = l.Begin(t.Context(), someone); err != nil {
		t.Errorf("got %v, want that one may begin", err)
	}
	if _, err = l.Begin(t.Context(), someone); err == nil {
		t.Error("got a third call at once, since one end counted twice")
	}
}

func TestWhatCallsCostIsCountedAtTheirEnd(t *testing.T) {
	for _, one := range []struct {
		name  string
		quota quota.Quota
		spend func(*quota.Use)
	}{
		{"bytes", quota.Quota{Bytes: 1000}, func(u *quota.Use) { u.Spend(300, 5000) }},
		{"modelTokens", quota.Quota{ModelTokens: 1000}, func(u *quota.Use) { u.Spend(5000, 300) }},
	} {
		one.quota.Name, one.quota.Window = "budget", 24*time.Hour
		c, s := newClock(), newStore(t)
		l := newBook(t, s, c, one.quota)
		begun := 0
		for range 20 {
			u, err := l.Begin(t.Context(), someone)
			var full *quota.Exceeded
			if errors.As(err, &full) {
				if full.Of != one.name {
					t.Errorf("got %q, want %q", full.Of, one.name)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			begun++
			one.spend(u)
			u.End()
		}
		want(t, one.name+": calls of 300 each of 1000", begun, 4)
		want(t, one.name+" at another keeper of the store", passes(t, newBook(t, s, c, one.quota), someone, 3), 0)
	}
}

func TestManyKeepersGiveNothingAwayTwice(t *testing.T) {
	c, s := newClock(), newStore(t)
	const most = 500
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		l := newBook(t, s, c, quota.Quota{Name: "a", Window: time.Hour, Requests: most, Each: []string{"agent"}})
		for range 20 {
			wg.Go(func() {
				for range 40 {
					u, err := l.Begin(t.Context(), someone)
					if err == nil {
						passed.Add(1)
						u.End()
					}
				}
			})
		}
	}
	wg.Wait()
	if got := passed.Load(); got > most || got < most-3*(most/16) {
		t.Errorf("got %d calls of 2400 through, want %d, or less by what other keepers hold", got, most)
	}
}

func TestACutOffKeeperStopsAtWhatItHasDrawn(t *testing.T) {
	c, s := newClock(), newStore(t)
	l := newBook(t, s, c, quota.Quota{Name: "a", Window: time.Hour, Requests: 160})
	want(t, "the first call", passes(t, l, someone, 1), 1)
	s.away.Store(true)
	want(t, "of what was drawn", passes(t, l, someone, 9), 9)
	if _, err := l.Begin(t.Context(), someone); !errors.Is(err, quota.ErrStore) {
		t.Errorf("got %v, want that the store cannot be asked", err)
	}
	s.away.Store(false)
	want(t, "once it is back", passes(t, l, someone, 500), 150)
}

func TestARestartLosesNothing(t *testing.T) {
	c, s := newClock(), newStore(t)
	a := quota.Quota{Name: "a", Window: time.Hour, Requests: 160, Bytes: 1 << 20}
	l := newBook(t, s, c, a)
	u, err := l.Begin(t.Context(), someone)
	if err != nil {
		t.Fatal(err)
	}
	u.Spend(1<<19, 0)
	u.End()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	l = newBook(t, s, c, a)
	want(t, "what is left", passes(t, l, someone, 500), 159)
	u, _ = newBook(t, s, c, quota.Quota{Name: "a", Window: time.Hour, Bytes: 1 << 20}).Begin(t.Context(), someone)
	u.Spend(1<<19, 0)
	u.End()
	want(t, "bytes that are left", passes(t, newBook(t, s, c, quota.Quota{Name: "a", Window: time.Hour, Bytes: 1<<19 + 1}), someone, 1), 0)
}

func TestWhatCameBackUnheardIsGivenAwayOnce(t *testing.T) {
	c, s := newClock(), newStore(t)
	a := quota.Quota{Name: "a", Window: time.Hour, Requests: 160}
	l := newBook(t, s, c, a)
	passed := passes(t, l, someone, 1)
	s.mute.Store(true)
	if err := l.Close(t.Context()); !errors.Is(err, quota.ErrStore) {
		t.Errorf("giving back: got %v, want that nothing was heard of it", err)
	}
	s.mute.Store(false)
	passed += passes(t, newBook(t, s, c, a), someone, 500)
	want(t, "calls at both keepers", passed+passes(t, l, someone, 500), 160)
}

func TestACallThatMayNotBeginCostsTheNextWindowNothing(t *testing.T) {
	c, s := newClock(), newStore(t)
	l := newBook(t, s, c, quota.Quota{Name: "a", Window: time.Hour, Requests: 3},
		quota.Quota{Name: "b", Window: 24 * time.Hour, Requests: 3, Scopes: []string{"openai:chat"}})
	passed := 0
	s.before = func(draws []store.Draw) error {
		if draws[0].Quota != "b" {
			return nil
		}
		c.advance(time.Hour)
		passed = passes(t, l, quota.Call{Agent: "cat", Scope: "openai:models"}, 1)
		return errors.New("the network is gone")
	}
	if _, err := l.Begin(t.Context(), someone); !errors.Is(err, quota.ErrStore) {
		t.Fatalf("got %v, want that the store cannot be asked", err)
	}
	s.before = nil
	want(t, "calls of the next window", passed+passes(t, l, quota.Call{Agent: "cat", Scope: "openai:models"}, 10), 3)
}

func TestAClockThatGoesBackAMomentCostsNothing(t *testing.T) {
	c, s := newClock(), newStore(t)
	l := newBook(t, s, c, quota.Quota{Name: "a", Window: time.Hour, Requests: 160})
	c.advance(53*time.Minute + 53*time.Second)
	passed := 0
	for range 10 {
		passed += passes(t, l, someone, 1)
		c.advance(-time.Millisecond)
		passed += passes(t, l, someone, 1)
		c.advance(time.Millisecond)
	}
	want(t, "calls of the window", passed+passes(t, l, someone, 500), 160)
}

func TestFewCallsAskTheStore(t *testing.T) {
	s := newStore(t)
	l := newBook(t, s, newClock(), quota.Quota{Name: "a", Window: time.Hour, Requests: 1600})
	want(t, "calls", passes(t, l, someone, 1600), 1600)
	want(t, "draws", int(s.asked.Load()), 16)
	want(t, "calls beyond", passes(t, l, someone, 1000), 0)
	want(t, "draws for a used-up quota within a second", int(s.asked.Load()), 17)
}

func TestLimitsThatAreNoneAreRefused(t *testing.T) {
	for text, l := range map[string]quota.Quota{
		"quotas[0].name: got \"\"":        {Window: time.Hour, Requests: 1},
		"quotas[0].name: got \"a b\"":     {Name: "a b", Window: time.Hour, Requests: 1},
		"quotas[0].requests: there is no": {Name: "a", Window: time.Hour},
		"quotas[0].window: set":           {Name: "a", Requests: 1},
		"quotas[0].window: concurrent":    {Name: "a", Concurrent: 1, Window: time.Hour},
		"quotas[0].requests: got -1":      {Name: "a", Requests: -1, Window: time.Hour},
		"quotas[0].each: got \"user\"":    {Name: "a", Requests: 1, Window: time.Hour, Each: []string{"user"}},
		"quotas[0].each: got \"agent\"":   {Name: "a", Requests: 1, Window: time.Hour, Each: []string{"agent", "agent"}},
	} {
		if err := quota.Check([]quota.Quota{l}); err == nil || !strings.HasPrefix(err.Error(), text) {
			t.Errorf("%+v: got %v, want %s", l, err, text)
		}
	}
	twice := quota.Quota{Name: "a", Window: time.Hour, Requests: 1}
	if err := quota.Check([]quota.Quota{twice, twice}); err == nil || !strings.Contains(err.Error(), "quotas[1].name: there are two") {
		t.Errorf("two of a name: got %v", err)
	}
}

func TestAnswersCountModelTokens(t *testing.T) {
	for name, one := range map[string]struct {
		answer string
		want   int64
	}{
		"OpenAI":           {`{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"completion_tokens_details":{"reasoning_tokens":4}}}`, 21},
		"OpenAI streaming": {"data: {\"choices\":[],\"usage\":null}\n\ndata: {\"choices\":[], \"usage\" : {\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n", 21},
		"Anthropic": {"event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":3,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\n" +
			"event: message_delta\ndata: {\"usage\":{\"output_tokens\":15}}\n\n", 45},
		"Gemini":       {`[{"usageMetadata":{"promptTokenCount":5,"totalTokenCount":6}},{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"thoughtsTokenCount":2,"totalTokenCount":14}}]`, 14},
		"Bedrock":      {"\x00\x00:event-type\x07{\"metrics\":{},\"usage\":{\"inputTokens\":3,\"outputTokens\":4,\"totalTokens\":7}}\x12\x13", 7},
		"Cohere":       {`{"meta":{"billed_units":{"input_tokens":3.0,"output_tokens":8.0}}}`, 11},
		"Cohere 2":     {`{"usage":{"billed_units":{"input_tokens":3,"output_tokens":8},"tokens":{}}}`, 11},
		"none":         {`{"text":"usage","list":["usage",{"total_tokens":5}]}`, 0},
		"a model's":    {`{"content":"\"usage\":{\"total_tokens\":7}","usage":{"total_tokens":3}}`, 3},
		"a brace":      {`{"usage":{"note":"}\"}","total_tokens":3}}`, 3},
		"no number":    {`{"usage":{"total_tokens":"many"}}`, 0},
		"below zero":   {`{"usage":{"total_tokens":-5}}`, 0},
		"beyond count": {`{"usage":{"total_tokens":1e300}}`, 1 << 40},
		"endless":      {`{"usage":{"x":"` + strings.Repeat("x", 1<<16) + `"}, "usage":{"total_tokens":3}}`, 3},
	} {
		for size := 1; size <= 7; size++ {
			var m quota.Meter
			for rest := one.answer; rest != ""; {
				n := min(size, len(rest))
				io.WriteString(&m, rest[:n])
				rest = rest[n:]
			}
			if got := m.ModelTokens(); got != one.want {
				t.Errorf("%s in pieces of %d: got %d, want %d", name, size, got, one.want)
			}
		}
	}
}
