package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

// signingParameters are those of a signature in the query, in lower case.
var signingParameters = []string{
	"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-amz-signature", "x-amz-security-token",
}

// signingHeaders are those of a signature. A caller's own go.
var signingHeaders = []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Region-Set", "Date"}

// injectSigV4 signs the request anew, with the body's own hash. What a caller
// signed with keys that are none goes.
func (v *Vault) injectSigV4(ctx context.Context, in injecting, how *policy.SigV4Injection) error {
	key, err := parseAWSKey(in.version.value.Expose())
	if err != nil {
		return err
	}
	scope, err := scopeOf(how, in.req.URL.Hostname(), in.receipt.Grant().Call().Signed())
	if err != nil {
		return err
	}
	if len(in.req.Trailer) > 0 {
		return &CallError{"a signature covers no trailer; send the body without one"}
	}
	if key.roleARN != "" {
		if key, err = v.assumed(ctx, in, how, key); err != nil {
			return err
		}
	}
	digest, err := digestOf(in.req)
	if err != nil {
		return err
	}
	for _, name := range signingHeaders {
		in.req.Header.Del(name)
	}
	in.req.URL.RawQuery = withoutParameters(in.req.URL.RawQuery, signingParameters)
	if _, err := url.ParseQuery(in.req.URL.RawQuery); err != nil {
		return &CallError{"the query cannot be signed, since it has a malformed escape or a semicolon"}
	}
	return sign(ctx, in.req, key, signing{scope, digest, v.now()})
}

// digestOf is the SHA-256 of the body, in hex.
func digestOf(req *http.Request) (string, error) {
	sum := sha256.New()
	body, err := openBody(req)
	if err != nil {
		return "", err
	}
	if body != nil {
		defer body.Close()
		if _, err := io.Copy(sum, body); err != nil {
			return "", errors.New("the body cannot be read again")
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// signing is what a signature is about, beside the request.
type signing struct {
	scope  policy.SigningScope
	digest string // of the body
	at     time.Time
}

// sign puts a signature over host, content headers and all of Amazon's own on
// req. Others may be changed on the way.
func sign(ctx context.Context, req *http.Request, key awsKey, s signing) error {
	target := *req.URL
	asSent := signsPathsAsSent(s.scope.Service)
	if asSent { // as its receiver encodes it, whatever a caller left as it is
		target.Opaque = "//" + target.Host + encodedPath(target.EscapedPath())
	}
	shadow := &http.Request{Method: req.Method, URL: &target, Host: req.Host, Header: http.Header{}, ContentLength: req.ContentLength}
	for name, values := range req.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") || lower == "content-type" || lower == "content-md5" {
			shadow.Header[name] = values
		}
	}
	shadow.Header.Set("X-Amz-Content-Sha256", s.digest)
	credentials := aws.Credentials{AccessKeyID: key.accessKeyID, SecretAccessKey: key.secretAccessKey, SessionToken: key.sessionToken}
	// A signer keeps the keys that it derives, by names that agents choose: each
	// call has one of its own.
	err := v4.NewSigner().SignHTTP(ctx, credentials, shadow, s.digest, s.scope.Service, s.scope.Region, s.at, func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = asSent
	})
	if err != nil {
		return errors.New("the call cannot be signed")
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"} {
		if values := shadow.Header[name]; len(values) > 0 {
			req.Header[name] = values
		}
	}
	req.Host = shadow.Host
	return nil
}

// encodedPath encodes all of an escaped path but letters, digits, "-._~" and the
// slashes between its segments.
func encodedPath(escaped string) string {
	segments := strings.Split(escaped, "/")
	for i, segment := range segments {
		if text, err := url.PathUnescape(segment); err == nil {
			segments[i] = strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
		}
	}
	return strings.Join(segments, "/")
}

// signsPathsAsSent reports whether a service signs paths as they are sent; all
// others escape them once more.
func signsPathsAsSent(service string) bool {
	return slices.Contains([]string{"s3", "s3-outposts", "s3-object-lambda", "s3express"}, service)
}

var regionLabel = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+)+-[0-9]{1,2}$`)

// serviceOfHost are the signing names of hosts that are named otherwise.
var serviceOfHost = map[string]string{
	"bedrock-runtime": "bedrock", "bedrock-agent-runtime": "bedrock", "bedrock-agent": "bedrock", "email": "ses",
}

// scopeOf returns what to sign for: the service that the caller signed for, and
// the region that the host names, or else the one that he signed for. Both must
// be allowed.
func scopeOf(how *policy.SigV4Injection, host string, signed policy.SigningScope) (policy.SigningScope, error) {
	var hostService, hostRegion string
	if labels := strings.Split(strings.ToLower(host), "."); isAmazon(labels) {
		for i, label := range labels {
			if regionLabel.MatchString(label) {
				hostRegion = label
			}
			if i == 0 {
				hostService = label
			}
		}
	}
	scope := policy.SigningScope{Service: signed.Service, Region: firstOf(hostRegion, signed.Region, how.Region)}
	if scope.Service == "" && how.Services[0] != policy.AnyService {
		scope.Service = how.Services[0]
	}
	if scope.Service == "" {
		scope.Service = firstOf(serviceOfHost[hostService], hostService)
	}
	switch {
	case !how.AllowsService(scope.Service):
		return scope, &CallError{"calls to this provider are not signed for this service; an operator lists those that are in the provider's definition"}
	case !how.AllowsRegion(scope.Region):
		return scope, &CallError{"calls to this provider are not signed for this region, or none is known; an operator lists those that are in the provider's definition"}
	}
	return scope, nil
}

func isAmazon(labels []string) bool {
	name := strings.Join(labels[max(0, len(labels)-3):], ".")
	return strings.HasSuffix(name, ".amazonaws.com") || name == "amazonaws.com.cn"
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// withoutParameters takes those out of a query whose name, in lower case, is one
// of names, and leaves the rest byte for byte.
func withoutParameters(rawQuery string, names []string) string {
	if rawQuery == "" {
		return ""
	}
	return strings.Join(slices.DeleteFunc(strings.Split(rawQuery, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		decoded, err := url.QueryUnescape(name)
		return err == nil && slices.Contains(names, strings.ToLower(decoded))
	}), "&")
}

const (
	roleSession = "keeper"
	// roleLifetime is what every role allows.
	roleLifetime  = time.Hour
	defaultRegion = "us-east-1"
)

// assumed returns the key of the role that key's value names. It comes from the
// region of the definition: the key is good in all.
func (v *Vault) assumed(ctx context.Context, in injecting, how *policy.SigV4Injection, key awsKey) (awsKey, error) {
	region := firstOf(how.Region, defaultRegion)
	address := strings.ReplaceAll(how.STSURL, "{region}", region)
	ask := func(ctx context.Context, client *http.Client, value secret.Value) (*issue, error) {
		return v.askSTS(ctx, client, stsCall{address, region}, value)
	}
	h := &held{id: in.receipt.Ref().SecretID(), provider: in.receipt.Ref().Provider(), label: in.receipt.Ref().Label()}
	got, err := v.mint.token(ctx, v.mint.slot(h, in.version, "sts "+address), ask)
	if err != nil {
		return awsKey{}, err
	}
	return awsKey{
		accessKeyID: string(got.parts[0].Expose()), secretAccessKey: string(got.parts[1].Expose()), sessionToken: string(got.parts[2].Expose()),
	}, nil
}

// stsCall is where a role is assumed.
type stsCall struct{ address, region string }

// askSTS assumes the role of the value (AssumeRole, version 2011-06-15).
func (v *Vault) askSTS(ctx context.Context, client *http.Client, to stsCall, value secret.Value) (*issue, error) {
	key, err := parseAWSKey(value.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	form := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {key.roleARN}, "RoleSessionName": {roleSession},
		"DurationSeconds": {fmt.Sprint(int(roleLifetime / time.Second))},
	}
	if key.externalID != "" {
		form.Set("ExternalId", key.externalID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, ErrShape
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	digest, err := digestOf(req)
	if err != nil {
		return nil, err
	}
	now := v.now()
	if err := sign(ctx, req, key, signing{policy.SigningScope{Region: to.region, Service: "sts"}, digest, now}); err != nil {
		return nil, err
	}
	status, body, err := answerOf(client, req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, stsFailure(status, codeIn(body))
	}
	return roleIssue(body, now)
}

// stsCodes are the errors of AssumeRole that may be quoted.
var stsCodes = append([]string{"AccessDenied", "ValidationError", "RegionDisabledException", "Throttling"}, awsRefusals...)

func stsFailure(status int, code string) error {
	refused := code == "AccessDenied" || code == "ValidationError" || slices.Contains(awsRefusals, code)
	if !slices.Contains(stsCodes, code) {
		code, refused = statusCode(status), status == http.StatusForbidden || status == http.StatusUnauthorized
	}
	return &IssuerError{Refused: refused, Code: code}
}

func roleIssue(body []byte, now time.Time) (*issue, error) {
	var told struct {
		Credentials struct {
			AccessKeyID     string    `xml:"AccessKeyId"`
			SecretAccessKey string    `xml:"SecretAccessKey"`
			SessionToken    string    `xml:"SessionToken"`
			Expiration      time.Time `xml:"Expiration"`
		} `xml:"AssumeRoleResult>Credentials"`
	}
	if xml.Unmarshal(body, &told) != nil || told.Credentials.Expiration.IsZero() {
		return nil, &IssuerError{Code: "its answer cannot be read"}
	}
	c := told.Credentials
	return newIssue(now, max(c.Expiration.Sub(now), time.Nanosecond),
		secret.New([]byte(c.AccessKeyID)), secret.New([]byte(c.SecretAccessKey)), secret.New([]byte(c.SessionToken)))
}
