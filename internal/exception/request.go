package exception

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxLife is the longest that a value can be let pass at a time: whether it
	// is harmless is to be asked again.
	MaxLife = 366 * 24 * time.Hour
	// MaxReasonBytes is the longest reason.
	MaxReasonBytes = 256
)

// Request is a value that shall pass, by its fingerprint.
type Request struct {
	Fingerprint string
	Rule        string    // under which it was found
	Reason      string    // for those who read the list later: one line
	ExpiresAt   time.Time // at most MaxLife from now
}

// FieldError says which field of a request cannot be, and what would mend it.
// It never quotes a value.
type FieldError struct {
	Field string // as the request names it
	Mend  string
}

// Error returns the field and the mend.
func (e *FieldError) Error() string { return e.Field + ": " + e.Mend }

// check returns what is wrong with r as a *FieldError.
func (r Request) check(key Key, now time.Time) error {
	switch {
	case !key.Made(r.Rule, r.Fingerprint):
		return &FieldError{"fingerprint", "it is none that this keeper gave to a finding of that rule; copy both from the same finding in the audit log, of after the last rotation of its key"}
	case strings.TrimSpace(r.Reason) == "":
		return &FieldError{"reason", "it must say why the value may pass"}
	case len(r.Reason) > MaxReasonBytes:
		return &FieldError{"reason", fmt.Sprintf("it must have at most %d bytes", MaxReasonBytes)}
	case !utf8.ValidString(r.Reason) || strings.ContainsFunc(r.Reason, func(c rune) bool { return !unicode.IsPrint(c) }):
		return &FieldError{"reason", "it must be one line of printable text"}
	case !r.ExpiresAt.After(now):
		return &FieldError{"expiresAt", "it must be in the future"}
	case r.ExpiresAt.Sub(now) > MaxLife:
		return &FieldError{"expiresAt", "it must be within a year; let the value pass again then, if it is still harmless"}
	}
	return nil
}
