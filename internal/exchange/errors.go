package exchange

import "errors"

// The kinds of refusals of Admit.
var (
	// ErrInvalid: no token of a trusted issuer that is in force here.
	ErrInvalid = errors.New("subject token is invalid")
	// ErrExpired: the issuer's own, past its time.
	ErrExpired = errors.New("subject token has expired")
	// ErrNoRule: the issuer's own and in force, and no rule lets it in.
	ErrNoRule = errors.New("no rule matches the subject token")
	// ErrUnavailable: the issuer's keys cannot be had, so nothing is known of the token.
	ErrUnavailable = errors.New("the issuer's keys cannot be had")
)

// TokenError is why a token was not let in. Issuer and Subject are set where the
// signature was found to be the issuer's.
type TokenError struct {
	Kind    error  // one of the above
	Reason  string // constant words, after "the token": safe to show to anyone
	Issuer  string
	Subject string // the issuer's words: it may hold anything
}

// Error is the kind and the reason.
func (e *TokenError) Error() string { return e.Kind.Error() + ": " + e.Reason }

// Unwrap returns the kind.
func (e *TokenError) Unwrap() error { return e.Kind }

func invalid(reason string) error { return &TokenError{Kind: ErrInvalid, Reason: reason} }
