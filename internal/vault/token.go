package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	googlejwt "golang.org/x/oauth2/jwt"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

// injectToken puts on a request what the credential was exchanged for.
func (v *Vault) injectToken(ctx context.Context, in injecting, way policy.Injection) error {
	how, ask := v.exchangeOf(way)
	h := &held{id: in.receipt.Ref().SecretID(), provider: in.receipt.Ref().Provider(), label: in.receipt.Ref().Label()}
	got, err := v.mint.token(ctx, v.mint.slot(h, in.version, how), ask)
	if err != nil {
		return err
	}
	return in.place(way, string(got.parts[0].Expose()))
}

// exchangeOf returns how a way exchanges values, and a text that is the same
// where that is.
func (v *Vault) exchangeOf(way policy.Injection) (how string, ask asker) {
	switch {
	case way.OAuth2 != nil:
		o := *way.OAuth2
		how = fmt.Sprintf("oauth2 %s %q %s", o.TokenURL, o.Scopes, o.Auth)
		for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
			how += fmt.Sprintf(" %q=%q", name, o.Parameters[name])
		}
		return how, func(ctx context.Context, client *http.Client, value secret.Value) (*issue, error) {
			return v.askOAuth2(ctx, client, o, value)
		}
	case way.GitHubApp != nil:
		root := way.GitHubApp.URL
		return "github " + root, func(ctx context.Context, client *http.Client, value secret.Value) (*issue, error) {
			return v.askGitHub(ctx, client, root, value)
		}
	default:
		g := *way.Google
		return fmt.Sprintf("google %s %q", g.TokenURL, g.Scopes), func(ctx context.Context, client *http.Client, value secret.Value) (*issue, error) {
			return v.askGoogle(ctx, client, g, value)
		}
	}
}

// askOAuth2 asks for an access token by the refresh token of the value, or by the
// client alone.
func (v *Vault) askOAuth2(ctx context.Context, client *http.Client, o policy.OAuth2Injection, value secret.Value) (*issue, error) {
	c, err := parseOAuthClient(value.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, client)
	style := oauth2.AuthStyleInHeader
	if o.Auth == "body" || c.secret == "" {
		style = oauth2.AuthStyleInParams
	}
	more := url.Values{}
	for name, text := range o.Parameters {
		more.Set(name, text)
	}
	var token *oauth2.Token
	if c.refreshToken == "" {
		config := clientcredentials.Config{ClientID: c.id, ClientSecret: c.secret, TokenURL: o.TokenURL, Scopes: o.Scopes, EndpointParams: more, AuthStyle: style}
		token, err = config.Token(ctx)
	} else {
		token, err = v.refresh(ctx, client, refreshing{o, c, style, more})
	}
	if err != nil {
		return nil, oauthFailure(err)
	}
	return v.issueOf(token, value, c)
}

// refreshing is a refresh of an access token (RFC 6749, 6).
type refreshing struct {
	how    policy.OAuth2Injection
	client oauthClient
	style  oauth2.AuthStyle
	more   url.Values
}

// refresh does by the library's grant of client credentials, whose parameters can
// be replaced: its refresh sends neither scopes nor further parameters.
func (v *Vault) refresh(ctx context.Context, client *http.Client, r refreshing) (*oauth2.Token, error) {
	r.more.Set("grant_type", "refresh_token")
	r.more.Set("refresh_token", r.client.refreshToken)
	config := clientcredentials.Config{
		ClientID: r.client.id, ClientSecret: r.client.secret, TokenURL: r.how.TokenURL, Scopes: r.how.Scopes, EndpointParams: r.more, AuthStyle: r.style,
	}
	return config.Token(ctx)
}

// issueOf takes an access token over, and the refresh token where it is another
// than before.
func (v *Vault) issueOf(token *oauth2.Token, value secret.Value, c oauthClient) (*issue, error) {
	if kind := strings.ToLower(token.TokenType); kind != "" && kind != "bearer" {
		return nil, &IssuerError{Code: "its token is no bearer"}
	}
	now := v.now()
	lifetime := time.Duration(token.ExpiresIn) * time.Second
	if lifetime == 0 && !token.Expiry.IsZero() {
		lifetime = max(time.Until(token.Expiry), time.Nanosecond)
	}
	fresh, err := newIssue(now, lifetime, secret.New([]byte(token.AccessToken)))
	if err != nil {
		return nil, err
	}
	if c.refreshToken != "" && token.RefreshToken != "" && token.RefreshToken != c.refreshToken {
		if fresh.rotated, err = withRefreshToken(value.Expose(), token.RefreshToken); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// oauthCodes are the errors of a token endpoint (RFC 6749, 5.2 and 4.1.2.1), and
// whether they mean that the credential is not taken.
var oauthCodes = map[string]bool{
	"invalid_client": true, "invalid_grant": true, "unauthorized_client": true, "access_denied": true,
	"invalid_request": false, "invalid_scope": false, "unsupported_grant_type": false, "server_error": false, "temporarily_unavailable": false,
}

// oauthFailure says of an error what may be said: a known code, or the status.
func oauthFailure(err error) error {
	var told *oauth2.RetrieveError
	if !errors.As(err, &told) || told.Response == nil {
		return unasked(err)
	}
	code := told.ErrorCode
	if code == "" {
		var body struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(told.Body, &body) == nil {
			code = body.Error
		}
	}
	if refused, known := oauthCodes[code]; known {
		return &IssuerError{Refused: refused, Code: code}
	}
	status := told.Response.StatusCode
	return &IssuerError{Refused: status == http.StatusUnauthorized || status == http.StatusForbidden, Code: statusCode(status)}
}

// askGoogle signs an assertion with the service account's key (RFC 7523).
func (v *Vault) askGoogle(ctx context.Context, client *http.Client, g policy.GoogleInjection, value secret.Value) (*issue, error) {
	a, err := parseGoogleAccount(value.Expose(), g.TokenURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	config := googlejwt.Config{Email: a.email, PrivateKey: a.privateKey, PrivateKeyID: a.keyID, Scopes: g.Scopes, TokenURL: g.TokenURL}
	token, err := config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	if err != nil {
		return nil, oauthFailure(err)
	}
	return v.issueOf(token, value, oauthClient{})
}

const (
	// gitHubSkew and gitHubLife are as GitHub's guide has them: clocks differ,
	// and ten minutes are the most that it takes.
	gitHubSkew = time.Minute
	gitHubLife = 9 * time.Minute
)

// askGitHub asks for an installation's token with a JWT of the app.
func (v *Vault) askGitHub(ctx context.Context, client *http.Client, root string, value secret.Value) (*issue, error) {
	app, err := parseGitHubApp(value.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: app.key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, ErrShape
	}
	now := v.now()
	proof, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: app.appID, IssuedAt: jwt.NewNumericDate(now.Add(-gitHubSkew)), Expiry: jwt.NewNumericDate(now.Add(gitHubLife)),
	}).Serialize()
	if err != nil {
		return nil, ErrShape
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, root+"/app/installations/"+app.installationID+"/access_tokens", nil)
	if err != nil {
		return nil, ErrShape
	}
	req.Header.Set("Authorization", "Bearer "+proof)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("User-Agent", "keeper")
	status, body, err := answerOf(client, req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusCreated {
		return nil, &IssuerError{Refused: status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound, Code: statusCode(status)}
	}
	var told struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if json.Unmarshal(body, &told) != nil || told.ExpiresAt.IsZero() {
		return nil, &IssuerError{Code: "its answer cannot be read"}
	}
	return newIssue(now, max(told.ExpiresAt.Sub(now), time.Nanosecond), secret.New([]byte(told.Token)))
}

// answerOf makes one request to an issuer and reads the answer whole.
func answerOf(client *http.Client, req *http.Request) (status int, body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, unasked(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, unasked(err)
	}
	return resp.StatusCode, body, nil
}

// bounded cuts the answers of issuers off at issuerBytes.
type bounded struct{ next http.RoundTripper }

// RoundTrip makes the request.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, issuerBytes), resp.Body}
	return resp, nil
}
