package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/netguard"
)

const (
	clientTimeout  = 30 * time.Second
	maxAnswerBytes = 64 << 20
	maxTokenBytes  = 8 << 10
)

// client speaks to keeper's own routes. Its token is in the header of its
// requests and nowhere else.
type client struct {
	base  *url.URL
	http  *http.Client
	token string
	from  string // where the token is from, for people

	// agentSecret is the stored secret of an agent, "" where there is none; nil
	// where none counts.
	agentSecret func(id string) (string, error)
	// own is the newest token that was issued for such a secret; the client bears
	// it in place of any other.
	own atomic.Pointer[issued]
}

// bearer is the token of the client's requests, "" where it has none.
func (c *client) bearer() string {
	if own := c.own.Load(); own != nil {
		return own.Token
	}
	return c.token
}

// connect returns a client for the keeper that flags and environment name,
// bearing the token that they give, if any.
func (a *app) connect() (*client, error) {
	base, err := a.url()
	if err != nil {
		return nil, err
	}
	token, from, err := a.credentials()
	if err != nil {
		return nil, err
	}
	c, err := a.connectTo(base, token)
	if err != nil {
		return nil, err
	}
	c.from, c.agentSecret = from, a.storedSecret
	return c, nil
}

// connectBare returns a client for the keeper that flags and environment name,
// without a token.
func (a *app) connectBare() (*client, error) {
	base, err := a.url()
	if err != nil {
		return nil, err
	}
	return a.connectTo(base, "")
}

func (a *app) connectTo(base *url.URL, token string) (*client, error) {
	roots, err := a.roots(base)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &client{base: base, token: token, http: &http.Client{
		Transport: transport,
		Timeout:   clientTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // keeper sends none, and the token stays where it belongs
		},
	}}, nil
}

// credentials returns the first token there is, and where it is from; none is
// no error, since some routes ask for none.
func (a *app) credentials() (token, from string, err error) {
	for _, name := range []string{"KEEPER_TOKEN", "KEEPER_ADMIN_TOKEN"} {
		if token := a.env[name]; token != "" {
			return token, name, nil
		}
	}
	if file := a.env["KEEPER_ADMIN_TOKEN_FILE"]; file != "" {
		token, err = readToken(file)
		if err != nil {
			err = fmt.Errorf("%w; it is named by KEEPER_ADMIN_TOKEN_FILE", err)
		}
		return token, file, err
	}
	file := a.clientFile("admin.token")
	token, err = readToken(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", "", nil // keeper's answer will say that one is needed
	}
	return token, file, err
}

func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("reading a token: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenBytes))
	if err != nil {
		return "", fmt.Errorf("reading a token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// authorityFile is the PEM file of the authority that vouches for base beside
// the system's: the one that was named, else the data folder's own. That counts
// on loopback alone, so that a folder that came from elsewhere vouches for no
// other machine. It is "" where there is none.
func (a *app) authorityFile(base *url.URL) string {
	if base.Scheme != "https" {
		return ""
	}
	if named := firstOf(a.caFlag, a.env["KEEPER_CA"]); named != "" {
		return named
	}
	file := a.clientFile("ca.pem")
	if _, err := os.Stat(file); err != nil || !netguard.IsLoopbackURL(base) {
		return ""
	}
	return file
}

// roots are the authorities that may vouch for base; nil for the system's.
func (a *app) roots(base *url.URL) (*x509.CertPool, error) {
	file := a.authorityFile(base)
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the certificate authority: %s holds no PEM certificate", file)
	}
	return roots, nil
}

// call sends in as JSON, where it is not nil, decodes the answer into out, where
// that is not nil, and returns it as it came. path is below /api/v1. A refusal
// comes back as a *failure.
func (c *client) call(ctx context.Context, method, path string, in, out any) (json.RawMessage, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := c.bearer(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return c.answer(req, out)
}

func (c *client) answer(req *http.Request, out any) (json.RawMessage, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, c.refusal(resp, text)
	}
	if out == nil {
		out = &json.RawMessage{}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, c.noKeeper(resp)
	}
	return text, nil
}

// noKeeper is the error of an answer that comes from something else.
func (c *client) noKeeper(resp *http.Response) error {
	return &failure{code: exitUnavailable, message: fmt.Sprintf(
		"what answers at %s (%s) is no keeper; name keeper's URL with --url or KEEPER_URL", c.base, resp.Status)}
}

func (c *client) unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	mend := "start one with `keeper dev` or `keeper serve`, or name its URL with --url or KEEPER_URL"
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		mend = "name its certificate authority (ca.pem in its data folder) with --ca or KEEPER_CA"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		mend = "what listens there speaks no TLS; name it with http:// in --url or KEEPER_URL"
	}
	return &failure{code: exitUnavailable, message: fmt.Sprintf("no keeper answers at %s (%v); %s", c.base, err, mend)}
}

// exitCodes are the exit codes of keeper's answers; every other is exitError.
var exitCodes = map[int]int{
	http.StatusUnauthorized:       exitUnauthenticated,
	http.StatusForbidden:          exitRefused,
	http.StatusNotFound:           exitNotFound,
	http.StatusTooManyRequests:    exitUnavailable,
	http.StatusBadGateway:         exitUnavailable,
	http.StatusServiceUnavailable: exitUnavailable,
	http.StatusGatewayTimeout:     exitUnavailable,
}

// The sentences of keeper's, and of a TLS server's, that mean another address.
const (
	noSuchRoute = "There is no such route."
	wantsTLS    = "Client sent an HTTP request to an HTTPS server."
)

// nextSteps say what to do about a refusal of the code, beside what its own
// sentence says.
var nextSteps = map[string]string{
	"scope_denied":   "; an operator can widen the grant with `keeper agent grant`",
	"agent_pending":  "; give it with `keeper agent approve`",
	"agent_disabled": ", with `keeper agent activate`",
	"agent_revoked":  ", with `keeper agent activate`",
}

// refusal is the error of an answer that is not 2xx.
func (c *client) refusal(resp *http.Response, text []byte) error {
	if resp.Header.Get("Keeper-Request-Id") == "" { // which every answer of keeper's bears
		if strings.TrimSpace(string(text)) == wantsTLS {
			return &failure{code: exitUnavailable, message: fmt.Sprintf("keeper at %s speaks TLS; name it with https:// in --url or KEEPER_URL", c.base)}
		}
		return c.noKeeper(resp)
	}
	var body struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
		Code   string `json:"code"`
	}
	json.Unmarshal(text, &body) // another shape leaves the fields empty
	if body.Error == noSuchRoute {
		return &failure{code: exitUnavailable, message: fmt.Sprintf("keeper at %s does not serve this; where it has an address of its own for administrators (adminAddr), name that one with --url or KEEPER_URL", c.base)}
	}
	message := firstOf(body.Error, body.Reason)
	if message == "" {
		message = fmt.Sprintf("keeper at %s answered %s", c.base, resp.Status)
	}
	code, listed := exitCodes[resp.StatusCode]
	if !listed {
		code = exitError
	}
	return &failure{code, strings.TrimRight(message, ".") + c.nextStep(resp.StatusCode, body.Code), text}
}

// nextStep is the mend of a refusal; where a token was refused it says where
// the token is from.
func (c *client) nextStep(status int, code string) string {
	from := ""
	if c.from != "" {
		from = " (it is from " + c.from + ")"
	}
	switch {
	case status == http.StatusUnauthorized:
		return from + "; set KEEPER_TOKEN or KEEPER_ADMIN_TOKEN, or name keeper's data folder with --data"
	case code == "scope_denied" && c.from == "KEEPER_TOKEN":
		return "; the token is from KEEPER_TOKEN, which counts before the operator's" + nextSteps[code]
	}
	return nextSteps[code]
}

// missing names what keeper did not find, and the mend, where err is its
// answer that there is nothing of the name.
func missing(err error, format string, args ...any) error {
	var f *failure
	if errors.As(err, &f) && f.code == exitNotFound {
		return &failure{code: exitNotFound, message: fmt.Sprintf(format, args...)}
	}
	return err
}

// noAgent is missing for an agent's id.
func noAgent(err error, id string) error {
	return missing(err, "there is no agent %q; `keeper agent ls` lists them", id)
}
