// Package exchange lets those in who hold a token of an issuer that the operator
// trusts (OpenID Connect), so that they need no secret of keeper's. Its one
// invariant: an Admission exists only for a token whose signature, audience and
// times were checked against keys that the issuer publishes, and whose claims a
// rule of the operator's matches; what cannot be checked is refused. It never
// imports auth, the vault, the proxy or a database.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
)

// The bounds of what the operator can say.
const (
	DefaultMaxAge = time.Hour
	MaxMaxAge     = 24 * time.Hour
	DefaultTTL    = 15 * time.Minute
	MinTTL        = time.Minute
	MaxTTL        = 24 * time.Hour
)

// Issuer is whom the operator trusts to say who somebody is.
type Issuer struct {
	// URL is the issuer as its tokens name it in iss, to the letter. Its keys are
	// found by OpenID Connect Discovery unless JWKSFile or JWKSURL says where.
	URL string
	// Audience is what tokens must be for, and for nobody else.
	Audience string
	// JWKSFile is a file of the issuer's keys (RFC 7517), read again where a key is
	// not in it.
	JWKSFile string
	// JWKSURL is where the issuer's keys are, in place of discovery.
	JWKSURL string
	// CAFile is a PEM file of the authorities that vouch for the issuer. Empty: the
	// system's.
	CAFile string
	// MaxAge is how long after its iat a token is taken, whatever its exp says.
	// Zero: DefaultMaxAge; at most MaxMaxAge.
	MaxAge time.Duration
	// Once says that each token is taken once. It then needs a jti.
	Once bool
	// Rules say who may come in, and as whom. The first that matches counts.
	Rules []Rule
}

// Rule lets in whoever's claims match, as an agent.
type Rule struct {
	Name string
	// Match has the patterns of each claim, one of which must match. A claim is
	// named as it is, or by a JSON pointer (RFC 6901) where it lies deeper.
	Match map[string][]Pattern
	// Agent is the agent's id; a claim's name in braces stands for its value.
	Agent string
	// Create says that the agent is made, with the rule's scopes, where it is missing.
	Create bool
	// Scopes are the most that a token can get.
	Scopes []string
	// TTL is how long the token is good for. Zero: DefaultTTL.
	TTL time.Duration
}

// Config is what Open needs.
type Config struct {
	Issuers []Issuer
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: none
}

// Trust is the issuers that are trusted. A nil Trust trusts nobody. It is safe for
// concurrent use.
type Trust struct {
	issuers map[string]*issuer // by URL
	order   []*issuer
	now     func() time.Time
}

// issuer is an Issuer, checked.
type issuer struct {
	url      string
	audience string
	maxAge   time.Duration
	once     bool
	rules    []*rule
	keys     *keys
}

// Open checks what the operator said and reads the files that it names. It asks no
// issuer for anything: Watch and Admit do. Its error names the field and the mend.
func Open(c Config) (*Trust, error) {
	t := &Trust{issuers: map[string]*issuer{}, now: c.Now}
	if t.now == nil {
		t.now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for i, one := range c.Issuers {
		made, err := newIssuer(one, t.now, c.Logger)
		if err == nil && t.issuers[one.URL] != nil {
			err = errors.New("issuer: it is named twice; put the rules of one issuer together")
		}
		if err != nil {
			return nil, fmt.Errorf("trust[%d].%w", i, err)
		}
		t.issuers[one.URL] = made
		t.order = append(t.order, made)
	}
	if err := t.checkAgents(); err != nil {
		return nil, err
	}
	return t, nil
}

func newIssuer(c Issuer, now func() time.Time, logger *slog.Logger) (*issuer, error) {
	made := &issuer{url: c.URL, audience: c.Audience, maxAge: c.MaxAge, once: c.Once}
	switch {
	case c.Audience == "":
		return nil, errors.New("audience: it is missing; name what the issuer's tokens must be for, such as keeper")
	case c.MaxAge < 0 || c.MaxAge > MaxMaxAge:
		return nil, errors.New("maxAge: want a duration of at most 24h")
	case c.MaxAge == 0:
		made.maxAge = DefaultMaxAge
	}
	if len(c.Rules) == 0 {
		return nil, errors.New("rules: there is none, so nobody could come in; say who may")
	}
	for i, one := range c.Rules {
		compiled, err := newRule(one)
		if err == nil {
			err = checkTenant(c.URL, one)
		}
		if err != nil {
			return nil, fmt.Errorf("rules[%d].%w", i, err)
		}
		made.rules = append(made.rules, compiled)
	}
	source, err := newSource(c)
	if err != nil {
		return nil, err
	}
	made.keys = &keys{issuer: c.URL, load: source, now: now, logger: logger}
	return made, nil
}

// Admission says that somebody may have a token, and of which agent. Only Admit makes
// one; the zero Admission is nobody's.
type Admission struct {
	issuer   string
	audience string
	rule     *rule
	subject  string
	jti      string
	agent    string
	binding  []byte
	once     string
}

// Valid reports whether a rule let somebody in.
func (a Admission) Valid() bool { return a.rule != nil }

// Issuer is who vouches for the subject.
func (a Admission) Issuer() string { return a.issuer }

// Audience is what the subject's token was for.
func (a Admission) Audience() string { return a.audience }

// Rule is the name of the rule that matched.
func (a Admission) Rule() string {
	if a.rule == nil {
		return ""
	}
	return a.rule.name
}

// Subject is whom the issuer named, in its own words: it may hold anything.
func (a Admission) Subject() string { return a.subject }

// TokenID is the jti of the subject's token; it may be empty, or hold anything.
func (a Admission) TokenID() string { return a.jti }

// Agent is the id of the agent that the subject acts as.
func (a Admission) Agent() string { return a.agent }

// Create reports whether the agent is to be made where it is missing.
func (a Admission) Create() bool { return a.rule != nil && a.rule.create }

// Scopes are the most that the token may get. The caller must not change them.
func (a Admission) Scopes() scope.Set {
	if a.rule == nil {
		return nil
	}
	return a.rule.scopes
}

// TTL is how long the token is good for.
func (a Admission) TTL() time.Duration {
	if a.rule == nil {
		return 0
	}
	return a.rule.ttl
}

// Binding is a hash of the claims that the agent's id was made of; nil where the rule
// names one agent. No other claims may use an agent that was made for these.
func (a Admission) Binding() []byte { return a.binding }

// Once is the same text for every use of one subject token that may be used once, and
// no other; empty where it may be used again.
func (a Admission) Once() string { return a.once }

// Problem is an issuer whose keys cannot be had.
type Problem struct {
	Issuer string
	What   string // a few words, of which none are the issuer's
	Since  time.Time
}

// Problems are those of now.
func (t *Trust) Problems() (all []Problem) {
	if t == nil {
		return nil
	}
	for _, one := range t.order {
		if what, since := one.keys.trouble(); what != "" {
			all = append(all, Problem{one.url, what, since})
		}
	}
	return all
}

// Watch fetches the keys of every issuer, now and again and again, until ctx ends. So
// a key that the issuer withdrew is not believed for long, and an issuer that cannot
// be reached shows before somebody needs it.
func (t *Trust) Watch(ctx context.Context) {
	if t == nil {
		return
	}
	var all sync.WaitGroup
	for _, one := range t.order {
		all.Go(func() { one.keys.watch(ctx) })
	}
	all.Wait()
}
