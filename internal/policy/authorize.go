package policy

import (
	"net/url"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
)

// The codes of a Denied.
const (
	CodeTokenInvalid    = "token_invalid"
	CodeProviderUnknown = "provider_unknown"
	CodeScopeDenied     = "scope_denied"
	CodeHostUnknown     = "host_unknown"
)

// Denied is why a call may not pass. Message is a sentence for the caller: it
// names scopes and the mend, and never a query value.
type Denied struct {
	Code    string // one of the Code constants
	Message string
}

// Error returns the message.
func (d *Denied) Error() string { return d.Message }

// Grant says that an agent may make a call. Authorize alone makes one; the
// zero Grant is refused by every later step.
type Grant struct {
	agentID, agentName, jti string
	scope                   scope.Scope
	provider                *Provider
	route                   *route
	base                    *url.URL // where the call goes
	call                    Call
	check                   bool
}

// Valid reports whether Authorize made the grant.
func (g Grant) Valid() bool { return g.provider != nil && g.route != nil && g.agentID != "" }

// AgentID is the calling agent's id.
func (g Grant) AgentID() string { return g.agentID }

// AgentName is the calling agent's name.
func (g Grant) AgentName() string { return g.agentName }

// JTI is the id of the token that the agent came with.
func (g Grant) JTI() string { return g.jti }

// Scope is the permission that covers the call as sent and that the agent
// holds, a named one before read and write; or "provider:*" where no
// permission covers it.
func (g Grant) Scope() scope.Scope { return g.scope }

// Provider is the provider's definition; nil in the zero Grant.
func (g Grant) Provider() *Provider { return g.provider }

// Route is where the call goes and how. It is the caller's own copy, and zero
// in the zero Grant.
func (g Grant) Route() Route {
	if g.route == nil {
		return Route{}
	}
	r := g.route.public()
	if r.BaseURL = nil; g.base != nil {
		base := *g.base
		r.BaseURL = &base
	}
	return r
}

// Injection is how the credential goes in. It is shared: for reading alone. It is
// zero in the zero Grant.
func (g Grant) Injection() Injection {
	if g.route == nil {
		return Injection{}
	}
	return g.route.inject
}

// BaseURL is what the call's path is appended to; nil in the zero Grant. It is
// shared: for reading alone.
func (g Grant) BaseURL() *url.URL { return g.base }

// Call is the call that was decided about.
func (g Grant) Call() Call { return g.call }

// Label is the credential's label that the caller named; empty for none.
func (g Grant) Label() string { return g.call.label }

// NeedsBody reports whether the scope of the call depends on its body, which
// WithBody must then give before Authorize is asked.
func (c *Catalogue) NeedsBody(call Call) bool {
	p, known := c.Provider(call.provider)
	if !known {
		return false
	}
	for read := range call.readings {
		exact, folded := p.routesOf(read)
		if exact.dependsOnBody(read) || folded != nil && folded.dependsOnBody(read) {
			return true
		}
	}
	return false
}

func (r *route) dependsOnBody(read reading) bool {
	for _, p := range r.permissions {
		for i := range p.rules {
			if one := &p.rules[i]; one.operation != unread && one.reaches(read) {
				return true
			}
		}
	}
	return false
}

// Route returns where a call would go, allowed or not: before it is decided,
// a refusal must already have the shape that the clients of the route show.
// It is false for a provider that the catalogue lacks.
func (c *Catalogue) Route(call Call) (Route, bool) {
	p, known := c.Provider(call.provider)
	if !known || call.methods == nil {
		return Route{}, false
	}
	to, _ := p.routesOf(call.first())
	return to.public(), true
}

// Authorize decides whether the claims cover every reading of the call. Every
// error is a *Denied. The admin token, which is no agent's, opens no provider.
func (c *Catalogue) Authorize(claims auth.Claims, call Call) (Grant, error) {
	switch {
	case !claims.Valid():
		return Grant{}, &Denied{Code: CodeTokenInvalid, Message: "the token is not valid"}
	case claims.Admin() || claims.AgentID() == "":
		return Grant{}, &Denied{Code: CodeTokenInvalid, Message: "the admin token opens no provider; use an agent's token"}
	case call.methods == nil:
		return Grant{}, &Denied{Code: CodeScopeDenied, Message: "the call could not be read"}
	}
	p, known := c.Provider(call.provider)
	if !known {
		return Grant{}, &Denied{Code: CodeProviderUnknown, Message: unknownProvider(call.provider)}
	}
	if p.Tunnel != call.tunnel {
		return Grant{}, &Denied{Code: CodeScopeDenied, Message: "connections to " + p.Name + " are passed on unread, and only by way of keeper as a proxy"}
	}
	granted, err := p.decide(claims, call)
	if err != nil {
		return Grant{}, err
	}
	base, err := p.destination(call)
	if err != nil {
		return Grant{}, err
	}
	to, _ := p.routesOf(call.first())
	return Grant{
		agentID: claims.AgentID(), agentName: claims.Name(), jti: claims.JTI(),
		scope: granted, provider: p, route: to, base: base, call: call,
	}, nil
}

// destination is where a call goes. One that was made at a site must be of a
// route that is there in every reading: a credential for one host never goes to
// another.
func (p *Provider) destination(call Call) (*url.URL, error) {
	to, _ := p.routesOf(call.first())
	if call.site == (Site{}) {
		if to.base == nil {
			return nil, &Denied{Code: CodeProviderUnknown, Message: p.unconfigured()}
		}
		return to.base, nil
	}
	for read := range call.readings {
		exact, folded := p.routesOf(read)
		if exact.at(call.site, call.prefix) == nil || folded != nil && folded.at(call.site, call.prefix) == nil {
			return nil, &Denied{Code: CodeHostUnknown, Message: describe(call) + " is no call of " + p.Name + " at host " + call.site.String()}
		}
	}
	return to.at(call.site, call.prefix), nil
}

// decide returns the scope that covers the call as sent, or names what is
// missing for any reading.
func (p *Provider) decide(claims auth.Claims, call Call) (scope.Scope, error) {
	var granted scope.Scope
	var missing []demand
	for read := range call.readings {
		exact, folded := p.routesOf(read)
		held, ok := p.allow(claims, exact, read)
		if granted == (scope.Scope{}) {
			granted = held
		}
		if !ok {
			missing = append(missing, p.demand(exact, read))
		}
		if folded == nil {
			continue
		}
		if _, ok := p.allow(claims, folded, read); !ok {
			missing = append(missing, p.demand(folded, read))
		}
	}
	if len(missing) > 0 {
		return scope.Scope{}, p.denied(claims, call, missing)
	}
	return granted, nil
}

// allow returns the first scope that the claims hold and that covers the
// reading, named permissions first: "provider:*" where no permission covers it.
func (p *Provider) allow(claims auth.Claims, r *route, read reading) (scope.Scope, bool) {
	covered := false
	for i := range r.permissions {
		if one := &r.permissions[i]; one.covers(read) {
			if claims.Covers(one.scope) {
				return one.scope, true
			}
			covered = true
		}
	}
	if !covered && claims.Covers(p.all) {
		return p.all, true
	}
	return scope.Scope{}, false
}

// demand is the scopes any one of which covers a reading, named permissions
// first; where no permission does, it is "provider:*" alone.
type demand []scope.Scope

func (p *Provider) demand(r *route, read reading) demand {
	var wanted demand
	for i := range r.permissions {
		if one := &r.permissions[i]; one.covers(read) {
			wanted = append(wanted, one.scope)
		}
	}
	if wanted == nil {
		return demand{p.all}
	}
	return wanted
}

// denied writes the refusal, such as "scope github:write (or github:*) is
// needed for POST /repos/…; this token has github:read".
func (p *Provider) denied(claims auth.Claims, call Call, missing []demand) error {
	message := needed(missing, p.all) + " for " + describe(call) + "; "
	if held := p.held(claims); len(held) > 0 {
		message += "this token has " + held.String()
	} else {
		message += "this token has no scope of " + p.Name
	}
	return &Denied{Code: CodeScopeDenied, Message: message}
}

// needed names the scopes that would do: any one that covers all that is
// missing, or else one for each, or else all of the provider.
func needed(missing []demand, all scope.Scope) string {
	common := missing[0]
	var each scope.Set
	for _, wanted := range missing {
		common = slices.DeleteFunc(slices.Clone(common), func(s scope.Scope) bool { return !slices.Contains(wanted, s) })
		if last := wanted[len(wanted)-1]; !slices.Contains(each, last) {
			each = append(each, last)
		}
	}
	switch {
	case slices.Contains(each, all):
		return "scope " + all.String() + " is needed"
	case len(common) == 1:
		return "scope " + common[0].String() + " (or " + all.String() + ") is needed"
	case len(common) > 1:
		return "one of the scopes " + scope.Set(common).String() + " (or " + all.String() + ") is needed"
	}
	return "the scopes " + strings.Join(each.Strings(), " and ") + " (or " + all.String() + ") are needed"
}

// held returns what the claims really cover here.
func (p *Provider) held(claims auth.Claims) scope.Set {
	var held scope.Set
	for _, s := range claims.Scopes() {
		if (s.Provider() == p.Name || s.Provider() == "*") && claims.Covers(s) {
			held = append(held, s)
		}
	}
	return held
}

const mostShown = 6 // segments of a path in a message

// describe names the call without what could be secret in its path: a segment
// that does not look like a word stands as "…".
func describe(call Call) string {
	var b strings.Builder
	b.WriteString(shownMethod(call.method))
	b.WriteByte(' ')
	segments := call.paths[0]
	for i, s := range segments {
		b.WriteByte('/')
		if i == mostShown || !isWord(s) {
			s = "…"
		}
		b.WriteString(s)
		if i == mostShown {
			break
		}
	}
	if len(segments) == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

func shownMethod(method string) string {
	if isMethod(method) {
		return method
	}
	return "…"
}

// isWord: short, and of letters and few other characters; or a version.
func isWord(s string) bool {
	if len(s) >= 2 && len(s) <= 8 && s[0] == 'v' && s[1] >= '0' && s[1] <= '9' {
		return true
	}
	return s != "" && len(s) <= 24 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("._:-", r)
	})
}

func unknownProvider(name string) string {
	if !scope.IsName(name) || len(name) > 64 {
		return "no such provider is known"
	}
	return "no provider " + name + " is known; the operator can name its address with KEEPER_PROXY_" + envName(name) + "_URL"
}

func (p *Provider) unconfigured() string {
	if p.Tenant == "" {
		return "provider " + p.Name + " has hosts and no base URL: it is reached by way of keeper as a proxy, at these hosts"
	}
	return "provider " + p.Name + " has no address yet; the operator must set KEEPER_PROXY_" + p.EnvName() +
		"_URL, or baseURL in the configuration, to " + p.Tenant
}
