package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

// withInjection is the catalogue with a provider whose inject is that YAML.
func withInjection(t *testing.T, yaml string) (*policy.Catalogue, error) {
	t.Helper()
	p, err := policy.Parse("test.yaml", []byte("name: acme\nbaseURL: https://api.acme.example\ninject: "+yaml+"\n"))
	if err != nil {
		t.Fatalf("%s: got %v, want it read", yaml, err)
	}
	return builtin(t).With(p)
}

func TestEveryKindOfInjectionCanBeDefined(t *testing.T) {
	for yaml, shape := range map[string]string{
		`{path: "/bot{value}"}`:                                                policy.ShapePlain,
		`{path: "/file/bot{value}"}`:                                           policy.ShapePlain,
		`{body: {field: auth.token}}`:                                          policy.ShapePlain,
		`{body: {field: token, format: form}}`:                                 policy.ShapePlain,
		`{sigV4: {services: [s3], region: us-east-1}}`:                         policy.ShapeSigV4,
		`{oauth2: {tokenURL: "https://id.example.com/token", scopes: [a, b]}}`: policy.ShapeOAuth2,
		`{githubApp: {}}`:                                                      policy.ShapeGitHubApp,
		`{google: {scopes: ["https://www.googleapis.com/auth/cloud-platform"]}, headers: {X-Token: "{value}"}}`: policy.ShapeGoogle,
		`{clientCertificate: {}}`: policy.ShapeClientCertificate,
		`{hmac: {signs: "v0:{timestamp}:{body}", headers: {X-Time: "{timestamp}", X-Sig: "v0={signature}"}}}`: policy.ShapePlain,
	} {
		c, err := withInjection(t, yaml)
		if err != nil {
			t.Errorf("%s: got %v, want it taken", yaml, err)
			continue
		}
		route, _ := c.Route(newCall(t, policy.CallSpec{Provider: "acme", Method: "GET", EscapedPath: "/x"}))
		if got := route.Inject.Shape(); got != shape {
			t.Errorf("%s: got shape %s, want %s", yaml, got, shape)
		}
	}
}

func TestUnfitInjectionIsRefusedWithItsField(t *testing.T) {
	for yaml, want := range map[string]string{
		`{}`:                                    "inject: want exactly one",
		`{query: key, path: "/a{value}"}`:       "inject: want exactly one",
		`{sigV4: {services: [s3]}, query: key}`: "inject: want exactly one",
		`{oauth2: {tokenURL: "https://a.example/t"}, google: {scopes: [a]}}`: "inject: want exactly one",
		`{path: "bot{value}"}`:            "inject.path",
		`{path: "/bot{value}/x"}`:         "inject.path",
		`{path: "/../bot{value}"}`:        "inject.path",
		`{body: {field: "a b"}}`:          "inject.body.field",
		`{body: {field: a, format: xml}}`: "inject.body.format",
		`{sigV4: {}}`:                     "inject.sigV4.services",
		`{sigV4: {services: [S3]}}`:       "inject.sigV4.services",
		`{sigV4: {services: [s3], regions: [eu-central-1], region: us-east-1}}`: "inject.sigV4.region",
		`{oauth2: {}}`: "inject.oauth2.tokenURL",
		`{oauth2: {tokenURL: "https://u:p@a.example/t"}}`:                     "inject.oauth2.tokenURL",
		`{oauth2: {tokenURL: "https://a.example/t", auth: none}}`:             "inject.oauth2.auth",
		`{oauth2: {tokenURL: "https://a.example/t", parameters: {scope: x}}}`: "inject.oauth2.parameters.scope",
		`{google: {}}`:                                                         "inject.google.scopes",
		`{githubApp: {url: "ftp://x"}}`:                                        "inject.githubApp.url",
		`{clientCertificate: {roots: nonsense}}`:                               "inject.clientCertificate.roots",
		`{hmac: {headers: {X-A: "{timestamp}"}}}`:                              "inject.hmac.headers",
		`{hmac: {signs: "{timestamp}{body}", headers: {X-A: "{signature}"}}}`:  "inject.hmac.headers",
		`{hmac: {signs: "{timestamp}", headers: {X-A: "{signature}"}}}`:        "inject.hmac.signs",
		`{hmac: {algorithm: md5, headers: {X-A: "{signature}"}}}`:              "inject.hmac.algorithm",
		`{hmac: {headers: {Host: "{signature}"}}}`:                             "inject.hmac.headers.Host",
		`{query: key, or: [{headers: {X-A: "{value}"}}]}`:                      "inject.or",
		`{query: key, or: [{githubApp: {}, or: [{sigV4: {services: [s3]}}]}]}`: "inject.or[0].or",
		`{query: key, or: [{sigV4: {}}]}`:                                      "inject.or[0].sigV4.services",
	} {
		if _, err := withInjection(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error of %s", yaml, err, want)
		}
	}
}

func TestIssuerThatTheOperatorNamedMayBePrivateAndNoOther(t *testing.T) {
	c, err := withInjection(t, `{oauth2: {tokenURL: "http://10.0.0.1:9/t"}, or: [{google: {scopes: [a], tokenURL: "https://id.acme.example/t"}}, {sigV4: {services: [s3]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	named := c.OperatorNamed()
	for _, want := range []string{"10.0.0.1:9", "id.acme.example:443"} {
		if !slices.Contains(named, want) {
			t.Errorf("got %q, want %s among them", named, want)
		}
	}
	for _, address := range append(named, builtin(t).OperatorNamed()...) {
		if strings.Contains(address, "amazonaws") || strings.Contains(address, "googleapis") || strings.Contains(address, "github") {
			t.Errorf("got %s named by the operator, who did not", address)
		}
	}
}

func TestAppsTokenComesFromWhereTheProviderIs(t *testing.T) {
	c, err := builtin(t).WithBaseURL("github", "http://127.0.0.1:9/gh")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/user", "/o/r/info/refs"} {
		for _, one := range []struct {
			c    *policy.Catalogue
			want string
		}{{c, "http://127.0.0.1:9/gh"}, {builtin(t), "https://api.github.com"}} {
			r, _ := one.c.Route(newCall(t, policy.CallSpec{Provider: "github", Method: "GET", EscapedPath: path}))
			ways := r.Inject.Ways()
			if len(ways) != 2 || ways[1].GitHubApp == nil || ways[1].GitHubApp.URL != one.want {
				t.Errorf("%s: got %+v, want a second way by %s", path, ways, one.want)
			}
		}
	}
}

func TestServiceThatHandsOutCredentialsMustBeNamed(t *testing.T) {
	any := policy.SigV4Injection{Services: []string{"*"}}
	named := policy.SigV4Injection{Services: []string{"s3", "sts"}}
	for service, want := range map[string][2]bool{"s3": {true, true}, "dynamodb": {true, false}, "sts": {false, true}, "iam": {false, false}, "": {false, false}, "*": {false, false}, "S3": {false, false}} {
		if got := [2]bool{any.AllowsService(service), named.AllowsService(service)}; got != want {
			t.Errorf("%q: got %v, want %v", service, got, want)
		}
	}
}

func TestSigningScopeIsReadFromAWholeCredentialAlone(t *testing.T) {
	got, ok := policy.ParseSigningScope("AKIAX/20260101/eu-west-1/s3/aws4_request")
	if want := (policy.SigningScope{Region: "eu-west-1", Service: "s3"}); !ok || got != want {
		t.Errorf("got %v %v, want %v", got, ok, want)
	}
	for _, bad := range []string{"", "a/b/c", "AKIA/20260101/eu/s3/aws3_request", "AKIA/20260101/../s3/aws4_request", "AKIA/20260101/eu/S3 x/aws4_request"} {
		if got, ok := policy.ParseSigningScope(bad); ok {
			t.Errorf("%q: got %v, want none", bad, got)
		}
	}
}
