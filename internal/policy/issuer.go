package policy

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/superinstance/keeper/internal/netguard"
)

// OAuth2Injection is an access token (RFC 6749). The credential has the fields
// clientId and clientSecret; with refreshToken the grant is refresh_token (6),
// without it client_credentials (4.4).
type OAuth2Injection struct {
	// Where the value is exchanged for an access token. Required.
	TokenURL string `yaml:"tokenURL"`
	// Scopes to ask for.
	Scopes []string `yaml:"scopes"`
	// Where the client's secret goes: HTTP Basic, or the body. Values: `header`, `body`.
	// Default: `header`.
	Auth string `yaml:"auth"`
	// Further parameters, by name, such as `audience`.
	Parameters map[string]string `yaml:"parameters"`
}

// GitHubAppInjection is an installation's access token. The credential has the
// fields appId (or the client id), installationId and privateKey.
type GitHubAppInjection struct {
	// Root of the API where the app's key is exchanged. Default: the provider's `baseURL`.
	URL string `yaml:"url"`
}

// GoogleInjection is an access token of a service account. The credential is
// the key file as Google hands it out.
type GoogleInjection struct {
	// Scopes of the access token. Required.
	Scopes []string `yaml:"scopes"`
	// Where it is issued. Default: Google's.
	TokenURL string `yaml:"tokenURL"`
}

func (in *Injection) completeOAuth2() error {
	o := in.OAuth2
	if o == nil {
		return nil
	}
	o.Auth = or(o.Auth, "header")
	if err := oneOf(".oauth2.auth", o.Auth, "header", "body"); err != nil {
		return err
	}
	for name, value := range o.Parameters {
		switch name {
		case "", "grant_type", "client_id", "client_secret", "refresh_token", "scope":
			return fmt.Errorf(".oauth2.parameters.%s: this parameter is keeper's; leave it out", name)
		}
		if value == "" {
			return fmt.Errorf(".oauth2.parameters.%s: want a value", name)
		}
	}
	if err := checkOAuthScopes(".oauth2.scopes", o.Scopes); err != nil {
		return err
	}
	return in.checkIssuer(".oauth2.tokenURL", o.TokenURL)
}

func checkOAuthScopes(field string, scopes []string) error {
	for _, one := range scopes {
		if one == "" || strings.ContainsFunc(one, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return fmt.Errorf("%s: want a list of names without spaces", field)
		}
	}
	return nil
}

func (in *Injection) completeGitHubApp() error {
	switch {
	case in.GitHubApp == nil:
		return nil
	case in.GitHubApp.URL == "": // the provider is not configured yet
		return nil
	}
	in.GitHubApp.URL = strings.TrimRight(in.GitHubApp.URL, "/")
	return in.checkIssuer(".githubApp.url", in.GitHubApp.URL)
}

func (in *Injection) completeGoogle() error {
	if in.Google == nil {
		return nil
	}
	if len(in.Google.Scopes) == 0 {
		return errors.New(".google.scopes: it is missing; list the scopes of the token, such as https://www.googleapis.com/auth/cloud-platform")
	}
	if err := checkOAuthScopes(".google.scopes", in.Google.Scopes); err != nil {
		return err
	}
	in.operatorNamed = in.operatorNamed && in.Google.TokenURL != ""
	in.Google.TokenURL = or(in.Google.TokenURL, googleTokenURL)
	return in.checkIssuer(".google.tokenURL", in.Google.TokenURL)
}

// checkIssuer checks an address to which credentials are sent.
func (in *Injection) checkIssuer(field, text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return fmt.Errorf("%s: want https://host[:port][/path]", field)
	case u.Scheme == "http" && !in.operatorNamed:
		return fmt.Errorf("%s: want https; http is for addresses that the operator names", field)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return fmt.Errorf("%s: leave out user, password, query and fragment; a credential belongs in the vault", field)
	}
	return nil
}

// issuers are the addresses that values are exchanged at.
func (in *Injection) issuers() []string {
	switch {
	case in.SigV4 != nil:
		return []string{in.SigV4.STSURL}
	case in.OAuth2 != nil:
		return []string{in.OAuth2.TokenURL}
	case in.GitHubApp != nil:
		return []string{in.GitHubApp.URL}
	case in.Google != nil:
		return []string{in.Google.TokenURL}
	}
	return nil
}

// operatorNamedIssuers are the "host:port" of issuers that the operator named.
func (in Injection) operatorNamedIssuers() []string {
	var named []string
	for _, way := range in.Ways() {
		for _, text := range way.issuers() {
			if u, err := url.Parse(text); err == nil && way.operatorNamed && u.Host != "" {
				named = append(named, netguard.HostPort(u))
			}
		}
	}
	return named
}
