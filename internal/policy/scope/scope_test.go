package scope_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy/scope"
	"pgregory.net/rapid"
)

func parse(t testing.TB, s string) scope.Scope {
	t.Helper()
	parsed, err := scope.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): got %v, want a scope", s, err)
	}
	return parsed
}

func parseSet(t testing.TB, ss ...string) scope.Set {
	t.Helper()
	set, err := scope.ParseSet(ss)
	if err != nil {
		t.Fatalf("ParseSet(%q): got %v, want a set", ss, err)
	}
	return set
}

func TestScopesAreReadWithoutRegardToCase(t *testing.T) {
	for in, want := range map[string]string{
		"*": "*", "openai:chat": "openai:chat", "OpenAI:Chat": "openai:chat", "github:*": "github:*",
		"*:read": "*:read", "*:*": "*:*", "a.b_c-d:1.2": "a.b_c-d:1.2", "0:0": "0:0",
	} {
		if got := parse(t, in); got.String() != want || parse(t, want) != got {
			t.Errorf("Parse(%q): got %q, want %q", in, got, want)
		}
	}
}

func TestWhatIsNoScopeIsRefused(t *testing.T) {
	for _, in := range []string{
		"", " ", "openai", "openai:", ":chat", ":", "**", "openai:**", "open*:chat", "openai:ch*", "openai:chat:x",
		" openai:chat", "openai:chat ", "openai: chat", "-a:b", "a:-b", ".a:b", "_a:b", "ä:b", "a:b\x00", "a/b:c",
		"openai:chat\n", "*:", ":*", "*:*:*", "openai,chat:x", "\u212Aeeper:x",
	} {
		got, err := scope.Parse(in)
		if !errors.Is(err, scope.ErrSyntax) || got != (scope.Scope{}) {
			t.Errorf("Parse(%q): got %q and %v, want the zero scope and ErrSyntax", in, got, err)
		}
		if err != nil && len(in) > 4 && strings.Contains(err.Error(), in) {
			t.Errorf("Parse(%q): the error quotes the input: %v", in, err)
		}
	}
}

func TestWiderScopesCoverNarrowerOnes(t *testing.T) {
	for _, c := range []struct {
		held, wanted string
		want         bool
	}{
		{"*", "*", true}, {"*", "*:*", true}, {"*", "keeper:write", true}, {"*", "openai:chat", true},
		{"openai:*", "openai:chat", true}, {"openai:*", "openai:*", true}, {"openai:*", "github:read", false},
		{"openai:*", "*", false}, {"openai:*", "*:*", false}, {"openai:*", "*:chat", false},
		{"openai:chat", "OPENAI:CHAT", true}, {"openai:chat", "openai:*", false}, {"openai:chat", "openai:chats", false},
		{"*:read", "github:read", true}, {"*:read", "github:write", false}, {"*:read", "github:*", false},
		{"*:read", "*:read", true}, {"*:read", "keeper:read", false}, {"*:*", "keeper:read", false},
		{"*:*", "keeper:*", false}, {"*:*", "*", false}, {"*:*", "openai:chat", true}, {"*:*", "*:read", true},
		{"keeper:*", "keeper:audit", true}, {"keeper:write", "keeper:read", false},
	} {
		if got := parse(t, c.held).Covers(parse(t, c.wanted)); got != c.want {
			t.Errorf("%q covers %q: got %v, want %v", c.held, c.wanted, got, c.want)
		}
	}
}

func TestZeroScopeCoversNothingAndIsCoveredByNothing(t *testing.T) {
	var zero scope.Scope
	for _, s := range []string{"*", "*:*", "openai:chat", "keeper:*"} {
		if zero.Covers(parse(t, s)) || parse(t, s).Covers(zero) {
			t.Errorf("zero and %q: got one covering the other, want neither", s)
		}
	}
	if zero.Covers(zero) {
		t.Error("zero covers zero: got true, want false")
	}
}

func TestKeeperScopesAreThoseOfTheReservedName(t *testing.T) {
	for _, p := range []string{scope.Read, scope.Write, scope.Audit, scope.Scan} {
		if got := scope.Keeper(p); got != parse(t, "keeper:"+p) {
			t.Errorf("Keeper(%q): got %q, want keeper:%s", p, got, p)
		}
	}
	for _, p := range []string{"", "*", "a:b"} {
		if got := scope.Keeper(p); got != (scope.Scope{}) {
			t.Errorf("Keeper(%q): got %q, want the zero scope", p, got)
		}
	}
}

func TestSetsAreSortedAndUnique(t *testing.T) {
	got := parseSet(t, "openai:chat", "GitHub:read", "openai:CHAT", "*:read").Strings()
	if want := []string{"*:read", "github:read", "openai:chat"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if set, err := scope.ParseSet([]string{"openai:chat", "oops"}); set != nil || err == nil || !strings.Contains(err.Error(), "scope 2 of 2") {
		t.Errorf("got %v and %v, want no set and an error naming the second", set, err)
	}
}

func TestNilSetCoversNothing(t *testing.T) {
	var none scope.Set
	if none.Covers(parse(t, "openai:chat")) || none.CoversAll(parseSet(t, "openai:chat")) {
		t.Error("nil set: got it covering openai:chat, want not")
	}
	if got := none.Strings(); got == nil || len(got) != 0 {
		t.Errorf("nil set's strings: got %#v, want an empty slice", got)
	}
	if !none.CoversAll(nil) {
		t.Error("nil set: got it not covering an empty one, want it to")
	}
}

func TestMissingNamesWhatIsNotCovered(t *testing.T) {
	held := parseSet(t, "openai:*", "github:read")
	got := held.Missing(parseSet(t, "openai:chat", "github:write", "github:read", "*"))
	if want := parseSet(t, "github:write", "*"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !held.CoversAll(parseSet(t, "openai:chat", "openai:images")) {
		t.Error("openai:* does not cover two of its own, want it to")
	}
}

// scopes draws from few names, so that scopes often meet.
func scopes() *rapid.Generator[scope.Scope] {
	return rapid.Custom(func(t *rapid.T) scope.Scope {
		if rapid.IntRange(0, 9).Draw(t, "root") == 0 {
			root, _ := scope.Parse("*")
			return root
		}
		part := rapid.SampledFrom([]string{"*", "a", "b", "keeper"})
		s, err := scope.New(part.Draw(t, "provider"), part.Draw(t, "permission"))
		if err != nil {
			t.Fatalf("New: got %v, want a scope", err)
		}
		return s
	})
}

func TestCoveringIsAPartialOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := scopes().Draw(t, "a"), scopes().Draw(t, "b"), scopes().Draw(t, "c")
		if !a.Covers(a) {
			t.Fatalf("%q does not cover itself", a)
		}
		if a.Covers(b) && b.Covers(c) && !a.Covers(c) {
			t.Fatalf("%q covers %q covers %q, but the first does not cover the last", a, b, c)
		}
		if a.Covers(b) && b.Covers(a) && a != b {
			t.Fatalf("%q and %q cover each other and differ", a, b)
		}
	})
}

func TestNarrowerSetNeverCoversMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wide := scope.Set(rapid.SliceOf(scopes()).Draw(t, "wide"))
		narrow := scope.Set(rapid.SliceOf(scopes()).Draw(t, "narrow"))
		one := scopes().Draw(t, "one")
		if wide.CoversAll(narrow) && narrow.Covers(one) && !wide.Covers(one) {
			t.Fatalf("%v covers %v, which alone covers %q", wide, narrow, one)
		}
	})
}

func FuzzParsedScopeReadsBackAsItself(f *testing.F) {
	for _, s := range []string{"*", "openai:chat", "A:*", "*:b", "", ":", "keeper:write"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := scope.Parse(s)
		if err != nil {
			return
		}
		again, err := scope.Parse(parsed.String())
		if err != nil || again != parsed || !strings.EqualFold(s, parsed.String()) {
			t.Fatalf("Parse(%q): got %q, which reads back as %q (%v)", s, parsed, again, err)
		}
	})
}
