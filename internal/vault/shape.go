package vault

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

// shapeUnknown is a document that is none of policy's shapes.
const shapeUnknown = "unknown"

// awsPair is an access key as people copy it: id, secret and, for a temporary
// one, the session's token, with colons between.
var awsPair = regexp.MustCompile(`^((?:AKIA|ASIA)[A-Z0-9]{12,28}):([A-Za-z0-9/+=]{16,})(?::([A-Za-z0-9/+=]{16,}))?$`)

// wayOf returns the one of the ways of in that value's shape decides. The error
// is a *FieldError.
func wayOf(in policy.Injection, value secret.Value) (policy.Injection, error) {
	if len(in.Or) == 0 {
		return in, nil
	}
	shape := shapeOfValue(value.Expose())
	var shapes []string
	for _, way := range in.Ways() {
		if way.Shape() == shape {
			return way, nil
		}
		shapes = append(shapes, describeShape(way.Shape()))
	}
	return policy.Injection{}, &FieldError{"value", "must be " + strings.Join(shapes, ", or ")}
}

// describeShape says what a value must be.
func describeShape(shape string) string {
	switch shape {
	case policy.ShapeSigV4:
		return "an AWS key: JSON with accessKeyId and secretAccessKey"
	case policy.ShapeOAuth2:
		return "an OAuth 2 client: JSON with clientId and clientSecret"
	case policy.ShapeGitHubApp:
		return "a GitHub App: JSON with appId, installationId and privateKey"
	case policy.ShapeGoogle:
		return "a Google service account's key file"
	case policy.ShapeClientCertificate:
		return "a certificate and its private key in PEM"
	}
	return "the key alone, on one line"
}

// shapeOfValue is cheap for a plain key.
func shapeOfValue(value []byte) string {
	switch begin := bytes.TrimLeft(value, " \t\r\n"); {
	case len(begin) == 0:
		return policy.ShapePlain
	case begin[0] == '{':
		return shapeOfDocument(begin)
	case bytes.HasPrefix(begin, []byte(pemBegin)):
		return policy.ShapeClientCertificate
	case bytes.HasPrefix(begin, []byte("A")) && awsPair.Match(begin):
		return policy.ShapeSigV4
	}
	return policy.ShapePlain
}

func shapeOfDocument(value []byte) string {
	d, ok := readDocument(value)
	switch {
	case !ok:
		return policy.ShapePlain
	case d.text("type") == "service_account":
		return policy.ShapeGoogle
	case d.has("accesskeyid") || d.has("secretaccesskey"):
		return policy.ShapeSigV4
	case d.has("appid") || d.has("installationid"):
		return policy.ShapeGitHubApp
	case d.has("clientid") || d.has("clientsecret"):
		return policy.ShapeOAuth2
	}
	return shapeUnknown
}

// document is a JSON object's members that are texts or numbers, by their names
// in lower case without "_" and "-", so that clientId and client_id are one.
type document map[string]string

// wrappers are the members in which vendors hand the rest out.
var wrappers = []string{"Credentials", "AccessKey", "installed", "web"}

// readDocument is false for what is no JSON object.
func readDocument(value []byte) (document, bool) {
	var root map[string]any
	if json.Unmarshal(value, &root) != nil || root == nil {
		return nil, false
	}
	for _, name := range wrappers {
		if inner, ok := root[name].(map[string]any); ok && len(root) == 1 {
			root = inner
		}
	}
	d := document{}
	for name, member := range root {
		switch member := member.(type) {
		case string:
			d[plainName(name)] = member
		case float64:
			d[plainName(name)] = fmt.Sprintf("%.0f", member)
		}
	}
	return d, true
}

func plainName(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}

func (d document) has(name string) bool { _, ok := d[name]; return ok }

func (d document) text(name string) string { return d[name] }

// need returns the member, whose name the error gives as people write it.
func (d document) need(name string) (string, error) {
	text := d[plainName(name)]
	if text == "" {
		return "", &FieldError{"value." + name, "must be there: the value is a JSON document that holds it"}
	}
	if strings.ContainsFunc(text, isControl) {
		return "", &FieldError{"value." + name, "must be one line of text"}
	}
	return text, nil
}

// awsKey is an AWS access key, and the role to assume with it.
type awsKey struct {
	accessKeyID, secretAccessKey, sessionToken string
	roleARN, externalID                        string
}

var (
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}$`)
	externalID = regexp.MustCompile(`^[A-Za-z0-9+=,.@:/_-]{2,1000}$`) // as STS takes it
	awsKeyID   = regexp.MustCompile(`^[A-Za-z0-9_]{3,128}$`)
)

func parseAWSKey(value []byte) (awsKey, error) {
	if m := awsPair.FindSubmatch(bytes.TrimSpace(value)); m != nil {
		return awsKey{accessKeyID: string(m[1]), secretAccessKey: string(m[2]), sessionToken: string(m[3])}, nil
	}
	d, ok := readDocument(value)
	if !ok {
		return awsKey{}, &FieldError{"value", "must be " + describeShape(policy.ShapeSigV4)}
	}
	k := awsKey{sessionToken: d.text("sessiontoken"), roleARN: d.text("rolearn"), externalID: d.text("externalid")}
	var err error
	if k.accessKeyID, err = d.need("accessKeyId"); err != nil {
		return k, err
	}
	if k.secretAccessKey, err = d.need("secretAccessKey"); err != nil {
		return k, err
	}
	switch {
	case !awsKeyID.MatchString(k.accessKeyID):
		return k, &FieldError{"value.accessKeyId", "must be letters and digits"}
	case strings.ContainsFunc(k.sessionToken, isBlank):
		return k, &FieldError{"value.sessionToken", "must be one word"}
	case k.roleARN != "" && !roleARN.MatchString(k.roleARN):
		return k, &FieldError{"value.roleArn", "must be the ARN of a role, arn:aws:iam::123456789012:role/name"}
	case k.externalID != "" && (k.roleARN == "" || !externalID.MatchString(k.externalID)):
		return k, &FieldError{"value.externalId", "must be 2 or more letters, digits or any of +=,.@:/_- and belongs to a roleArn"}
	}
	return k, nil
}

// oauthClient is a client of an OAuth 2 server; with a refresh token it acts for
// who gave it.
type oauthClient struct{ id, secret, refreshToken string }

func parseOAuthClient(value []byte) (oauthClient, error) {
	d, ok := readDocument(value)
	if !ok {
		return oauthClient{}, &FieldError{"value", "must be " + describeShape(policy.ShapeOAuth2)}
	}
	c := oauthClient{secret: d.text("clientsecret"), refreshToken: d.text("refreshtoken")}
	var err error
	if c.id, err = d.need("clientId"); err != nil {
		return c, err
	}
	if c.refreshToken == "" { // a public client has no secret, but its refresh token
		c.secret, err = d.need("clientSecret")
	}
	return c, err
}

// withRefreshToken returns the value of an oauthClient with another one.
func withRefreshToken(value []byte, refreshToken string) (secret.Value, error) {
	var root map[string]any
	if err := json.Unmarshal(value, &root); err != nil {
		return secret.Value{}, ErrShape
	}
	holder := root
	for _, name := range wrappers {
		if inner, ok := root[name].(map[string]any); ok && len(root) == 1 {
			holder = inner
		}
	}
	for name := range holder {
		if plainName(name) == "refreshtoken" {
			holder[name] = refreshToken
		}
	}
	changed, err := json.Marshal(root)
	if err != nil {
		return secret.Value{}, ErrShape
	}
	defer clear(changed)
	return secret.New(changed), nil
}

// gitHubApp is an app where it is installed.
type gitHubApp struct {
	appID, installationID string
	key                   *rsa.PrivateKey
}

var (
	gitHubAppID = regexp.MustCompile(`^[A-Za-z0-9.]{1,40}$`) // a number, or the client id
	digitsOnly  = regexp.MustCompile(`^[0-9]{1,20}$`)
)

func parseGitHubApp(value []byte) (gitHubApp, error) {
	d, ok := readDocument(value)
	if !ok {
		return gitHubApp{}, &FieldError{"value", "must be " + describeShape(policy.ShapeGitHubApp)}
	}
	a := gitHubApp{appID: d.text("appid"), installationID: d.text("installationid")}
	var err error
	switch {
	case !gitHubAppID.MatchString(a.appID):
		return a, &FieldError{"value.appId", "must be the app's id, or its client id"}
	case !digitsOnly.MatchString(a.installationID):
		return a, &FieldError{"value.installationId", "must be the number of the installation"}
	}
	if a.key, err = parseRSAKey(d.text("privatekey")); err != nil {
		return a, &FieldError{"value.privateKey", "must be the RSA key that GitHub handed out, in PEM"}
	}
	return a, nil
}

// parseRSAKey reads PKCS #1 and PKCS #8 in PEM.
func parseRSAKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(strings.ReplaceAll(text, `\n`, "\n")))
	if block == nil {
		return nil, ErrShape
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if rsaKey, ok := key.(*rsa.PrivateKey); ok && err == nil {
		return rsaKey, nil
	}
	return nil, ErrShape
}

// googleAccount is a service account.
type googleAccount struct {
	email, keyID string
	privateKey   []byte // PEM
}

// googleTokenURLs are what Google writes into key files, by their age.
var googleTokenURLs = []string{"https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token", "https://www.googleapis.com/oauth2/v4/token"}

// parseGoogleAccount refuses a file that names another token address than the
// provider's definition does: the key would sign in there.
func parseGoogleAccount(value []byte, tokenURL string) (googleAccount, error) {
	d, ok := readDocument(value)
	if !ok || d.text("type") != "service_account" {
		return googleAccount{}, &FieldError{"value", "must be " + describeShape(policy.ShapeGoogle)}
	}
	a := googleAccount{keyID: d.text("privatekeyid"), privateKey: []byte(d.text("privatekey"))}
	var err error
	if a.email, err = d.need("client_email"); err != nil {
		return a, err
	}
	if _, err := parseRSAKey(d.text("privatekey")); err != nil {
		return a, &FieldError{"value.private_key", "must be an RSA key in PEM"}
	}
	if named := d.text("tokenuri"); named != "" && named != tokenURL && !slices.Contains(googleTokenURLs, named) {
		return a, &FieldError{"value.token_uri", "must be Google's, or the tokenURL of the provider's definition"}
	}
	return a, nil
}

// macKey is the key of an HMAC.
type macKey struct{ id, key string }

func parseMACKey(value []byte, wantID bool) (macKey, error) {
	d, ok := readDocument(value)
	switch {
	case !wantID && !ok:
		return macKey{key: string(value)}, nil
	case !ok:
		return macKey{}, &FieldError{"value", "must be JSON with keyId and key"}
	}
	k := macKey{id: d.text("keyid")}
	var err error
	if k.key, err = d.need("key"); err != nil {
		return k, err
	}
	if wantID {
		k.id, err = d.need("keyId")
	}
	return k, err
}

// checkValue reports, as a *FieldError, that value does not fit in.
func checkValue(in policy.Injection, value secret.Value) error {
	way, err := wayOf(in, value)
	if err != nil {
		return err
	}
	text := value.Expose()
	switch {
	case way.SigV4 != nil:
		_, err = parseAWSKey(text)
	case way.OAuth2 != nil:
		_, err = parseOAuthClient(text)
	case way.GitHubApp != nil:
		_, err = parseGitHubApp(text)
	case way.Google != nil:
		_, err = parseGoogleAccount(text, way.Google.TokenURL)
	case way.ClientCertificate != nil:
		_, err = parseCertificate(text)
	case way.HMAC != nil:
		_, err = parseMACKey(text, way.HMAC.HasKeyID())
	case len(way.Headers) > 0:
		_, err = headerParts(way.Headers, string(text))
	case way.Basic != nil && way.Basic.User == "" && !bytes.Contains(text, []byte(":")):
		err = &FieldError{"value", "must be a name and a password with a colon between"}
	}
	return err
}

// checkShape refuses a value that none of the provider's routes could use, or else one
// that could not be told from ordinary text: of a document that lacks a field, that is
// what there is to say.
func checkShape(catalogue func() *policy.Catalogue, r SetRequest) error {
	if err := checkKind(catalogue, r); err != nil {
		return err
	}
	if len(targets(r.Value)) == 0 {
		return &FieldError{"value", "could not be told from ordinary text: it needs a run of 8 or more letters, digits or _+/=.~- that is no ordinary word, number or host name; have the provider make a longer, random key"}
	}
	return nil
}

// checkKind is checkShape for what the provider wants. A provider that is not in the
// catalogue may come later.
func checkKind(catalogue func() *policy.Catalogue, r SetRequest) error {
	if catalogue == nil {
		return nil
	}
	provider, known := catalogue().Provider(r.Provider)
	if !known {
		return nil
	}
	var err error
	for _, in := range provider.Injections() {
		if err = checkValue(in, r.Value); err == nil {
			return nil
		}
	}
	return err
}
