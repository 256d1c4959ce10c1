package source

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/secret"
)

const (
	baoTimeout      = 15 * time.Second // of one request
	maxBaoBytes     = 1 << 20
	maxCABytes      = 1 << 20
	kubernetesToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// OpenBao says where an OpenBao or a HashiCorp Vault is, whose HTTP interfaces are
// alike, and how keeper logs in: by exactly one of Token, AppRole and Kubernetes.
type OpenBao struct {
	Address    string // https://host:port; http on this machine alone
	Namespace  string
	CAFile     string // PEM of the authorities that vouch for it; empty: the system's
	Token      string // env:NAME or file:PATH
	AppRole    *AppRole
	Kubernetes *Kubernetes
}

// AppRole is a login with a role's id and its secret.
type AppRole struct {
	RoleID   string
	SecretID string // env:NAME or file:PATH
	Mount    string // empty: "approle"
}

// Kubernetes is a login with the token of a pod's service account.
type Kubernetes struct {
	Role    string
	JWTFile string // empty: where Kubernetes puts it
	Mount   string // empty: "kubernetes"
}

// login is how keeper gets its token there.
type login struct {
	proof fetcher // the token itself, or what is shown for one
	path  string  // of the login; empty where proof is the token
	body  func(proof string) map[string]any
}

// session is keeper's own token at an OpenBao, in memory alone. As a fetcher it
// keeps the token alive.
type session struct {
	login  login
	client *api.Client // bears the token
	bare   *api.Client // bears none
	logger *slog.Logger

	// mu is held through a login, so that many who need a token share it.
	mu         sync.Mutex
	generation int // of the token; 0: there is none yet
	ttl        time.Duration
	expires    time.Time // zero: never
	renewable  bool

	telling  sync.Mutex // guards replaced
	replaced []*func()  // told that there is another token
}

// newSession checks the configuration. Its error begins with the key.
func newSession(c OpenBao, credential func(string) (fetcher, error), logger *slog.Logger) (*session, error) {
	address, err := url.Parse(c.Address)
	switch {
	case err != nil || address.Host == "" || address.User != nil || address.Scheme != "https" && address.Scheme != "http" || strings.Trim(address.Path, "/") != "" || address.RawQuery != "":
		return nil, errors.New("address: want https://host:port")
	case address.Scheme == "http" && !netguard.IsLoopbackURL(address):
		return nil, errors.New("address: over http keeper's token and the secrets would travel in clear; want https://, or an address on this machine")
	}
	how, err := c.login(credential)
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	s := &session{login: how, logger: logger}
	for _, client := range []**api.Client{&s.client, &s.bare} {
		config := api.NewConfig() // which reads no environment
		config.Address = c.Address
		config.Timeout, config.MaxRetries = baoTimeout, 0
		config.DisableRedirects = address.Scheme == "http" // which could lead off this machine
		config.HttpClient.Transport = transport
		if *client, err = api.NewClient(config); err != nil {
			return nil, errors.New("address: it cannot be used")
		}
		if c.Namespace != "" {
			(*client).SetNamespace(c.Namespace)
		}
	}
	return s, nil
}

func (c OpenBao) login(credential func(string) (fetcher, error)) (how login, err error) {
	key := "token"
	switch {
	case c.Token != "" && c.AppRole == nil && c.Kubernetes == nil:
		how.proof, err = credential(c.Token)
	case c.AppRole != nil && c.Token == "" && c.Kubernetes == nil:
		key = "appRole.secretId"
		if c.AppRole.RoleID == "" {
			return how, errors.New("appRole.roleId: it is missing")
		}
		how.path = loginPath(c.AppRole.Mount, "approle")
		how.body = func(proof string) map[string]any {
			return map[string]any{"role_id": c.AppRole.RoleID, "secret_id": proof}
		}
		how.proof, err = credential(c.AppRole.SecretID)
	case c.Kubernetes != nil && c.Token == "" && c.AppRole == nil:
		key = "kubernetes.jwtFile"
		if c.Kubernetes.Role == "" {
			return how, errors.New("kubernetes.role: it is missing")
		}
		how.path = loginPath(c.Kubernetes.Mount, "kubernetes")
		how.body = func(proof string) map[string]any { return map[string]any{"role": c.Kubernetes.Role, "jwt": proof} }
		how.proof, err = credential(kindFile + ":" + cmp.Or(c.Kubernetes.JWTFile, kubernetesToken))
	default:
		return how, errors.New("token: want exactly one of token, appRole and kubernetes")
	}
	if err == nil && how.path != "" && !isPath(how.path) {
		key, err = "appRole.mount, kubernetes.mount", errors.New("want the name under which the login is mounted")
	}
	if err != nil {
		return how, fmt.Errorf("%s: %w", key, err)
	}
	return how, nil
}

func loginPath(mount, otherwise string) string {
	return "auth/" + cmp.Or(strings.Trim(mount, "/"), otherwise) + "/login"
}

// transport takes no proxy from the environment, trusts who CAFile says, and bounds
// each answer.
func (c OpenBao) transport() (http.RoundTripper, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, MaxIdleConns: 8, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		pool := x509.NewCertPool()
		if err != nil || len(text) > maxCABytes || !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("caFile: %s is no readable PEM file of certificates", c.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return bounded{t}, nil
}

// bounded ends answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxBaoBytes), resp.Body}
	}
	return resp, err
}

// fetch renews the token, or logs in where it cannot be renewed.
func (s *session) fetch(ctx context.Context) (value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation == 0 || !s.renew(ctx) {
		if err := s.enter(ctx); err != nil {
			return value{}, err
		}
	}
	if s.expires.IsZero() {
		return value{next: never}, nil
	}
	return value{next: share(time.Until(s.expires)), expires: s.expires}, nil
}

// renew reports whether the token lives on for most of what it had at first. The
// caller holds mu.
func (s *session) renew(ctx context.Context) bool {
	if !s.renewable {
		return false
	}
	answer, err := s.client.Auth().Token().RenewSelfWithContext(ctx, int(s.ttl/time.Second))
	if err != nil || answer == nil || answer.Auth == nil {
		return false
	}
	left := time.Duration(answer.Auth.LeaseDuration) * time.Second
	s.expires, s.renewable = time.Now().Add(left), answer.Auth.Renewable
	return left >= share(s.ttl) || s.login.path == "" // one that was given cannot be had anew
}

// enter gets a token. The caller holds mu.
func (s *session) enter(ctx context.Context) error {
	proof, err := s.login.proof.fetch(ctx)
	if err != nil {
		return problemf("what keeper logs in with: %v", err)
	}
	text := strings.TrimRight(string(proof.secret.Expose()), "\r\n")
	if s.login.path == "" {
		return s.adopt(ctx, text)
	}
	answer, err := s.bare.Logical().WriteWithContext(ctx, s.login.path, s.login.body(text))
	if err != nil {
		return baoProblem("the login", err)
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return problemf("the login gave no token")
	}
	s.client.SetToken(answer.Auth.ClientToken)
	s.alive(time.Duration(answer.Auth.LeaseDuration)*time.Second, answer.Auth.Renewable)
	return nil
}

// adopt takes a token that was given, and asks how long it lives.
func (s *session) adopt(ctx context.Context, token string) error {
	if token == "" || strings.ContainsFunc(token, isControl) {
		return problemf("the token that was given is empty, or no token")
	}
	s.client.SetToken(token)
	answer, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return baoProblem("looking the token up", err)
	}
	if answer == nil {
		return problemf("nothing is known of the token")
	}
	ttl, err := answer.TokenTTL()
	if err != nil {
		return problemf("the token's life cannot be read")
	}
	renewable, _ := answer.TokenIsRenewable() // one of which it is not known is not
	s.alive(ttl, renewable)
	return nil
}

// alive begins a generation. A token without a time to live is good for ever.
func (s *session) alive(ttl time.Duration, renewable bool) {
	if s.generation++; s.generation > 1 {
		s.telling.Lock()
		for _, tell := range s.replaced {
			(*tell)()
		}
		s.telling.Unlock()
	}
	s.ttl, s.renewable, s.expires = ttl, renewable && ttl > 0, time.Time{}
	if ttl > 0 {
		s.expires = time.Now().Add(ttl)
	}
}

// ready returns the generation of the token, which is there then. After says which
// generation was refused: one that came since need not be asked for again.
func (s *session) ready(ctx context.Context, after int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation == 0 || s.generation == after {
		if err := s.enter(ctx); err != nil {
			return 0, err
		}
	}
	return s.generation, nil
}

// onReplaced has tell called whenever there is another token, until forget is called. The
// leases of the one before end with it. tell must not wait for the session.
func (s *session) onReplaced(tell *func()) (forget func()) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.replaced = append(s.replaced, tell)
	return func() {
		s.telling.Lock()
		defer s.telling.Unlock()
		s.replaced = slices.DeleteFunc(s.replaced, func(other *func()) bool { return other == tell })
	}
}

// refused reports whether it is the token that is no good any more, and not a policy
// that lets it do less than what was asked.
func (s *session) refused(ctx context.Context) bool {
	_, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
	return status(err) == http.StatusForbidden
}

// do asks with the token, and once more with a new one where that one has ended. It
// says of which generation the token was that was asked with.
func (s *session) do(ctx context.Context, what string, ask func() (*api.Secret, error)) (answer *api.Secret, generation int, err error) {
	if generation, err = s.ready(ctx, -1); err != nil {
		return nil, 0, err
	}
	answer, err = ask()
	if status(err) == http.StatusForbidden && s.refused(ctx) {
		if generation, err = s.ready(ctx, generation); err != nil {
			return nil, 0, err
		}
		answer, err = ask()
	}
	if err != nil {
		return nil, 0, baoProblem(what, err)
	}
	return answer, generation, nil
}

// close revokes the token where keeper got it by a login.
func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation > 0 && s.login.path != "" {
		if err := s.client.Auth().Token().RevokeSelfWithContext(ctx, ""); err != nil {
			s.logger.Warn("keeper's token at OpenBao not revoked; it ends by itself", "error", baoProblem("revoking it", err))
		}
	}
	s.client.ClearToken()
}

// Hold, Withdraw and Report make a session the Slot of its own feed.
func (*session) Hold(context.Context, secret.Value) (bool, error) { return false, nil }

// Withdraw does nothing: a token that has expired is refused anyway.
func (*session) Withdraw(context.Context) error { return nil }

// Report does nothing: the feed keeps what there is to say.
func (*session) Report(string, time.Time, string) {}

func status(err error) int {
	var answered *api.ResponseError
	if errors.As(err, &answered) {
		return answered.StatusCode
	}
	return 0
}

// baoProblem says what went wrong without a word of the server's, which may repeat
// what it was sent.
func baoProblem(what string, err error) *problem {
	var untrusted *tls.CertificateVerificationError
	switch code := status(err); {
	case code == http.StatusBadRequest:
		return problemf("%s is refused as wrong (400); see that path, role and login are right", what)
	case code == http.StatusForbidden:
		return problemf("%s is not permitted (403); see that the policy of keeper's token allows it, and that the token is good", what)
	case code == http.StatusNotFound:
		return &problem{sentence: what + " meets nothing (404); the path of KV version 2 has data/ behind the mount's name", gone: true}
	case code == http.StatusTooManyRequests:
		return problemf("%s allows no more calls at present (429)", what)
	case code == http.StatusServiceUnavailable:
		return problemf("%s fails: OpenBao is sealed or under maintenance (503)", what)
	case code != 0:
		return problemf("%s fails with status %d", what, code)
	case errors.As(err, &untrusted):
		return problemf("%s fails: nobody trusted vouches for OpenBao's certificate; name the authority in caFile", what)
	case errors.Is(err, context.DeadlineExceeded):
		return problemf("%s fails: OpenBao does not answer in time", what)
	}
	return problemf("%s fails: OpenBao cannot be reached, or does not answer as one", what)
}
