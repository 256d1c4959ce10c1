package exchange

import (
	"errors"
	"strings"
)

// tenancy says how an issuer that anyone can get tokens of tells its customers apart.
type tenancy struct {
	issuer  string
	claims  []string // of which one says whose it is
	subject string   // what sub begins with, before whose it is
	mend    string
}

// tenancies are the issuers whose tokens everybody has: a rule that names no customer of
// theirs would let the world in.
var tenancies = []tenancy{
	{
		issuer: "https://token.actions.githubusercontent.com", subject: "repo:",
		claims: []string{"repository", "repository_id", "repository_owner", "repository_owner_id"},
		mend:   "match: it lets in workflows of anybody's repositories; name repository, repository_owner, repository_id or repository_owner_id, or a sub that begins with repo: and the owner",
	},
	{
		issuer: "https://gitlab.com", subject: "project_path:",
		claims: []string{"project_path", "project_id", "namespace_path", "namespace_id"},
		mend:   "match: it lets in jobs of anybody's projects; name project_path, project_id, namespace_path or namespace_id, or a sub that begins with project_path: and the group",
	},
}

// checkTenant refuses a rule of such an issuer's that names no customer. A glob names
// one where its first part, up to a slash, is without wildcard.
func checkTenant(url string, r Rule) error {
	for _, t := range tenancies {
		if url != t.issuer && !strings.HasPrefix(url, t.issuer+"/") {
			continue
		}
		for _, claim := range t.claims {
			if allName(r.Match[claim], "") {
				return nil
			}
		}
		if allName(r.Match["sub"], t.subject) {
			return nil
		}
		return errors.New(t.mend)
	}
	return nil
}

func allName(patterns []Pattern, before string) bool {
	for _, p := range patterns {
		prefix, whole := p.literalPrefix()
		rest, ok := strings.CutPrefix(prefix, before)
		if !ok || strings.Index(rest, "/") <= 0 && (!whole || before != "") {
			return false
		}
	}
	return len(patterns) > 0
}
