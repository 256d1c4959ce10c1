package server_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
)

// document is a structured value.
func document(fields ...string) string {
	members := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		members[fields[i]] = fields[i+1]
	}
	text, _ := json.Marshal(members) // texts always encode
	return string(text)
}

// defining adds the operator's definitions.
func defining(defs ...policy.Provider) keepertest.Option {
	return keepertest.Configured(func(c *server.Config) { c.Providers = append(c.Providers, defs...) })
}

// withAWS starts a keeper in front of a fake of AWS, whose key is in the vault with
// those fields more.
func withAWS(t *testing.T, key fake.AWSKey, more ...string) (*keepertest.Keeper, *fake.AWS) {
	t.Helper()
	aws := fake.NewAWS(key)
	t.Cleanup(aws.Close)
	var defs []policy.Provider
	for provider, service := range map[string]string{"aws-s3": "s3", "aws-bedrock": "bedrock"} {
		defs = append(defs, policy.Provider{Name: provider, BaseURL: aws.URL(service), Inject: &policy.Injection{
			SigV4: &policy.SigV4Injection{Services: []string{service}, Region: "us-east-1", STSURL: aws.URL("sts")},
		}})
	}
	k := keepertest.Start(t, defining(defs...), keepertest.Unmoved("aws-s3", "aws-bedrock"))
	t.Cleanup(func() {
		for i, made := range aws.Keys() {
			k.Canary().Plant(fmt.Sprintf("secret key %d", i), made.Secret)
			if made.SessionToken != "" {
				k.Canary().Plant(fmt.Sprintf("session token %d", i), made.SessionToken)
			}
		}
	})
	fields := append([]string{"accessKeyId", key.ID, "secretAccessKey", key.Secret}, more...)
	if key.SessionToken != "" {
		fields = append(fields, "sessionToken", key.SessionToken)
	}
	for _, provider := range []string{"aws-s3", "aws-bedrock"} {
		k.Store(t, provider, "", document(fields...))
	}
	return k, aws
}

// asSigned makes req one that an SDK has signed with keys that are none, keeper's
// token in the place of a session's.
func asSigned(req *http.Request, token, region, service, payload string) *http.Request {
	dummy := make([]byte, 32)
	rand.Read(dummy)
	req.Header.Del("Authorization")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=keeper/20200101/"+region+"/"+service+
		"/aws4_request, SignedHeaders=host;x-amz-date, Signature="+hex.EncodeToString(dummy))
	req.Header.Set("X-Amz-Date", "20200101T000000Z")
	req.Header.Set("X-Amz-Security-Token", token)
	req.Header.Set("X-Amz-Content-Sha256", payload)
	return req
}

func wantStatus(t *testing.T, r keepertest.Response, want int) {
	t.Helper()
	if r.Status != want || r.Err != nil {
		t.Fatalf("got status %d, error %v and %q, want %d", r.Status, r.Err, r.Body, want)
	}
}

// chunked is body as Amazon's clients chunk it.
func chunked(body string, size int, signed bool, trailer string) string {
	var out strings.Builder
	extension := ""
	if signed {
		extension = ";chunk-signature=" + strings.Repeat("0a", 32)
	}
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&out, "%x%s\r\n%s\r\n", n, extension, body[:n])
		body = body[n:]
	}
	fmt.Fprintf(&out, "0%s\r\n%s\r\n", extension, trailer)
	return out.String()
}

func TestCallToS3IsSignedAnew(t *testing.T) {
	session := fake.NewAWSKey()
	session.ID, session.SessionToken = strings.Replace(session.ID, "AKIA", "ASIA", 1), fake.NewKey("session")
	for name, key := range map[string]fake.AWSKey{"long-lived key": fake.NewAWSKey(), "session's key": session} {
		t.Run(name, func(t *testing.T) {
			k, aws := withAWS(t, key)
			token := k.Token(t, "worker", "aws-s3:read", "aws-s3:write")
			body := strings.Repeat("some text of an object\n", 1000)
			sum := fake.CRC32([]byte(body))
			for kind, put := range map[string]struct {
				payload, sent string
				header        []string
			}{
				"plain":            {hex.EncodeToString(make([]byte, 32)), body, []string{"X-Amz-Checksum-Crc32", sum}},
				"unsigned":         {"UNSIGNED-PAYLOAD", body, nil},
				"chunks":           {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", chunked(body, 8192, true, ""), nil},
				"signed trailer":   {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", chunked(body, 8192, true, "x-amz-checksum-crc32:"+sum+"\r\nx-amz-trailer-signature:"+strings.Repeat("0b", 32)+"\r\n"), []string{"X-Amz-Trailer", "x-amz-checksum-crc32"}},
				"unsigned trailer": {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", chunked(body, 65536, false, "x-amz-checksum-crc32:"+sum+"\r\n"), []string{"X-Amz-Trailer", "x-amz-checksum-crc32"}},
			} {
				path := "/bucket/a%20key%2Bmore/" + strings.ReplaceAll(kind, " ", "-") + "%28x%29(y)!'*,;=@.txt"
				req := asSigned(k.Request(t, "PUT", "aws-s3", path+"?x-id=PutObject", "", put.sent), token, "us-east-1", "s3", put.payload)
				if strings.HasPrefix(put.payload, "STREAMING") {
					req.Header.Set("Content-Encoding", "aws-chunked")
					req.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
				}
				for i := 0; i < len(put.header); i += 2 {
					req.Header.Set(put.header[i], put.header[i+1])
				}
				wantStatus(t, k.Do(t, req), 200)
				if got := string(aws.Object(path)); got != body {
					t.Fatalf("%s: got an object of %d bytes, want %d", kind, len(got), len(body))
				}
				if strings.Contains(kind, "trailer") && aws.Last().Header.Get("X-Amz-Checksum-Crc32") != sum {
					t.Errorf("%s: got no checksum, want that of the trailer", kind)
				}
				got := k.Do(t, asSigned(k.Request(t, "GET", "aws-s3", path, "", ""), token, "us-east-1", "s3", "UNSIGNED-PAYLOAD"))
				if wantStatus(t, got, 200); string(got.Body) != body {
					t.Errorf("%s: got %d bytes back, want %d", kind, len(got.Body), len(body))
				}
			}
		})
	}
}

func TestQueryThatCannotBeSignedIsNotSent(t *testing.T) {
	k, aws := withAWS(t, fake.NewAWSKey())
	token := k.Token(t, "worker", "aws-s3:read")
	for query, want := range map[string]int{"prefix=a%20b+c&delimiter=%2F&x": 404, "prefix=a;b": 400, "prefix=%zz": 400} {
		if got := k.Call(t, "GET", "aws-s3", "/b/k?"+query, token, ""); got.Status != want {
			t.Errorf("%s: got %d %s, want %d", query, got.Status, got.Body, want)
		}
	}
	if got := aws.Calls(); got != 1 {
		t.Errorf("got %d calls, want one", got)
	}
}

func TestSecretOverTwoChunksIsFound(t *testing.T) {
	k, aws := withAWS(t, fake.NewAWSKey())
	token := k.Token(t, "worker", "aws-s3:write")
	secret := fake.NewKey("github")
	body := strings.Repeat("x", 20) + " " + secret + " " + strings.Repeat("y", 20)
	req := asSigned(k.Request(t, "PUT", "aws-s3", "/b/k", "", chunked(body, 32, true, "")), token, "us-east-1", "s3", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	got := k.Do(t, req)
	if wantStatus(t, got, 403); got.Header.Get("Keeper-Code") != "secret_in_request" || !strings.Contains(string(got.Body), "<Message>keeper: ") {
		t.Errorf("got %s and %s, want secret_in_request in XML", got.Header.Get("Keeper-Code"), got.Body)
	}
	if aws.Object("/b/k") != nil {
		t.Error("got the object stored, want nothing sent")
	}
}

func TestBodyThatIsNotChunkedAsItSaysIsRefused(t *testing.T) {
	k, aws := withAWS(t, fake.NewAWSKey())
	token := k.Token(t, "worker", "aws-s3:write")
	for name, sent := range map[string]string{
		"cut":              "10;chunk-signature=00\r\nabc",
		"no end":           "3\r\nabc\r\n",
		"too much":         "40\r\n" + strings.Repeat("a", 64) + "\r\n0\r\n\r\n",
		"too little":       "1\r\na\r\n0\r\n\r\n",
		"no number":        "zz\r\nabc\r\n0\r\n\r\n",
		"negative":         "-1\r\nabc\r\n0\r\n\r\n",
		"huge":             "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		"other trailer":    "3\r\nabc\r\n0\r\nauthorization:evil\r\n\r\n",
		"after the end":    "3\r\nabc\r\n0\r\n\r\nmore of it",
		"many empty lines": "3\r\nabc\r\n0\r\n" + strings.Repeat("\r\n", 100),
		"long line":        strings.Repeat("0", 10000) + "3\r\nabc\r\n0\r\n\r\n",
	} {
		req := asSigned(k.Request(t, "PUT", "aws-s3", "/b/k", "", sent), token, "us-east-1", "s3", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
		req.Header.Set("X-Amz-Decoded-Content-Length", "3")
		if got := k.Do(t, req); got.Status != 400 {
			t.Errorf("%s: got %d %s, want 400", name, got.Status, got.Body)
		}
	}
	if aws.Object("/b/k") != nil {
		t.Error("got the object stored, want nothing sent")
	}
}

func TestPresignedURLIsSignedAnew(t *testing.T) {
	k, aws := withAWS(t, fake.NewAWSKey())
	token := k.Token(t, "worker", "aws-s3:read", "aws-s3:write")
	wantStatus(t, k.Do(t, asSigned(k.Request(t, "PUT", "aws-s3", "/b/k", "", "hello"), token, "us-east-1", "s3", "UNSIGNED-PAYLOAD")), 200)
	for version, query := range map[string]string{
		"4": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=keeper%2F20200101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20200101T000000Z" +
			"&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=" + token + "&X-Amz-Signature=" + strings.Repeat("0c", 32),
		"2": "AWSAccessKeyId=keeper&Signature=c2lnbmF0dXJlIG9mIDIwIGI%3D&x-amz-security-token=" + token + "&Expires=1900000000",
	} {
		got := k.Call(t, "GET", "aws-s3", "/b/k?versionId=7&"+query, "", "")
		if wantStatus(t, got, 200); string(got.Body) != "hello" {
			t.Errorf("version %s: got %q, want the object", version, got.Body)
		}
		if last := aws.Last(); last.RawQuery != "versionId=7" {
			t.Errorf("version %s: got the query %q, want the caller's own part alone", version, last.RawQuery)
		}
	}
}

func TestBedrockTakesTheSignatureAndRefusesServicesThatAreNotItsOwn(t *testing.T) {
	k, aws := withAWS(t, fake.NewAWSKey())
	token := k.Token(t, "worker", "aws-bedrock:chat")
	const path = "/model/anthropic.claude-v2%3A1/converse"
	call := func(service string) keepertest.Response {
		return k.Do(t, asSigned(k.Request(t, "POST", "aws-bedrock", path, "", `{"messages":[]}`), token, "us-east-1", service, "UNSIGNED-PAYLOAD"))
	}
	wantStatus(t, call("bedrock"), 200)
	wantStatus(t, k.Call(t, "POST", "aws-bedrock", path, token, `{"messages":[]}`), 200) // not signed at all
	before := aws.Calls()
	if got := call("iam"); got.Status != 400 || got.Header.Get("Keeper-Code") != "bad_request" {
		t.Errorf("another service: got %d %s, want bad_request", got.Status, got.Body)
	}
	if aws.Calls() != before {
		t.Error("got a call signed for a service that is not allowed")
	}
}

func TestRoleIsAssumedOnceForAllCallers(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/agents"
	k, aws := withAWS(t, fake.NewAWSKey(), "roleArn", arn, "externalId", "tenant-7")
	aws.Role(arn, "tenant-7")
	token := k.Token(t, "worker", "aws-bedrock:chat", "aws-s3:write")
	done := make(chan int)
	for range 20 {
		go func() { done <- k.Call(t, "POST", "aws-bedrock", "/model/m/converse", token, `{}`).Status }()
	}
	for range 20 {
		if got := <-done; got != 200 {
			t.Errorf("got status %d, want 200", got)
		}
	}
	if got := aws.Assumed(); got != 1 {
		t.Errorf("got the role assumed %d times, want once", got)
	}
	if last := aws.Last(); last.Header.Get("X-Amz-Security-Token") != aws.Keys()[1].SessionToken {
		t.Error("got a call without the role's session token")
	}
	// Whoever sends the role's session token is stopped, and an echo is redacted.
	if got := k.Call(t, "POST", "aws-bedrock", "/model/m/converse", token, document("text", aws.Keys()[1].SessionToken)); got.Header.Get("Keeper-Code") != "secret_in_request" {
		t.Errorf("the session token in a body: got %d, want it blocked", got.Status)
	}
}

func TestKeyThatAWSTakesNoMoreIsShownAsRefused(t *testing.T) {
	k, aws := withAWS(t, fake.NewAWSKey())
	token := k.Token(t, "worker", "aws-bedrock:chat", "aws-s3:read")
	aws.Refuse()
	wantStatus(t, k.Call(t, "POST", "aws-bedrock", "/model/m/converse", token, `{}`), 403)
	wantStatus(t, k.Call(t, "GET", "aws-s3", "/b/k", token, ""), 403)
	for _, provider := range []string{"aws-bedrock", "aws-s3"} {
		wantRefused(t, k, provider, "InvalidClientTokenId")
	}
}

// wantRefused looks for a refused credential in the list, in health and in the log.
func wantRefused(t *testing.T, k *keepertest.Keeper, provider, reason string) {
	t.Helper()
	if got := refusalOf(t, k, provider); got != reason {
		t.Errorf("%s in the list: got refusal %q, want %q", provider, got, reason)
	}
	health := k.Do(t, get(t, k.URL()+"/api/v1/health"))
	if !strings.Contains(string(health.Body), "a credential of "+provider+" is refused: "+reason) {
		t.Errorf("health: got %s, want a warning of %s", health.Body, provider)
	}
	entries := k.Audit(t, "event=vault.refused&provider="+provider)
	if len(entries) != 1 || entries[0].Details["reason"] != reason || entries[0].Risk != 1 {
		t.Errorf("%s in the log: got %+v, want one entry of %s", provider, entries, reason)
	}
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func refusalOf(t *testing.T, k *keepertest.Keeper, provider string) string {
	t.Helper()
	_, list := k.Admin(t, "GET", "/vault", nil)
	for _, one := range list["secrets"].([]any) {
		if one := one.(map[string]any); one["provider"] == provider {
			refusal, _ := one["refusal"].(string)
			if _, since := one["refusedSince"]; since != (refusal != "") {
				t.Errorf("%s: got refusal %q and refusedSince %v, want both or none", provider, refusal, since)
			}
			return refusal
		}
	}
	t.Fatalf("no secret of %s in the list", provider)
	return ""
}

// withIssuer starts a keeper with a provider "acme" at an issuer, which takes the
// value in that way.
func withIssuer(t *testing.T, how func(i *fake.Issuer) *policy.Injection) (*keepertest.Keeper, *fake.Issuer) {
	t.Helper()
	i := fake.NewIssuer()
	t.Cleanup(i.Close)
	k := keepertest.Start(t, defining(policy.Provider{Name: "acme", BaseURL: i.URL(), Inject: how(i)}))
	t.Cleanup(func() {
		for n, token := range i.Issued() {
			k.Canary().Plant(fmt.Sprintf("token %d", n), token)
		}
		k.Canary().Plant("client secret", i.ClientSecret)
		k.Canary().Plant("refresh token", i.RefreshToken())
	})
	return k, i
}

func oauth2(i *fake.Issuer) *policy.Injection {
	return &policy.Injection{OAuth2: &policy.OAuth2Injection{TokenURL: i.URL() + "/token", Scopes: []string{"read"}}}
}

func (c clientFields) value(i *fake.Issuer) string {
	return document(append([]string{"client_id", i.ClientID, "client_secret", i.ClientSecret}, c...)...)
}

type clientFields []string

func TestTokenOfEachKindOfExchangeIsTakenByTheProvider(t *testing.T) {
	google := func(i *fake.Issuer) string {
		return document("type", "service_account", "project_id", "project", "private_key_id", "k1", "private_key", i.PrivateKey(),
			"client_email", fake.ServiceAccount, "client_id", "1", "token_uri", i.URL()+"/google/token")
	}
	for name, c := range map[string]struct {
		how   func(i *fake.Issuer) *policy.Injection
		value func(i *fake.Issuer) string
	}{
		"client credentials": {oauth2, clientFields{}.value},
		"secret in the body": {func(i *fake.Issuer) *policy.Injection {
			in := oauth2(i)
			in.OAuth2.Auth, in.OAuth2.Parameters = "body", map[string]string{"audience": "https://api.acme.example"}
			return in
		}, clientFields{}.value},
		"refresh token": {oauth2, func(i *fake.Issuer) string { return clientFields{"refresh_token", i.RefreshToken()}.value(i) }},
		"GitHub App": {func(i *fake.Issuer) *policy.Injection {
			return &policy.Injection{GitHubApp: &policy.GitHubAppInjection{}}
		},
			func(i *fake.Issuer) string {
				return document("appId", fake.AppID, "installationId", fake.InstallationID, "privateKey", i.PrivateKey())
			}},
		"Google": {func(i *fake.Issuer) *policy.Injection {
			return &policy.Injection{Google: &policy.GoogleInjection{Scopes: []string{"https://www.googleapis.com/auth/cloud-platform"}, TokenURL: i.URL() + "/google/token"}}
		}, google},
	} {
		t.Run(name, func(t *testing.T) {
			k, i := withIssuer(t, c.how)
			k.Store(t, "acme", "", c.value(i))
			token := k.Token(t, "worker", "acme:*")
			for range 2 {
				wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 200)
			}
			if got := i.Asked(); got != 1 {
				t.Errorf("got %d exchanges, want one for both calls", got)
			}
			echoed := k.Call(t, "GET", "acme", "/echo", token, "")
			if wantStatus(t, echoed, 200); !strings.Contains(string(echoed.Body), "sent [REDACTED:vault:acme]") {
				t.Errorf("got %q, want the token redacted", echoed.Body)
			}
			if got := k.Call(t, "POST", "acme", "/things", token, document("text", i.Issued()[0])); got.Header.Get("Keeper-Code") != "secret_in_request" {
				t.Errorf("a token in a body: got %d, want it blocked", got.Status)
			}
		})
	}
}

func TestGitHubAppServesTheAPIAndGit(t *testing.T) {
	i := fake.NewIssuer()
	t.Cleanup(i.Close)
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Providers = append(c.Providers, policy.Provider{Name: "github", BaseURL: i.URL()})
	}), keepertest.Unmoved("github"))
	k.Store(t, "github", "", document("appId", fake.AppID, "installationId", fake.InstallationID, "privateKey", i.PrivateKey()))
	token := k.Token(t, "worker", "github:*")
	for _, path := range []string{"/user", "/o/r.git/info/refs?service=git-upload-pack"} {
		wantStatus(t, k.Call(t, "GET", "github", path, token, ""), 200)
	}
	if got := i.Asked(); got != 1 {
		t.Errorf("got %d exchanges, want one for both", got)
	}
}

func TestRefreshTokenThatTheIssuerReplacesOutlivesARestart(t *testing.T) {
	k, i := withIssuer(t, oauth2)
	i.Rotate()
	first := i.RefreshToken()
	k.Store(t, "acme", "", clientFields{"refresh_token", first}.value(i))
	token := k.Token(t, "worker", "acme:*")
	wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 200)
	wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 200) // the new version's call needs no other token
	if got := i.Asked(); got != 1 {
		t.Errorf("got %d exchanges, want one", got)
	}
	k.Restart(t)
	wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 200)
	if got := i.Asked(); got != 2 {
		t.Errorf("after the restart: got %d exchanges, want two", got)
	}
	entries := k.Audit(t, "event=vault.modified&provider=acme")
	if len(entries) != 3 || entries[2].Details["action"] != "rotated" || entries[2].Details["from"] != "issuer" {
		t.Errorf("got %+v, want one entry of the set and two of rotations by the issuer", entries)
	}
	k.Canary().Plant("the first refresh token", first)
}

func TestIssuerThatRefusesIsShownAndNotAskedAgainAtOnce(t *testing.T) {
	k, i := withIssuer(t, oauth2)
	k.Store(t, "acme", "", document("clientId", i.ClientID, "clientSecret", fake.NewKey("wrong")))
	token := k.Token(t, "worker", "acme:*")
	for range 5 {
		if got := k.Call(t, "GET", "acme", "/things", token, ""); got.Status != 403 || got.Header.Get("Keeper-Code") != "no_credential" {
			t.Errorf("got %d %s, want no_credential", got.Status, got.Body)
		}
	}
	if got := i.Asked(); got != 1 {
		t.Errorf("got %d exchanges, want one", got)
	}
	wantRefused(t, k, "acme", "the issuer: invalid_client")
	// A new version is used at once.
	k.Store(t, "acme", "", clientFields{}.value(i))
	wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 200)
	if got := refusalOf(t, k, "acme"); got != "" {
		t.Errorf("after a good version: got refusal %q, want none", got)
	}
}

func TestIssuerThatFailsIsNoRefusalAndQuotedNowhere(t *testing.T) {
	k, i := withIssuer(t, oauth2)
	mark := "quoted" + rand.Text()
	i.Fail(500, `{"error":"`+mark+`","error_description":"`+mark+`"}`)
	k.Store(t, "acme", "", clientFields{}.value(i))
	token := k.Token(t, "worker", "acme:*")
	got := k.Call(t, "GET", "acme", "/things", token, "")
	if got.Status != 502 || got.Header.Get("Keeper-Code") != "upstream_unreachable" {
		t.Errorf("got %d %s, want upstream_unreachable", got.Status, got.Body)
	}
	if refusal := refusalOf(t, k, "acme"); refusal != "" || strings.Contains(k.Log(), mark) || strings.Contains(string(got.Body), mark) {
		t.Errorf("got refusal %q, log %s and answer %s, want no refusal and the issuer's words nowhere", refusal, k.Log(), got.Body)
	}
}

func TestRefusedCredentialIsShownUntilACallSucceeds(t *testing.T) {
	k := keepertest.Start(t)
	bad := fake.NewKey("openai")
	k.Store(t, "openai", "", bad)
	token := k.Token(t, "worker", "openai:*")
	for range 3 {
		wantStatus(t, k.Call(t, "GET", "openai", "/v1/models", token, ""), 401)
	}
	wantRefused(t, k, "openai", "status 401")
	responses := k.AwaitAudit(t, "event=proxy.response&provider=openai", 3)
	if responses[2].Details["credentialRefused"] != true {
		t.Errorf("got the outcome %+v, want it marked", responses[2].Details)
	}
	k.Provider().Accept("openai", bad)
	wantStatus(t, k.Call(t, "GET", "openai", "/v1/models", token, ""), 200)
	if got := refusalOf(t, k, "openai"); got != "" {
		t.Errorf("after a success: got refusal %q, want none", got)
	}
	// A route that answers 401 to all, right after, proves nothing.
	k.Provider().Handle("openai", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	wantStatus(t, k.Call(t, "GET", "openai", "/v1/organization/admin", token, ""), 401)
	if got := refusalOf(t, k, "openai"); got != "" {
		t.Errorf("after 401 on one route: got refusal %q, want none", got)
	}
	k.Canary().Plant("the other key", bad)
}

func TestTokenThatTheProviderRefusesIsReplacedOnceItIsNotNew(t *testing.T) {
	k, i := withIssuer(t, oauth2)
	i.Lifetime(time.Hour)
	k.Store(t, "acme", "", clientFields{}.value(i))
	token := k.Token(t, "worker", "acme:*")
	wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 200)
	i.Revoke()
	for range 5 { // a route that answers 401 must not have tokens made without end
		wantStatus(t, k.Call(t, "GET", "acme", "/things", token, ""), 401)
	}
	if got := i.Asked(); got != 1 {
		t.Errorf("got %d exchanges, want one", got)
	}
}
