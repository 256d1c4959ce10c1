package auth

import (
	"errors"
	"time"

	"github.com/superinstance/keeper/internal/exchange"
)

// Person returns the claims of somebody for whom an issuer vouched and whom a rule of
// the operator's lets sign in, for a time. Such a caller is no agent, and has no token:
// only a session stands for it, until the rule is in force no more. name is what it is called in audit entries; the caller
// has found no secret in it.
func (a *Authority) Person(who exchange.Person, name string, lasts time.Duration) (Claims, error) {
	if !who.Valid() || name == "" || lasts <= 0 {
		return Claims{}, errors.New("signing somebody in: nobody vouched for it")
	}
	return Claims{person: &person{name, who.Scopes(), a.now().Add(lasts), who.Stands}}, nil
}
