package policy_test

import (
	"errors"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
	"pgregory.net/rapid"
)

// grantFor is a grant at openai for the label; the agent is that of claimsOf.
func grantFor(t testing.TB, c *policy.Catalogue, label string) policy.Grant {
	t.Helper()
	call := newCall(t, policy.CallSpec{Provider: "openai", Label: label, Method: "GET", EscapedPath: "/v1/models"})
	g, err := c.Authorize(claimsOf(t, "openai:*"), call)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestChoosingFollowsTheOrderOfPrecedence(t *testing.T) {
	c := builtin(t)
	me := grantFor(t, c, "").AgentID()
	open := func(label string) policy.Candidate {
		return policy.Candidate{SecretID: label + "-open", Label: label, Version: 1}
	}
	only := func(label string, agents ...string) policy.Candidate {
		return policy.Candidate{SecretID: label + "-only", Label: label, Version: 2, Restricted: true, AllowedAgents: agents}
	}
	for _, v := range []struct {
		name, label string
		candidates  []policy.Candidate
		want        string
	}{
		{"none", "", nil, ""},
		{"open default", "", []policy.Candidate{open("default")}, "default-open"},
		{"default before others", "", []policy.Candidate{open("a"), open("default"), open("b")}, "default-open"},
		{"first by name", "", []policy.Candidate{open("c"), open("b"), open("d")}, "b-open"},
		{"restricted naming the agent before default", "", []policy.Candidate{open("default"), only("z", "x", me)}, "z-only"},
		{"restricted default before restricted others", "", []policy.Candidate{only("a", me), only("default", me), open("default")}, "default-only"},
		{"restricted to others", "", []policy.Candidate{only("a", "somebody"), open("z")}, "z-open"},
		{"restricted to others alone", "", []policy.Candidate{only("a", "somebody")}, ""},
		{"restricted to nobody", "", []policy.Candidate{only("a")}, ""},
		{"latest version", "", []policy.Candidate{{SecretID: "old", Label: "a", Version: 1}, {SecretID: "new", Label: "a", Version: 3}, {SecretID: "mid", Label: "a", Version: 2}}, "new"},
		{"named label", "b", []policy.Candidate{open("default"), open("b"), only("a", me)}, "b-open"},
		{"named label that is missing", "x", []policy.Candidate{open("default")}, ""},
		{"named label in another case", "B", []policy.Candidate{open("b")}, ""},
		{"named label restricted to others", "a", []policy.Candidate{only("a", "somebody"), open("default")}, ""},
		{"no id, no version", "", []policy.Candidate{{Label: "default", Version: 1}, {SecretID: "s", Label: "default"}}, ""},
	} {
		ref, err := policy.Choose(grantFor(t, c, v.label), v.candidates)
		switch {
		case v.want == "" && (!errors.Is(err, policy.ErrNoCredential) || ref.Valid()):
			t.Errorf("%s: got %q and %v, want ErrNoCredential", v.name, ref.SecretID(), err)
		case v.want != "" && (err != nil || !ref.Valid() || ref.SecretID() != v.want || ref.Provider() != "openai" || ref.Version() < 1 || ref.Label() == ""):
			t.Errorf("%s: got %q and %v, want %q", v.name, ref.SecretID(), err, v.want)
		}
	}
}

func TestChoiceDoesNotDependOnTheOrderOfCandidates(t *testing.T) {
	c := builtin(t)
	g := grantFor(t, c, "")
	candidate := rapid.Custom(func(t *rapid.T) policy.Candidate {
		return policy.Candidate{
			SecretID: rapid.StringMatching(`[a-d]`).Draw(t, "id"), Label: rapid.SampledFrom([]string{"default", "a", "b"}).Draw(t, "label"),
			Version: rapid.IntRange(1, 3).Draw(t, "version"), Restricted: rapid.Bool().Draw(t, "restricted"),
			AllowedAgents: rapid.SliceOfN(rapid.SampledFrom([]string{g.AgentID(), "other"}), 0, 2).Draw(t, "agents"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		candidates := rapid.SliceOf(candidate).Draw(t, "candidates")
		first, firstErr := policy.Choose(g, candidates)
		second, secondErr := policy.Choose(g, rapid.Permutation(candidates).Draw(t, "shuffled"))
		if first != second || (firstErr == nil) != (secondErr == nil) {
			t.Fatalf("got %v and %v, want the same", first, second)
		}
	})
}
