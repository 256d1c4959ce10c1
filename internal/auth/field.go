package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/policy/scope"
)

const (
	maxAgentID = 128  // characters
	maxName    = 256  // characters
	maxGrant   = 3072 // bytes, as encoded in a token: one with all of it stays within 8 KiB
)

func checkAgentID(id string) error {
	if !isAgentID(id) {
		return &FieldError{
			Field: "agentId",
			Mend:  "must be 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit",
		}
	}
	return nil
}

func isAgentID(id string) bool {
	return len(id) <= maxAgentID && scope.IsName(id)
}

func checkName(field, name string) error {
	printable := !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) })
	if !printable || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxName {
		return &FieldError{Field: field, Mend: "must be at most 256 printable characters"}
	}
	return nil
}

func checkGrant(s scope.Set) error {
	encoded := 0
	for _, one := range s {
		encoded += len(one.String()) + len(`"",`)
	}
	if encoded > maxGrant {
		return &FieldError{Field: "scopes", Mend: "must be fewer: together at most 3 KiB; use provider:* or *"}
	}
	return nil
}
