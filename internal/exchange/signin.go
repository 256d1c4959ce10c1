package exchange

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/policy/scope"
)

const (
	signInMaxAge = 10 * time.Minute // of the token that the issuer gives for a code
	answerBytes  = 4 << 10          // of a code or a state, that are looked at
)

// SignIn is an issuer that is asked who a person is, who signs in by a browser (OpenID
// Connect Core 1.0, section 3.1).
type SignIn struct {
	// Issuer is its URL, by which its configuration is found.
	Issuer string
	// ClientID is what the issuer calls keeper.
	ClientID string
	// ClientSecretFile is a file that holds what keeper proves that by, read at each
	// use. Empty: the issuer asks for none.
	ClientSecretFile string
	// CAFile is a PEM file of the authorities that vouch for the issuer. Empty: the
	// system's.
	CAFile string
	// Ask is the scopes that the issuer is asked for beside openid. Nil: profile and
	// email.
	Ask []string
	// Rules say who may sign in, and what for. The first that matches counts.
	Rules []SignInRule
}

// SignInRule lets in whoever's claims match.
type SignInRule struct {
	Name string
	// Match is as a Rule's. An e-mail address counts where the issuer says that it is
	// verified.
	Match map[string][]Pattern
	// Scopes are what the person may do at keeper.
	Scopes []string
}

// RelyingParty is keeper, as an issuer sees it that tells it who people are. It is safe
// for concurrent use.
type RelyingParty struct {
	issuer *issuer
	ask    []string
	id     string
	secret string // a file, may be empty
	rules  []*signInRule
	client *http.Client
	found  endpoints
	now    func() time.Time

	retired atomic.Bool
}

type signInRule struct {
	name    string
	claims  []condition
	byEmail bool
	scopes  scope.Set
}

// Flow is what ties one browser's way to the issuer and back together. The browser keeps
// it.
type Flow struct{ State, Nonce, Verifier string }

// NewFlow makes one that nobody can guess.
func NewFlow() Flow { return Flow{rand.Text(), rand.Text(), oauth2.GenerateVerifier()} }

// Person is somebody who may sign in. Only Finish makes one; the zero Person is nobody.
type Person struct {
	issuer  string
	subject string
	email   string
	rule    *signInRule
	party   *RelyingParty
}

// Valid reports whether a rule let the person in.
func (p Person) Valid() bool { return p.rule != nil }

// Stands reports whether the rules that let the person in are in force.
func (p Person) Stands() bool { return p.Valid() && p.party != nil && !p.party.retired.Load() }

// Retire says that other rules are in force: nobody whom these let in stands any more.
func (p *RelyingParty) Retire() { p.retired.Store(true) }

// Issuer is who vouches for the person.
func (p Person) Issuer() string { return p.issuer }

// Subject is whom the issuer named, in its own words: it may hold anything.
func (p Person) Subject() string { return p.subject }

// Name is a verified e-mail address or, where there is none, the subject: it may hold
// anything.
func (p Person) Name() string {
	if p.email != "" {
		return p.email
	}
	return p.subject
}

// Rule is the name of the rule that matched.
func (p Person) Rule() string {
	if p.rule == nil {
		return ""
	}
	return p.rule.name
}

// Scopes are what the person may do. The caller must not change them.
func (p Person) Scopes() scope.Set {
	if p.rule == nil {
		return nil
	}
	return p.rule.scopes
}

// OpenSignIn checks what the operator said and reads the files that it names. It asks
// the issuer for nothing. Its error names the field and the mend. now and logger may be
// nil.
func OpenSignIn(c SignIn, now func() time.Time, logger *slog.Logger) (*RelyingParty, error) {
	if now == nil {
		now = time.Now
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	load, err := newSource(Issuer{URL: c.Issuer, CAFile: c.CAFile})
	if err != nil {
		return nil, err
	}
	if c.ClientID == "" {
		return nil, errors.New("clientId: it is missing; want what the issuer calls keeper")
	}
	at, _ := checkURL(c.Issuer) // newSource has checked it
	p := &RelyingParty{id: c.ClientID, secret: c.ClientSecretFile, ask: c.Ask, now: now}
	if p.client, err = newClient(c.CAFile, []string{netguard.HostPort(at)}); err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	if p.ask == nil {
		p.ask = []string{"profile", "email"}
	}
	if _, err := p.clientSecret(); err != nil {
		return nil, fmt.Errorf("clientSecretFile: %w", err)
	}
	if p.rules, err = newSignInRules(c); err != nil {
		return nil, err
	}
	p.issuer = &issuer{
		url: c.Issuer, audience: c.ClientID, maxAge: signInMaxAge,
		keys: &keys{issuer: c.Issuer, load: load, now: now, logger: logger},
	}
	return p, nil
}

func newSignInRules(c SignIn) (all []*signInRule, err error) {
	if len(c.Rules) == 0 {
		return nil, errors.New("rules: there is none, so nobody could sign in; say who may")
	}
	for i, r := range c.Rules {
		made, err := newSignInRule(r)
		if err == nil {
			err = checkTenant(c.Issuer, Rule{Match: r.Match})
		}
		if err != nil {
			return nil, fmt.Errorf("rules[%d].%w", i, err)
		}
		all = append(all, made)
	}
	return all, nil
}

// newSignInRule lets a rule give "*", other than to agents: that is for operators.
func newSignInRule(r SignInRule) (*signInRule, error) {
	made := &signInRule{name: r.Name}
	if !scope.IsName(r.Name) {
		return nil, errors.New("name: want letters, digits, '.', '_' or '-', beginning with a letter or digit: the audit log names the rule by it")
	}
	var err error
	if made.claims, err = conditions(r.Match); err != nil {
		return nil, err
	}
	for claim := range r.Match {
		made.byEmail = made.byEmail || strings.TrimPrefix(claim, "/") == "email"
	}
	made.scopes, err = scope.ParseSet(r.Scopes)
	switch {
	case err != nil:
		return nil, fmt.Errorf("scopes: %w", err)
	case !made.scopes.Covers(scope.Keeper(scope.Read)):
		return nil, errors.New("scopes: the dashboard shows nothing without keeper:read; add it")
	}
	return made, nil
}

func (p *RelyingParty) clientSecret() (string, error) {
	if p.secret == "" {
		return "", nil
	}
	text, err := readFile(p.secret)
	text = bytes.TrimSpace(text)
	if err == nil && len(text) == 0 {
		err = errors.New("the file is empty")
	}
	return string(text), err
}

// config is what the issuer and keeper agree on. back is where the browser comes back
// to.
func (p *RelyingParty) config(ctx context.Context, back string) (*oauth2.Config, error) {
	at, err := p.endpoint(ctx)
	if err != nil {
		return nil, &TokenError{Kind: ErrUnavailable, Reason: "cannot be had now"}
	}
	secret, err := p.clientSecret()
	if err != nil {
		return nil, fmt.Errorf("reading dashboard.oidc.clientSecretFile: %w", err)
	}
	if secret == "" {
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.id, ClientSecret: secret, Endpoint: at, RedirectURL: back,
		Scopes: append([]string{oidc.ScopeOpenID}, p.ask...),
	}, nil
}

// Start returns where to send a browser. The error is a *TokenError of ErrUnavailable
// where the issuer cannot be asked.
func (p *RelyingParty) Start(ctx context.Context, f Flow, back string) (string, error) {
	config, err := p.config(ctx, back)
	if err != nil {
		return "", err
	}
	return config.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), nil
}

// Answer is what a browser brings from the issuer.
type Answer struct{ State, Code, Issuer string }

// Finish says who came back. The error is a *TokenError; any other means that keeper
// lacks what it needs.
func (p *RelyingParty) Finish(ctx context.Context, f Flow, a Answer, back string) (Person, error) {
	switch {
	case f.State == "" || f.Nonce == "" || f.Verifier == "" || subtle.ConstantTimeCompare([]byte(f.State), []byte(a.State)) != 1:
		return Person{}, invalid("is not asked for by this browser, or too long ago")
	case a.Issuer != "" && a.Issuer != p.issuer.url: // RFC 9207
		return Person{}, invalid("is of another issuer than the one that was asked")
	case a.Code == "" || len(a.Code) > answerBytes:
		return Person{}, invalid("was not given: the issuer let nobody in")
	}
	raw, err := p.redeem(ctx, f, a.Code, back)
	if err != nil {
		return Person{}, err
	}
	said, err := p.check(ctx, raw, f.Nonce)
	if err != nil {
		return Person{}, err
	}
	return p.admit(said)
}

// redeem gives the code for an ID token. What the issuer says of a failure is not
// repeated.
func (p *RelyingParty) redeem(ctx context.Context, f Flow, code, back string) (string, error) {
	config, err := p.config(ctx, back)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	token, err := config.Exchange(oidc.ClientContext(ctx, p.client), code, oauth2.VerifierOption(f.Verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused):
		return "", invalid("was refused by the issuer for the code that the browser brought")
	case err != nil:
		return "", &TokenError{Kind: ErrUnavailable, Reason: "cannot be had now"}
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", invalid("is missing in the issuer's answer: it must be asked for openid")
	}
	return raw, nil
}

func (p *RelyingParty) check(ctx context.Context, raw, nonce string) (claims, error) {
	signed, said, err := read(raw)
	if err != nil {
		return nil, err
	}
	header := signed.Signatures[0].Protected
	possible, err := p.issuer.keys.candidates(ctx, header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if err != nil {
		return nil, err
	}
	if err := p.issuer.verify(ctx, raw, said, possible, p.now()); err != nil {
		return nil, err
	}
	told, _ := said["nonce"].(string)
	if subtle.ConstantTimeCompare([]byte(told), []byte(nonce)) != 1 {
		return nil, invalid("was given for another browser")
	}
	if azp, there := said["azp"]; there && azp != p.id {
		return nil, invalid("was given for another client")
	}
	return said, nil
}

// admit asks the rules. The error says who was refused.
func (p *RelyingParty) admit(said claims) (Person, error) {
	subject, _ := said["sub"].(string)
	who := Person{issuer: p.issuer.url, subject: subject, party: p}
	verified, _ := said.at("email_verified")
	sure, _ := text(verified)
	if email, ok := said["email"].(string); ok && sure == "true" && len(email) <= maxSubject {
		who.email = email
	}
	for _, r := range p.rules {
		if r.byEmail && who.email == "" {
			continue
		}
		if (&rule{claims: r.claims}).matches(said) {
			who.rule = r
			return who, nil
		}
	}
	return Person{}, &TokenError{
		Kind: ErrNoRule, Reason: "has claims that no rule of the operator's lets in", Issuer: p.issuer.url, Subject: clipped(subject),
	}
}
