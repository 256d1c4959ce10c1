// Package scope is the grammar in which permissions are granted: what an agent
// may do at a provider, and what it may do at keeper itself. Its one invariant:
// a Scope is canonical, so that equal scopes are equal values, and the zero
// Scope covers nothing and is covered by nothing. It imports nothing of this
// module.
package scope

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Reserved is the provider name of keeper's own routes. No provider may have
// it, and only "*" and "keeper:…" reach it: "*:read" does not.
const Reserved = "keeper"

// The permissions of keeper's own routes.
const (
	Read  = "read"
	Write = "write"
	Audit = "audit"
	Scan  = "scan"
)

const wildcard = "*"

// ErrSyntax is wrapped by every error of Parse, New and ParseSet. None of them
// quotes its input, which may be a key pasted into the wrong field.
var ErrSyntax = errors.New("not a scope")

// Scope is one permission: "provider:permission", where either part may be
// "*", or "*" alone, which is everything. It is comparable and in lower case.
type Scope struct {
	provider   string
	permission string // empty for "*" alone
}

// Parse reads a scope, without regard to case. Each part is a letter or digit
// and then letters, digits, ".", "_" or "-"; or it is "*".
func Parse(s string) (Scope, error) {
	if s == wildcard {
		return Scope{provider: wildcard}, nil
	}
	provider, permission, found := strings.Cut(s, ":")
	if !found {
		return Scope{}, fmt.Errorf("%w: want provider:permission, provider:* or *", ErrSyntax)
	}
	return New(provider, permission)
}

// New returns the scope of a permission at a provider; either may be "*".
func New(provider, permission string) (Scope, error) {
	if err := checkPart("provider", provider); err != nil {
		return Scope{}, err
	}
	if err := checkPart("permission", permission); err != nil {
		return Scope{}, err
	}
	return Scope{strings.ToLower(provider), strings.ToLower(permission)}, nil
}

// Keeper returns the scope of a permission at keeper itself. What is no name
// gives the zero Scope, which nobody holds.
func Keeper(permission string) Scope {
	if !IsName(permission) {
		return Scope{}
	}
	return Scope{Reserved, strings.ToLower(permission)}
}

// IsName reports whether s can name a provider or a permission: a letter or
// digit, then letters, digits, ".", "_" or "-", all of them ASCII.
func IsName(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && (i == 0 || !strings.ContainsRune("._-", rune(s[i]))) {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func checkPart(what, part string) error {
	switch {
	case part == wildcard || IsName(part):
		return nil
	case part == "":
		return fmt.Errorf("%w: the %s is missing", ErrSyntax, what)
	default:
		return fmt.Errorf("%w: the %s must be * or letters, digits, '.', '_' and '-', beginning with a letter or digit", ErrSyntax, what)
	}
}

// Provider is the scope's provider, "*" for every one.
func (s Scope) Provider() string { return s.provider }

// Permission is the scope's permission, "*" for every one. Of "*" alone it is
// empty.
func (s Scope) Permission() string { return s.permission }

// String returns the canonical form, which Parse reads back. The zero Scope
// gives the empty string.
func (s Scope) String() string {
	if s.permission == "" {
		return s.provider
	}
	return s.provider + ":" + s.permission
}

// Covers reports whether whoever holds s holds o as well: "*" covers all,
// "p:*" every permission of p, "*:perm" that permission of every provider but
// keeper itself. A narrower scope never covers a wider one.
func (s Scope) Covers(o Scope) bool {
	switch {
	case s == Scope{} || o == Scope{}:
		return false
	case s == Scope{provider: wildcard}:
		return true
	case o == Scope{provider: wildcard}:
		return false
	}
	provider := s.provider == o.provider || s.provider == wildcard && o.provider != Reserved
	return provider && (s.permission == o.permission || s.permission == wildcard)
}

// Set is a number of scopes. ParseSet makes it sorted and unique. A nil Set
// covers nothing.
type Set []Scope

// ParseSet parses each of ss; the first that is none gives the error, which
// names its place. The result is sorted and unique, and nil where ss is empty.
func ParseSet(ss []string) (Set, error) {
	var set Set
	for i, s := range ss {
		parsed, err := Parse(s)
		if err != nil {
			return nil, fmt.Errorf("parsing scope %d of %d: %w", i+1, len(ss), err)
		}
		set = append(set, parsed)
	}
	slices.SortFunc(set, func(a, b Scope) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(set), nil
}

// Strings returns the canonical forms in the set's order; never nil.
func (s Set) Strings() []string {
	out := make([]string, len(s))
	for i, one := range s {
		out[i] = one.String()
	}
	return out
}

// String returns the scopes separated by a comma and a space.
func (s Set) String() string { return strings.Join(s.Strings(), ", ") }

// Covers reports whether one scope of the set covers o.
func (s Set) Covers(o Scope) bool {
	return slices.ContainsFunc(s, func(held Scope) bool { return held.Covers(o) })
}

// CoversAll reports whether the set covers every scope of o. It covers an
// empty one.
func (s Set) CoversAll(o Set) bool { return len(s.Missing(o)) == 0 }

// Missing returns the scopes of o that the set does not cover, in o's order;
// nil where it covers them all.
func (s Set) Missing(o Set) Set {
	var missing Set
	for _, wanted := range o {
		if !s.Covers(wanted) {
			missing = append(missing, wanted)
		}
	}
	return missing
}
