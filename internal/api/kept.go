package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/scanner"
)

// secretError refuses a field that would be kept, and said in the audit log, with a
// secret in it.
type secretError struct{ field string }

func (e *secretError) Error() string {
	return e.field + ": it holds what looks like a secret; give another"
}

// checkKept refuses a field that goes into the store and the audit log as it is,
// where the scanner finds a secret in it. The texts must be as the caller wrote
// them: in small letters, as names and scopes are kept, few keys are known again.
func (a *API) checkKept(field string, texts ...string) error {
	if err := a.auth.Fresh(); err != nil {
		return err // the scanner may not know the vault's secrets now
	}
	for _, text := range texts {
		if a.holds(text) {
			return &secretError{field}
		}
	}
	return nil
}

func (a *API) checkScopes(list *[]string) error {
	if list == nil {
		return nil
	}
	return a.checkKept("scopes", *list...)
}

// askWhenProven asks check now where the caller is proven, and else leaves it to be
// asked once it is known that the caller may ask at all: its answer tells a stranger
// whether the vault holds what he sent.
func askWhenProven(by auth.Claims, check func() error) (later func() error, now error) {
	if by.Valid() {
		return nil, check()
	}
	return check, nil
}

// isSecret leaves out hints alone: what the operator lets pass on the wire is kept
// nowhere all the same.
func isSecret(f scanner.Finding) bool { return f.Confidence != scanner.Low || f.Redacts() }

// isGuess reports whether the refusal tells a stranger that the vault holds what he
// sent: such refusals are limited as failed proofs are.
func isGuess(ctx context.Context, err error) bool {
	var told *secretError
	return errors.As(err, &told) && !callOf(ctx).claims.Valid()
}

// methods are those that HTTP defines (RFC 9110, 5789).
var methods = strings.Fields("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH")

// outside names a request to none of the routes, by its method: that may be any word,
// which is not repeated.
func outside(method string) string {
	if !slices.Contains(methods, method) {
		method = "OTHER"
	}
	return method + " outside the routes"
}

// placeOf is where a finding in a text stands, as the log may have it. The names on the
// way to it are the caller's: where they may spell a secret together, they are left out.
func (a *API) placeOf(f scanner.Finding) string {
	names := strings.FieldsFunc(strings.TrimPrefix(f.Location, scannedPlace), func(r rune) bool {
		return r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	hiding := strings.Contains(f.Location, "*") // a name that the scanner does not tell
	for i, name := range names {
		if hiding && mayBePiece(name) || a.holds("secret: "+name) {
			return scannedPlace
		}
		for n := 2; n <= spelling && i+n <= len(names); n++ {
			if a.holds(strings.Join(names[i:i+n], "")) {
				return scannedPlace
			}
		}
	}
	return f.Location
}

// spelling is how many names one after the other are read as one word.
const spelling = 4

func (a *API) holds(text string) bool {
	return slices.ContainsFunc(a.scanner.Scan([]byte(text), ""), isSecret)
}

// mayBePiece reports whether a name could be a piece of a key, and is no plain word.
func mayBePiece(name string) bool {
	return len(name) >= 8 && strings.ContainsAny(name, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}
