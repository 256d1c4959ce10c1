package auth

import (
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
)

const byAdmin = "admin token"

// Claims says who is calling, and is proof of it: only this package makes one,
// from a token whose signature, times and standing were checked. The zero
// Claims is nobody, and is refused everywhere. A Claims is immutable, but for
// Covers, which follows the agent's grant; it is safe for concurrent use.
type Claims struct {
	token  *verified // nil for the operator and for people
	admin  bool      // the static admin token was shown
	person *person   // nil unless an issuer said who it is
}

// person is somebody who signed in to the dashboard by an issuer. It is immutable.
type person struct {
	name      string
	scopes    scope.Set
	expiresAt time.Time
	stands    func() bool // whether the rule that let it in is in force
}

// personPrefix begins the name of whoever an issuer vouched for, where entries say who
// did something: no agent is called so.
const personPrefix = "oidc:"

// verified is what one raw token was found to say. It is immutable.
type verified struct {
	agent     *agent // as registered when the token was verified
	epoch     uint64 // the agent's, then
	keys      *keySet
	name      string
	jti       string
	scopes    scope.Set
	expiresAt time.Time
}

// Valid reports whether c says who is calling.
func (c Claims) Valid() bool { return c.token != nil || c.admin || c.person != nil }

// Admin reports whether the caller showed the static admin token. Such a caller
// is no agent: AgentID and JTI are empty.
func (c Claims) Admin() bool { return c.admin }

// AgentID is the calling agent's id; empty for the operator, for people and for nobody.
func (c Claims) AgentID() string {
	if c.token == nil {
		return ""
	}
	return c.token.agent.id
}

// Name is the agent's name as the token states it, or the person's; empty for the
// operator and for nobody.
func (c Claims) Name() string {
	switch {
	case c.person != nil:
		return c.person.name
	case c.token == nil:
		return ""
	}
	return c.token.name
}

// By is who calls, as audit entries name who made a change: an agent's id, or "admin
// token" or "oidc:" and a person's name, which no agent can be called. Nobody's is empty.
func (c Claims) By() string {
	switch {
	case c.admin:
		return byAdmin
	case c.person != nil:
		return personPrefix + c.person.name
	}
	return c.AgentID()
}

// JTI is the token's identity; empty for the operator and for nobody.
func (c Claims) JTI() string {
	if c.token == nil {
		return ""
	}
	return c.token.jti
}

// Scopes are those of the token, which the agent's grant may since have been
// narrowed below: decide with Covers. The caller must not change the slice.
// For the operator it is "*", for nobody nil.
func (c Claims) Scopes() scope.Set {
	switch {
	case c.admin:
		return everything()
	case c.person != nil:
		return c.person.scopes
	case c.token != nil:
		return c.token.scopes
	default:
		return nil
	}
}

// ExpiresAt is when the token ends, or the issuer is to be asked again; zero for the
// operator and for nobody.
func (c Claims) ExpiresAt() time.Time {
	switch {
	case c.person != nil:
		return c.person.expiresAt
	case c.token == nil:
		return time.Time{}
	}
	return c.token.expiresAt
}

// Covers reports whether the caller may do s now: the token covers it, and so
// does the grant of its agent, which is active, at this moment. The operator
// covers everything, a person what the rule says, nobody nothing.
func (c Claims) Covers(s scope.Scope) bool {
	switch {
	case c.admin:
		return everything().Covers(s)
	case c.person != nil:
		return c.person.scopes.Covers(s)
	case c.token == nil:
		return false
	}
	state := c.token.agent.state.Load()
	return state.admits(c.token.epoch) && c.token.scopes.Covers(s) && state.grant.Covers(s)
}

// lacking returns the scopes of wanted that the caller does not cover.
func (c Claims) lacking(wanted scope.Set) scope.Set {
	var missing scope.Set
	for _, s := range wanted {
		if !c.Covers(s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// InForce are the scopes that the caller covers at this moment: what its token and
// its agent's grant have in common. The caller must not change the slice.
func (c Claims) InForce() scope.Set {
	if c.token == nil {
		return c.Scopes()
	}
	var held scope.Set
	for _, s := range slices.Concat(c.token.scopes, c.token.agent.state.Load().grant) {
		if c.Covers(s) && !held.Covers(s) {
			held = append(slices.DeleteFunc(held, s.Covers), s)
		}
	}
	return held
}

func (c Claims) mayManage() bool { return c.Covers(scope.Keeper(scope.Write)) }

func everything() scope.Set {
	all, err := scope.Parse("*")
	if err != nil {
		return nil
	}
	return scope.Set{all}
}
