package exchange

import (
	"fmt"
	"strings"
)

// tenancy says how an issuer that anyone can get tokens of tells its customers apart.
type tenancy struct {
	issuer  string
	claims  []string // one of which says whose the token is
	subject string   // what sub begins with, before whose it is; empty: sub is one of claims, or says nothing
	end     string   // what ends whose it is, in a value that goes on
}

// tenancies are the issuers whose tokens everybody can have: a rule that names no
// customer of theirs would let the world in.
var tenancies = []tenancy{
	{ // https://docs.github.com/actions/reference/security/oidc
		issuer: "https://token.actions.githubusercontent.com", subject: "repo:", end: "/",
		claims: []string{"repository", "repository_id", "repository_owner", "repository_owner_id"},
	},
	{ // https://docs.gitlab.com/ci/secrets/id_token_authentication/
		issuer: "https://gitlab.com", subject: "project_path:", end: "/",
		claims: []string{"project_path", "project_id", "namespace_path", "namespace_id"},
	},
	{ // https://developers.google.com/identity/openid-connect/openid-connect
		issuer: "https://accounts.google.com", end: "/",
		claims: []string{"sub", "email", "hd"},
	},
	{ // https://developer.hashicorp.com/terraform/cloud-docs/workspaces/dynamic-provider-credentials/workload-identity-tokens
		issuer: "https://app.terraform.io", subject: "organization:", end: ":",
		claims: []string{"terraform_organization_id", "terraform_organization_name", "terraform_project_id", "terraform_workspace_id"},
	},
	{ // https://buildkite.com/docs/agent/v3/cli-oidc
		issuer: "https://agent.buildkite.com", subject: "organization:", end: ":",
		claims: []string{"organization_id", "organization_slug", "pipeline_id"},
	},
}

// checkTenant refuses a rule of such an issuer's that names no customer.
func checkTenant(url string, r Rule) error {
	for _, t := range tenancies {
		if url != t.issuer && !strings.HasPrefix(url, t.issuer+"/") {
			continue
		}
		for _, claim := range t.claims {
			if t.named(r.Match[claim], "") {
				return nil
			}
		}
		mend := "name " + strings.Join(t.claims, ", ")
		if t.subject != "" {
			if t.named(r.Match["sub"], t.subject) {
				return nil
			}
			mend += ", or a sub that begins with " + t.subject + " and whose it is, with " + t.end + " behind it"
		}
		return fmt.Errorf("match: it lets in anybody, since everybody can have tokens of this issuer; %s", mend)
	}
	return nil
}

// named reports whether every pattern says whose a token is: it has no wildcard, or none
// before the end of the name.
func (t tenancy) named(patterns []Pattern, before string) bool {
	for _, p := range patterns {
		prefix, whole := p.literalPrefix()
		name, ok := strings.CutPrefix(prefix, before)
		if !ok || name == "" || !whole && strings.Index(name, t.end) <= 0 {
			return false
		}
	}
	return len(patterns) > 0
}
