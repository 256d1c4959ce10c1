package auth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

func TestAChangePutsNothingInForceThatTheCallerDoesNotHold(t *testing.T) {
	active, disabled := store.Active, store.Disabled
	tests := []struct {
		name    string
		first   *store.AgentStatus // the operator's change before
		change  auth.AgentChange
		grant   []string // where the change has one
		missing string
	}{
		{"narrowing what one does not hold", nil, auth.AgentChange{}, []string{"github:read"}, ""},
		{"adding what one holds", nil, auth.AgentChange{}, []string{"github:*", "openai:chat"}, ""},
		{"adding what one does not hold", nil, auth.AgentChange{}, []string{"github:*", "slack:read"}, "slack:read"},
		{"granting everything", nil, auth.AgentChange{}, []string{"*"}, "*"},
		{"a wider scope than the one there", nil, auth.AgentChange{}, []string{"*:read"}, "*:read"},
		{"pausing", nil, auth.AgentChange{Status: &disabled}, nil, ""},
		{"restoring what one does not hold", &disabled, auth.AgentChange{Status: &active}, nil, "github:*"},
		{"restoring with less", &disabled, auth.AgentChange{Status: &active}, []string{"openai:chat"}, ""},
		{"a wider grant for one that is paused", &disabled, auth.AgentChange{}, []string{"*"}, "*"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := authtest.Open(t, nil)
			by := a.Claims(t, "deputy", "keeper:write", "openai:*")
			register(t, a, "agent", "github:*")
			if test.first != nil {
				if _, err := a.Update(t.Context(), a.Admin, "agent", auth.AgentChange{Status: test.first}); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := a.Agent("agent")
			if test.grant != nil {
				grant := authtest.Scopes(t, test.grant...)
				test.change.Scopes = &grant
			}
			_, err := a.Update(t.Context(), by, "agent", test.change)
			wantMissing(t, err, test.missing)
			after, _ := a.Agent("agent")
			if test.missing != "" && (!slices.Equal(after.Scopes, before.Scopes) || after.Status != before.Status) {
				t.Errorf("a refused change is made: got %q %q, want %q %q", after.Status, after.Scopes, before.Status, before.Scopes)
			}
		})
	}
}

func TestAChangeNeedsKeeperWrite(t *testing.T) {
	a := authtest.Open(t, nil)
	by := a.Claims(t, "agent", "openai:*", "keeper:read", "*:*")
	grant := authtest.Scopes(t, "openai:*")
	_, err := a.Update(t.Context(), by, "agent", auth.AgentChange{Scopes: &grant})
	wantError(t, "changing its own grant", err, auth.ErrForbidden)
	wantError(t, "deleting itself", a.Delete(t.Context(), by, "agent"), auth.ErrForbidden)
	wantError(t, "rotating", a.RotateSigning(t.Context(), by), auth.ErrForbidden)
}

func TestFieldsOfAChangeAreChecked(t *testing.T) {
	a := authtest.Open(t, nil)
	register(t, a, "agent")
	pending, unknown, long := store.Pending, store.AgentStatus("root"), strings.Repeat("x", 257)
	for _, test := range []struct {
		field  string
		change auth.AgentChange
	}{
		{"status", auth.AgentChange{Status: &pending}},
		{"status", auth.AgentChange{Status: &unknown}},
		{"status", auth.AgentChange{Status: new(store.AgentStatus)}},
		{"name", auth.AgentChange{Name: &long}},
	} {
		_, err := a.Update(t.Context(), a.Admin, "agent", test.change)
		var field *auth.FieldError
		if !errors.As(err, &field) || field.Field != test.field {
			t.Errorf("got error %v, want one about %s", err, test.field)
		}
	}
	_, err := a.Update(t.Context(), a.Admin, "unknown", auth.AgentChange{})
	wantError(t, "changing an unknown agent", err, store.ErrNotFound)
}

func TestAChangeIsKept(t *testing.T) {
	a := authtest.Open(t, nil)
	secret := register(t, a, "agent", "openai:chat")
	name, grant := "New name", authtest.Scopes(t, "github:read")
	changed, err := a.Update(t.Context(), a.Admin, "agent", auth.AgentChange{Name: &name, Scopes: &grant})
	if err != nil {
		t.Fatal(err)
	}
	again := authtest.OpenOn(t, a.Store, a.Keys, nil)
	kept, err := again.Agent("agent")
	if err != nil {
		t.Fatal(err)
	}
	for from, row := range map[string]store.Agent{"Update": changed, "a restart": kept} {
		if row.Name != name || !slices.Equal(row.Scopes, grant.Strings()) || row.Status != store.Active {
			t.Errorf("%s: got %q %q %q", from, row.Name, row.Scopes, row.Status)
		}
	}
	issued, err := again.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "agent", AgentSecret: secret})
	if err != nil || issued.Scopes.String() != "github:read" {
		t.Errorf("issuing after a restart: got scopes %q, error %v", issued.Scopes, err)
	}
	empty := ""
	if changed, err = a.Update(t.Context(), a.Admin, "agent", auth.AgentChange{Name: &empty}); err != nil || changed.Name != "agent" {
		t.Errorf("an empty name: got %q, error %v; want the id", changed.Name, err)
	}
}

func TestEachChangeIsRecorded(t *testing.T) {
	a := authtest.Open(t, nil)
	issued := a.Token(t, "agent")
	for _, end := range []string{"by token", "by status disabled", "by agent", "by status revoked", "by deletion"} {
		if err := endings[end](t.Context(), a, issued); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"registered agent active", "issued agent", "revoked agent one", "updated agent active disabled",
		"revoked agent all", "updated agent revoked revoked", "revoked agent all", "deleted agent",
	}
	if got := a.Journal.Lines(); !slices.Equal(got, want) {
		t.Errorf("got journal %q, want %q", got, want)
	}
}

func TestAgentsAreSortedByID(t *testing.T) {
	a := authtest.Open(t, nil)
	for _, id := range []string{"m", "Z", "a", "0"} {
		register(t, a, id)
	}
	var ids []string
	for _, row := range a.Agents() {
		ids = append(ids, row.ID)
	}
	if want := []string{"0", "Z", "a", "m"}; !slices.Equal(ids, want) {
		t.Errorf("got %q, want %q", ids, want)
	}
}
