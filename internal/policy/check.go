package policy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
)

// Operator stands for the caller with the admin token where a Grant names an
// agent; no agent can have such an id.
const Operator = "admin token"

// Check is a call that costs nothing and changes nothing, by whose answer an
// operator learns whether the provider takes a credential. 401 says that it does
// not.
type Check struct {
	// Path, with its query, of a harmless and free call by GET that only a good credential
	// gets an answer to, from the provider's root: `keeper secret test` makes it. Most
	// built-in providers have one.
	Path string `yaml:"path"`
	// Statuses, beside 401, that say that the credential is not taken.
	Refused []int `yaml:"refused"`
	// Member of the JSON answer that is `true` where the credential is taken, for a provider
	// that answers 200 in any case.
	Field string `yaml:"field"`
}

// check refuses what could not be called.
func (c *Check) check() error {
	if c == nil {
		return nil
	}
	if !strings.HasPrefix(c.Path, "/") {
		return errors.New("check.path: want a path from the provider's root, such as /v1/models")
	}
	if _, err := NewCall(c.spec("", "")); err != nil {
		return fmt.Errorf("check.path: %w", err)
	}
	for _, status := range c.Refused {
		if status < 400 || status > 499 {
			return errors.New("check.refused: want statuses from 400 to 499")
		}
	}
	return nil
}

func (c *Check) spec(provider, label string) CallSpec {
	path, query, _ := strings.Cut(c.Path, "?")
	return CallSpec{Provider: provider, Label: label, Method: http.MethodGet, EscapedPath: path, RawQuery: query}
}

// AuthorizeCheck decides whether the claims may have the provider's check made: they
// must cover keeper:write, with which they could as well set the credential. The call
// is the definition's own, and goes to the provider's root. The grant names the label,
// any where it is empty, and passes over which agents may use the credential. Every
// error is a *Denied.
func (c *Catalogue) AuthorizeCheck(claims auth.Claims, provider, label string) (Grant, error) {
	if !claims.Covers(scope.Keeper(scope.Write)) {
		return Grant{}, &Denied{Code: CodeScopeDenied, Message: "scope keeper:write is needed to test a credential"}
	}
	p, known := c.Provider(provider)
	if !known || p.Check == nil {
		return Grant{}, &Denied{Code: CodeProviderUnknown, Message: "no provider of that name has a check"}
	}
	call, err := NewCall(p.Check.spec(p.Name, label))
	if err != nil {
		return Grant{}, err
	}
	base, err := p.destination(call)
	if err != nil {
		return Grant{}, err
	}
	to, _ := p.routesOf(call.first())
	return Grant{
		agentID: or(claims.AgentID(), Operator), agentName: claims.Name(), jti: claims.JTI(),
		scope: scope.Keeper(scope.Write), provider: p, route: to, base: base, call: call, check: true,
	}, nil
}

// Checks reports whether the grant is for a provider's check, which any credential
// of the provider may serve, whichever agents it is for.
func (g Grant) Checks() bool { return g.check }
