package exchange

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/superinstance/keeper/internal/netguard"
)

const (
	maxIssuerBytes = 1 << 20  // of an answer of an issuer's, or of a file
	maxHeaderBytes = 64 << 10 // of its header
)

// newSource returns what fetches an issuer's keys.
func newSource(c Issuer) (func(ctx context.Context) ([]jose.JSONWebKey, error), error) {
	at, err := checkURL(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("issuer: %w", err)
	case c.JWKSFile != "" && (c.JWKSURL != "" || c.CAFile != ""):
		return nil, errors.New("jwksFile: with it nobody is asked for keys; leave jwksURL and caFile out")
	case c.JWKSFile != "":
		read := func(context.Context) ([]jose.JSONWebKey, error) { return readKeyFile(c.JWKSFile) }
		if _, err := read(context.Background()); err != nil {
			return nil, fmt.Errorf("jwksFile: %w", err)
		}
		return read, nil
	}
	named := []string{netguard.HostPort(at)}
	if c.JWKSURL != "" {
		elsewhere, err := checkURL(c.JWKSURL)
		if err != nil {
			return nil, fmt.Errorf("jwksURL: %w", err)
		}
		named = append(named, netguard.HostPort(elsewhere))
	}
	client, err := newClient(c.CAFile, named)
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	f := &fetcher{client: client, issuer: c.URL, keysURL: c.JWKSURL}
	return f.keys, nil
}

// checkURL: what is not encrypted may lead to this machine alone.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("it is missing; want an address, https://…")
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("want an address without user, query and fragment, https://host/path")
	case u.Scheme == "http" && !netguard.IsLoopbackURL(u):
		return nil, errors.New("must begin with https://: http:// is for this machine alone")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with https://")
	}
	return u, nil
}

func readKeyFile(name string) ([]jose.JSONWebKey, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, &sourceError{"the file of its keys cannot be read", err}
	}
	return readKeys(text)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxIssuerBytes+1))
	if err == nil && len(text) > maxIssuerBytes {
		err = errors.New("it is longer than 1 MiB")
	}
	return text, err
}

// newClient returns a client that follows no redirect, uses no proxy, and reaches what
// is not public only at the addresses that the operator named.
func newClient(caFile string, named []string) (*http.Client, error) {
	var roots *x509.CertPool
	if caFile != "" {
		pem, err := readFile(caFile)
		if err != nil {
			return nil, err
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", caFile)
		}
	}
	return &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: bounded{&http.Transport{
			DialContext: netguard.New(named).DialContext, TLSHandshakeTimeout: fetchTimeout, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			MaxIdleConns:    1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxHeaderBytes,
		}},
	}, nil
}

// bounded lets no answer be longer than maxIssuerBytes: its end would be missing.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "keeper")
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, maxIssuerBytes), answer.Body}
	return answer, nil
}

// fetcher asks an issuer for its keys.
type fetcher struct {
	client  *http.Client
	issuer  string
	keysURL string // empty: found by discovery, each time
}

func (f *fetcher) keys(ctx context.Context) ([]jose.JSONWebKey, error) {
	at := f.keysURL
	if at == "" {
		var err error
		if at, err = f.discover(ctx); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, &sourceError{"the address of its keys is none", nil}
	}
	answer, err := f.client.Do(req)
	if err != nil {
		return nil, unreached(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, &sourceError{"it does not show its keys", fmt.Errorf("status %d", answer.StatusCode)}
	}
	text, err := readAll(answer.Body)
	if err != nil {
		return nil, unreached(err)
	}
	return readKeys(text)
}

// discover returns where the issuer says that its keys are (OpenID Connect Discovery
// 1.0, section 4).
func (f *fetcher) discover(ctx context.Context) (keysURL string, err error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, f.client), f.issuer)
	var other *oidc.IssuerMismatchError
	var onTheWay *url.Error
	switch {
	case errors.As(err, &other):
		return "", &sourceError{"its configuration names another issuer", nil}
	case errors.As(err, &onTheWay):
		return "", unreached(err)
	case err != nil: // it quotes the answer
		return "", &sourceError{"it has no configuration at /.well-known/openid-configuration", nil}
	}
	var said struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&said); err != nil {
		return "", &sourceError{"its configuration names no keys", nil}
	}
	at, err := checkURL(strings.TrimSpace(said.KeysURL))
	if err != nil {
		return "", &sourceError{"its configuration names keys at an address that is not encrypted, or is none", nil}
	}
	if at.Scheme == "http" && !strings.HasPrefix(f.issuer, "http://") {
		return "", &sourceError{"its configuration names keys at an address that is not encrypted", nil}
	}
	return at.String(), nil
}

// unreached leaves out what the client's error says of the address beside the cause, and
// what it quotes of an answer.
func unreached(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	if errors.Is(err, netguard.ErrForbidden) {
		return &sourceError{"its keys are at an address that is not public; where that is right, the operator names it in jwksURL", err}
	}
	told, _, _ := strings.Cut(err.Error(), `"`)
	return &sourceError{"it cannot be reached", errors.New(strings.TrimRight(told, " :"))}
}
