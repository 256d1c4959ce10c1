package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Injection says how a credential goes into a call. It holds no credential.
//
// Headers, Basic, Query, Path and Body are places, at most one of them. OAuth2,
// GitHubApp and Google are exchanges, at most one of them: the value is
// exchanged for a token, which goes to the place, or without one as
// "Authorization: Bearer". SigV4, ClientCertificate, HMAC and None
// stand alone.
type Injection struct {
	// Calls bear no credential.
	None bool `yaml:"none"`
	// Header by name, with `{value}`, or `{1}`, `{2}` … for the parts of the credential
	// between colons.
	Headers map[string]string `yaml:"headers"`
	// HTTP Basic authentication.
	Basic *BasicInjection `yaml:"basic"`
	// The query parameter that holds it.
	Query string `yaml:"query"`
	// A template such as `/bot{value}`, whose last segment goes into the caller's path,
	// behind what stands before it in the template.
	Path string `yaml:"path"`
	// The field of the body that holds it.
	Body *BodyInjection `yaml:"body"`
	// The call is signed as AWS demands.
	SigV4 *SigV4Injection `yaml:"sigV4"`
	// A client's id and secret, or its refresh token, are exchanged for an access token.
	OAuth2 *OAuth2Injection `yaml:"oauth2"`
	// An app's private key is exchanged for an installation's token.
	GitHubApp *GitHubAppInjection `yaml:"githubApp"`
	// A service account's key is exchanged for an access token.
	Google *GoogleInjection `yaml:"google"`
	// The connection is made with a client certificate.
	ClientCertificate *ClientCertificateInjection `yaml:"clientCertificate"`
	// A signature goes into the call.
	HMAC *HMACInjection `yaml:"hmac"`
	// Further ways, each with the keys of `inject` but this one; the shape of the value
	// decides which it is.
	Or []Injection `yaml:"or"`

	operatorNamed bool // the issuer's address may be private
}

// BasicInjection is HTTP Basic authentication with the credential as password
// of User; without User the credential itself is "user:password".
type BasicInjection struct {
	// The credential is the password of this user. Default: the credential is
	// `user:password`.
	User string `yaml:"user"`
}

// The formats of a body.
const (
	BodyJSON = "json"
	BodyForm = "form"
)

// BodyInjection is a field that holds the credential.
type BodyInjection struct {
	// The field; in JSON `a.b` is the member `b` of the object `a`. The body may have 1 MiB
	// and no `Content-Encoding`.
	Field string `yaml:"field"`
	// What the body is. Values: `json`, `form`. Default: what the call's `Content-Type`
	// says.
	Format string `yaml:"format"`
}

// SigV4Injection is AWS Signature Version 4. The credential has the fields
// accessKeyId and secretAccessKey; sessionToken; roleArn, a role to assume, and
// externalId.
type SigV4Injection struct {
	// Services, as signatures name them, that may be signed for; the first counts where the
	// caller's own signature does not say. `*` is all but those whose answers are
	// credentials (`sts`, `iam`, `ecr` …), which must be named.
	Services []string `yaml:"services"`
	// Regions that may be signed for. Default: any.
	Regions []string `yaml:"regions"`
	// The region where neither the host nor the agent's own signature tells one.
	Region string `yaml:"region"`
	// Where a role is assumed, with `{region}`. Default: AWS's.
	STSURL string `yaml:"stsURL"`
}

// ClientCertificateInjection is a TLS client certificate. The credential is
// PEM: the certificate, those that vouch for it, and the private key.
type ClientCertificateInjection struct {
	// Certificates, in PEM, that are trusted for the provider's own. Default: the system's.
	Roots string `yaml:"roots"`
}

// HMACInjection is a signature under the credential, which is the key, or has
// the fields keyId and key.
type HMACInjection struct {
	// The hash. Values: `sha256`, `sha512`, `sha1`. Default: `sha256`.
	Algorithm string `yaml:"algorithm"`
	// Of the signature. Values: `hex`, `base64`, `base64url`. Default: `hex`.
	Encoding string `yaml:"encoding"`
	// Template of what is signed: `{body}`, `{timestamp}` in seconds since 1970, `{method}`,
	// `{path}` with its query, `{keyId}`. Default: `{body}`, the body alone.
	Signs string `yaml:"signs"`
	// Header by name, with `{signature}`, `{timestamp}`, `{keyId}`.
	Headers map[string]string `yaml:"headers"`
}

// Defaults of fields.
const (
	googleTokenURL = "https://oauth2.googleapis.com/token"
	awsSTSURL      = "https://sts.{region}.amazonaws.com/"
	// AnyService stands in SigV4Injection.Services for every service.
	AnyService = "*"
)

// Ways returns each way by itself, in order, without an Or.
func (in Injection) Ways() []Injection {
	ways := append([]Injection{in}, in.Or...)
	ways[0].Or = nil
	return ways
}

// Signs reports whether one of the ways is SigV4.
func (in Injection) Signs() bool {
	return in.SigV4 != nil || slices.ContainsFunc(in.Or, func(way Injection) bool { return way.SigV4 != nil })
}

// Injections returns the ways of all routes of the provider, the provider's own
// last.
func (p *Provider) Injections() []Injection {
	var all []Injection
	for i := range p.routes {
		all = append(all, p.routes[i].inject)
	}
	return all
}

// SigningScope is what an AWS signature is for.
type SigningScope struct{ Region, Service string }

var signingScope = regexp.MustCompile(`^[A-Za-z0-9_-]+/[0-9]{8}/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})/aws4_request$`)

// ParseSigningScope reads a Credential of an AWS signature,
// "key/date/region/service/aws4_request". It is false for anything else.
func ParseSigningScope(credential string) (SigningScope, bool) {
	parts := signingScope.FindStringSubmatch(credential)
	if parts == nil {
		return SigningScope{}, false
	}
	return SigningScope{Region: parts[1], Service: parts[2]}, true
}

// byOperator marks the addresses in it as the operator's own.
func (in *Injection) byOperator() *Injection {
	if in == nil {
		return nil
	}
	marked := in.clone()
	marked.operatorNamed = true
	for i := range marked.Or {
		marked.Or[i].operatorNamed = true
	}
	return &marked
}

// compile checks the injection and returns it with defaults filled in. base is
// the provider's own. Its errors begin with ".field: " or ": ".
func (in *Injection) compile(base *url.URL, baseByOperator bool) (Injection, error) {
	done := in.clone()
	if err := done.complete(base, baseByOperator); err != nil {
		return done, err
	}
	for i := range done.Or {
		if len(done.Or[i].Or) > 0 {
			return done, fmt.Errorf(".or[%d].or: leave it out; list all ways in one", i)
		}
		if done.None || done.Or[i].None {
			return done, errors.New(".none: a provider whose calls bear no credential has no other way; leave or out")
		}
		if err := done.Or[i].complete(base, baseByOperator); err != nil {
			return done, fmt.Errorf(".or[%d]%w", i, err)
		}
	}
	return done, checkShapes(done)
}

// checkShapes: the shape of a value must decide its way, so no two may take
// the same.
func checkShapes(in Injection) error {
	seen := map[string]bool{}
	for _, way := range in.Ways() {
		shape := way.Shape()
		if seen[shape] {
			return fmt.Errorf(".or: two ways take a value of the same shape, %s; leave one out", shape)
		}
		seen[shape] = true
	}
	return nil
}

// The shapes of values.
const (
	ShapePlain             = "plain"
	ShapeSigV4             = "sigV4"
	ShapeOAuth2            = "oauth2"
	ShapeGitHubApp         = "githubApp"
	ShapeGoogle            = "google"
	ShapeClientCertificate = "clientCertificate"
)

// Shape says what the value of a single way looks like: one of the Shape
// constants.
func (in *Injection) Shape() string {
	switch {
	case in.SigV4 != nil:
		return ShapeSigV4
	case in.OAuth2 != nil:
		return ShapeOAuth2
	case in.GitHubApp != nil:
		return ShapeGitHubApp
	case in.Google != nil:
		return ShapeGoogle
	case in.ClientCertificate != nil:
		return ShapeClientCertificate
	}
	return ShapePlain
}

func count(given ...bool) (n int) {
	for _, one := range given {
		if one {
			n++
		}
	}
	return n
}

func (in *Injection) places() int {
	return count(len(in.Headers) > 0, in.Basic != nil, in.Query != "", in.Path != "", in.Body != nil)
}

func (in *Injection) exchanges() int {
	return count(in.OAuth2 != nil, in.GitHubApp != nil, in.Google != nil)
}

// complete checks one way and fills its defaults in.
func (in *Injection) complete(base *url.URL, baseByOperator bool) error {
	alone := count(in.None, in.SigV4 != nil, in.ClientCertificate != nil, in.HMAC != nil)
	switch places, exchanges := in.places(), in.exchanges(); {
	case alone == 1 && places+exchanges == 0:
	case alone == 0 && exchanges == 1 && places <= 1:
	case alone+exchanges == 0 && places == 1:
	default:
		return errors.New(": want exactly one of headers, basic, query, path, body, sigV4, oauth2, githubApp, google, clientCertificate, hmac and none; " +
			"oauth2, githubApp and google may have one of the first five beside them")
	}
	if in.exchanges() == 1 && in.places() == 0 {
		in.Headers = bearer().Headers
	}
	if err := in.checkPlace(); err != nil {
		return err
	}
	if in.GitHubApp != nil && in.GitHubApp.URL == "" && base != nil {
		in.GitHubApp.URL = base.String()
		in.operatorNamed = baseByOperator
	}
	for _, check := range []func() error{in.completeSigV4, in.completeOAuth2, in.completeGitHubApp, in.completeGoogle, in.completeHMAC, in.checkRoots} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (in *Injection) checkPlace() error {
	if in.Basic != nil && strings.ContainsFunc(in.Basic.User, func(r rune) bool { return r == ':' || r <= ' ' || r == 0x7f }) {
		return errors.New(".basic.user: it may hold no colon, space or control character")
	}
	if in.Query != "" && !parameterName.MatchString(in.Query) {
		return errors.New(".query: want a parameter's name")
	}
	if in.Path != "" && !pathTemplate.MatchString(in.Path) {
		return errors.New(`.path: want "/…" whose last segment holds {value} once, such as /bot{value}`)
	}
	if in.Body != nil && !bodyField.MatchString(in.Body.Field) {
		return errors.New(".body.field: want a field's name, or names with dots between")
	}
	if in.Body != nil {
		if err := oneOf(".body.format", in.Body.Format, "", BodyJSON, BodyForm); err != nil {
			return err
		}
	}
	if err := checkHeaders(".headers", in.Headers); err != nil {
		return err
	}
	return checkTemplates(in.Headers)
}

var (
	pathTemplate = regexp.MustCompile(`^(/[A-Za-z0-9._~-]*[A-Za-z0-9_~-])*/[A-Za-z0-9._~-]*\{value\}[A-Za-z0-9._~-]*$`)
	bodyField    = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	awsName      = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
)

func (in *Injection) completeSigV4() error {
	s := in.SigV4
	if s == nil {
		return nil
	}
	if len(s.Services) == 0 {
		return errors.New(`.sigV4.services: it is missing; list the services that may be signed for, or "*"`)
	}
	for _, name := range s.Services {
		if name != AnyService && !awsName.MatchString(name) {
			return errors.New(".sigV4.services: want names as in an AWS signature, such as s3")
		}
	}
	for _, name := range s.Regions {
		if !awsName.MatchString(name) {
			return errors.New(".sigV4.regions: want names such as eu-central-1")
		}
	}
	if s.Region != "" && !s.AllowsRegion(s.Region) {
		return errors.New(".sigV4.region: want a name such as eu-central-1, one of regions where these are given")
	}
	in.operatorNamed = in.operatorNamed && s.STSURL != ""
	s.STSURL = or(s.STSURL, awsSTSURL)
	return in.checkIssuer(".sigV4.stsURL", strings.ReplaceAll(s.STSURL, "{region}", "region"))
}

// handsOutKeys are services whose answers are credentials, which would be the
// agent's then.
var handsOutKeys = []string{
	"sts", "iam", "sso", "sso-oauth", "awsssoportal", "signin", "cognito-identity", "cognito-idp", "rolesanywhere", "ecr", "ecr-public", "codeartifact",
}

// AllowsService reports whether a service may be signed for. AnyService stands for
// none that hands out credentials: these must be named.
func (s *SigV4Injection) AllowsService(name string) bool {
	named := slices.Contains(s.Services, name)
	return awsName.MatchString(name) && (named || slices.Contains(s.Services, AnyService) && !slices.Contains(handsOutKeys, name))
}

// AllowsRegion reports whether a region may be signed for.
func (s *SigV4Injection) AllowsRegion(name string) bool {
	return awsName.MatchString(name) && (len(s.Regions) == 0 || slices.Contains(s.Regions, name))
}

// clone returns a copy that shares nothing that can be changed.
func (in Injection) clone() Injection {
	in.Headers = maps.Clone(in.Headers)
	in.Basic, in.Body = copied(in.Basic), copied(in.Body)
	in.GitHubApp, in.ClientCertificate = copied(in.GitHubApp), copied(in.ClientCertificate)
	if in.SigV4 = copied(in.SigV4); in.SigV4 != nil {
		in.SigV4.Services, in.SigV4.Regions = slices.Clone(in.SigV4.Services), slices.Clone(in.SigV4.Regions)
	}
	if in.OAuth2 = copied(in.OAuth2); in.OAuth2 != nil {
		in.OAuth2.Scopes, in.OAuth2.Parameters = slices.Clone(in.OAuth2.Scopes), maps.Clone(in.OAuth2.Parameters)
	}
	if in.Google = copied(in.Google); in.Google != nil {
		in.Google.Scopes = slices.Clone(in.Google.Scopes)
	}
	if in.HMAC = copied(in.HMAC); in.HMAC != nil {
		in.HMAC.Headers = maps.Clone(in.HMAC.Headers)
	}
	in.Or = slices.Clone(in.Or)
	for i := range in.Or {
		in.Or[i] = in.Or[i].clone()
	}
	return in
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
