package auth_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

func approval(c *auth.Config) { c.Registration = auth.RegisterApproval }

func open(t *testing.T) func(*auth.Config) {
	return func(c *auth.Config) {
		c.Registration = auth.RegisterOpen
		c.DefaultScopes = authtest.Scopes(t, "openai:chat", "github:*")
	}
}

func TestStrangersMayNotRegisterByDefault(t *testing.T) {
	a := authtest.Open(t, nil)
	_, _, err := a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{AgentID: "walk-in"})
	wantError(t, "registering", err, auth.ErrForbidden)
	if got := len(a.Agents()); got != 0 {
		t.Errorf("got %d agents, want none", got)
	}
}

func TestAnAgentWithoutKeeperWriteIsAStrangerToRegistration(t *testing.T) {
	a := authtest.Open(t, nil)
	by := a.Claims(t, "reader", "keeper:read", "*:write")
	_, _, err := a.Register(t.Context(), by, auth.RegisterRequest{AgentID: "next"})
	wantError(t, "registering", err, auth.ErrForbidden)
}

func TestRegisteringByTheOperatorGrantsWhatIsAsked(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	row, secret, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{
		AgentID: "Builder.1", GitHubUser: "octocat", Scopes: authtest.Scopes(t, "OpenAI:chat", "github:read"), ScopesGiven: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if row.ID != "Builder.1" || row.Name != "Builder.1" || row.GitHubUser != "octocat" || row.Status != store.Active {
		t.Errorf("got %q, %q, %q, %q", row.ID, row.Name, row.GitHubUser, row.Status)
	}
	if want := []string{"github:read", "openai:chat"}; !slices.Equal(row.Scopes, want) {
		t.Errorf("got scopes %q, want %q", row.Scopes, want)
	}
	if !row.CreatedAt.Equal(now.Now()) {
		t.Errorf("got created at %v, want %v", row.CreatedAt, now.Now())
	}
	if !regexp.MustCompile(`^keeper_as_[0-9A-Za-z]{43}$`).MatchString(secret) {
		t.Errorf("the agent secret has another form: %d characters", len(secret))
	}
}

func TestRegisteringWithoutScopesGrantsNone(t *testing.T) {
	a := authtest.Open(t, nil)
	row, _, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if row.Scopes == nil || len(row.Scopes) != 0 {
		t.Errorf("got scopes %#v, want an empty list", row.Scopes)
	}
}

func TestNobodyGrantsBeyondWhatHeHolds(t *testing.T) {
	a := authtest.Open(t, nil)
	by := a.Claims(t, "deputy", "keeper:write", "openai:*")
	tests := []struct {
		asked   []string
		missing string
	}{
		{[]string{"openai:chat"}, ""},
		{[]string{"openai:*", "keeper:write"}, ""},
		{[]string{"*"}, "*"},
		{[]string{"*:*"}, "*:*"},
		{[]string{"openai:chat", "github:read", "keeper:audit"}, "github:read, keeper:audit"},
	}
	for i, test := range tests {
		id := "agent" + string(rune('a'+i))
		_, _, err := a.Register(t.Context(), by, auth.RegisterRequest{
			AgentID: id, Scopes: authtest.Scopes(t, test.asked...), ScopesGiven: true,
		})
		wantMissing(t, err, test.missing)
		if _, err := a.Agent(id); (err == nil) != (test.missing == "") {
			t.Errorf("asking %q: agent is there: %v", test.asked, err == nil)
		}
	}
}

// wantMissing wants no error where missing is empty, else a ScopeError.
func wantMissing(t *testing.T, err error, missing string) {
	t.Helper()
	var beyond *auth.ScopeError
	switch {
	case missing == "" && err != nil:
		t.Errorf("got error %v, want none", err)
	case missing != "" && !errors.As(err, &beyond):
		t.Errorf("got error %v, want scopes %s to be missing", err, missing)
	case missing != "" && beyond.Missing.String() != missing:
		t.Errorf("got missing %s, want %s", beyond.Missing, missing)
	}
}

func TestAWalkInWaitsWithoutGrantUntilApproved(t *testing.T) {
	a := authtest.Open(t, approval)
	row, secret, err := a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{
		AgentID: "walk-in", Scopes: authtest.Scopes(t, "*"), ScopesGiven: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if row.Status != store.Pending || len(row.Scopes) != 0 || secret == "" {
		t.Errorf("got status %q, scopes %q, a secret %v; want pending, none, true", row.Status, row.Scopes, secret != "")
	}
	ask := auth.TokenRequest{AgentID: "walk-in", AgentSecret: secret}
	_, err = a.Issue(t.Context(), auth.Claims{}, ask)
	wantError(t, "issuing before approval", err, auth.ErrAgentPending)
	_, err = a.Issue(t.Context(), a.Admin, auth.TokenRequest{AgentID: "walk-in"})
	wantError(t, "issuing by the operator before approval", err, auth.ErrAgentPending)

	active, grant := store.Active, authtest.Scopes(t, "openai:chat")
	if _, err := a.Update(t.Context(), a.Admin, "walk-in", auth.AgentChange{Status: &active, Scopes: &grant}); err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(t.Context(), auth.Claims{}, ask)
	if err != nil || issued.Scopes.String() != "openai:chat" {
		t.Errorf("issuing after approval: got scopes %q, error %v", issued.Scopes, err)
	}
}

func TestTheQueueOfWalkInsIsBoundedUnderConcurrency(t *testing.T) {
	a := authtest.Open(t, func(c *auth.Config) {
		c.Registration = auth.RegisterApproval
		c.PendingLimit = 3
	})
	var asking sync.WaitGroup
	for i := range 12 {
		asking.Go(func() {
			a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{AgentID: "walk-in" + string(rune('a'+i))})
		})
	}
	asking.Wait()
	if got := len(a.Agents()); got != 3 {
		t.Fatalf("got %d agents waiting, want 3", got)
	}
	late := auth.RegisterRequest{AgentID: "late"}
	_, _, err := a.Register(t.Context(), auth.Claims{}, late)
	wantError(t, "registering at a full queue", err, auth.ErrQueueFull)
	if _, _, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "own"}); err != nil {
		t.Errorf("the operator registering beside a full queue: %v", err)
	}
	if err := a.Delete(t.Context(), a.Admin, a.Agents()[2].ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Register(t.Context(), auth.Claims{}, late); err != nil {
		t.Errorf("registering once there is room: %v", err)
	}
}

func TestOpenRegistrationGrantsTheConfiguredScopesAtMost(t *testing.T) {
	tests := []struct {
		name  string
		given bool
		asked []string
		want  []string
	}{
		{"none asked", false, nil, []string{"github:*", "openai:chat"}},
		{"some of them", true, []string{"github:read"}, []string{"github:read"}},
		{"more than there are", true, []string{"*", "openai:*", "openai:chat", "keeper:write"}, []string{"openai:chat"}},
		{"an empty list", true, nil, []string{}},
	}
	a := authtest.Open(t, open(t))
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			row, _, err := a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{
				AgentID: "agent" + string(rune('a'+i)), ScopesGiven: test.given, Scopes: authtest.Scopes(t, test.asked...),
			})
			if err != nil || row.Status != store.Active || !slices.Equal(row.Scopes, test.want) {
				t.Errorf("got status %q, scopes %q, error %v; want active, %q", row.Status, row.Scopes, err, test.want)
			}
		})
	}
}

func TestTheOperatorGrantsWhatItAsksWhereRegistrationIsOpen(t *testing.T) {
	a := authtest.Open(t, open(t))
	for _, test := range []struct {
		id    string
		given bool
		want  []string
	}{{"asked", true, []string{"slack:*"}}, {"default", false, []string{"github:*", "openai:chat"}}} {
		request := auth.RegisterRequest{AgentID: test.id, ScopesGiven: test.given}
		if test.given {
			request.Scopes = authtest.Scopes(t, test.want...)
		}
		row, _, err := a.Register(t.Context(), a.Admin, request)
		if err != nil || !slices.Equal(row.Scopes, test.want) {
			t.Errorf("%s: got scopes %q, error %v; want %q", test.id, row.Scopes, err, test.want)
		}
	}
}

func TestAnIDThatIsTakenIsNotRegisteredAgain(t *testing.T) {
	a := authtest.Open(t, open(t))
	_, secret, err := a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{AgentID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []auth.Claims{{}, a.Admin} {
		_, _, err = a.Register(t.Context(), by, auth.RegisterRequest{AgentID: "a"})
		wantError(t, "registering again", err, store.ErrExists)
	}
	if _, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "a", AgentSecret: secret}); err != nil {
		t.Errorf("the first secret no longer works: %v", err)
	}
	if got, want := a.Journal.Lines()[:1], []string{"registered a active"}; !slices.Equal(got, want) {
		t.Errorf("got journal %q, want %q", got, want)
	}
}

func TestFieldsOfARegistrationAreChecked(t *testing.T) {
	long := strings.Repeat("x", 257)
	many := make([]string, 300)
	for i := range many {
		many[i] = "provider:permission" + strings.Repeat("x", i)
	}
	tests := []struct {
		name    string
		request auth.RegisterRequest
		field   string
	}{
		{"empty id", auth.RegisterRequest{}, "agentId"},
		{"long id", auth.RegisterRequest{AgentID: long[:129]}, "agentId"},
		{"id with a slash", auth.RegisterRequest{AgentID: "a/b"}, "agentId"},
		{"id that begins with a dot", auth.RegisterRequest{AgentID: ".a"}, "agentId"},
		{"id with a line break", auth.RegisterRequest{AgentID: "a\n"}, "agentId"},
		{"id with a letter beyond ASCII", auth.RegisterRequest{AgentID: "ä"}, "agentId"},
		{"long name", auth.RegisterRequest{AgentID: "a", Name: long}, "agentName"},
		{"name with a control character", auth.RegisterRequest{AgentID: "a", Name: "a\x1b[2J"}, "agentName"},
		{"name that turns the text around", auth.RegisterRequest{AgentID: "a", Name: "a\u202eb"}, "agentName"},
		{"name in no UTF-8", auth.RegisterRequest{AgentID: "a", Name: "a\xff"}, "agentName"},
		{"GitHub user with a control character", auth.RegisterRequest{AgentID: "a", GitHubUser: "\x00"}, "githubUser"},
		{"too many scopes", auth.RegisterRequest{AgentID: "a", ScopesGiven: true, Scopes: authtest.Scopes(t, many...)}, "scopes"},
	}
	a := authtest.Open(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := a.Register(t.Context(), a.Admin, test.request)
			var field *auth.FieldError
			if !errors.As(err, &field) || field.Field != test.field {
				t.Errorf("got error %v, want one about %s", err, test.field)
			}
		})
	}
	for _, id := range []string{"a", "0", "A.b_c-d", long[:128]} {
		if _, _, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: id, Name: "Zoë's 2nd 🤖"}); err != nil {
			t.Errorf("registering id %q: %v", id, err)
		}
	}
}

func TestARegistrationThatCannotBeRecordedIsRefused(t *testing.T) {
	broken := errors.New("broken")
	a := authtest.Open(t, nil)
	a.Journal.Fail(broken)
	_, _, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "a"})
	wantError(t, "registering without a journal", err, broken)
	a.Journal.Fail(nil)
	a.Store.Fail(broken)
	_, _, err = a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "a"})
	wantError(t, "registering without a store", err, broken)
	a.Store.Fail(nil)
	if rows, _ := a.Store.Agents(t.Context()); len(rows) != 0 || len(a.Agents()) != 0 {
		t.Errorf("got %d rows and %d agents, want none", len(rows), len(a.Agents()))
	}
}
