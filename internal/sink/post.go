package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/secret"
)

const (
	postTimeout  = 10 * time.Second
	answerBytes  = 64 << 10 // of an answer that are read, so that the connection can be used again
	leastKey     = 16       // bytes of a key that signs
	agentProduct = "keeper"
)

// post sends bodies to a URL. It is the one part of this package that sees secrets.
type post struct {
	client *http.Client
	url    secret.Value
	token  secret.Value // none where it is empty
	key    secret.Value // none where it is empty
	agent  string
	now    func() time.Time
}

// newPost takes the addresses from the Spec as they are: the operator has named them,
// so they may be private. No proxy is used but the one that is the address.
func newPost(c Config, s Spec) (*post, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle}}
	p := &post{now: c.Now, agent: agentProduct, client: &http.Client{
		Timeout:       postTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			MaxIdleConns:    1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: answerBytes,
		},
	}}
	if c.Version != "" {
		p.agent += "/" + token(c.Version, 64)
	}
	if p.url, err = s.url(); err != nil {
		return nil, err
	}
	return p, p.readSecrets(s)
}

// url is the Spec's, checked. An error does not quote it.
func (s Spec) url() (secret.Value, error) {
	field, value := "url", s.URL
	switch {
	case s.URLFile != "" && s.URL.Len() > 0:
		return value, wrong("urlFile", "url is set, too; leave one of them out")
	case s.URLFile != "":
		b, err := readFile("urlFile", s.URLFile)
		if err != nil {
			return value, err
		}
		field, value = "urlFile", secret.New(b)
	}
	u, err := url.Parse(string(value.Expose()))
	switch {
	case value.Len() == 0:
		return value, wrong("url", "must be set, or urlFile")
	case err != nil || u.Hostname() == "":
		return value, wrong(field, "is no URL; it must be like https://host/path")
	case u.Scheme == "http" && !netguard.IsLoopbackURL(u):
		return value, wrong(field, "must begin with https://: http:// is for this machine alone")
	case u.Scheme != "http" && u.Scheme != "https":
		return value, wrong(field, "must begin with https://")
	}
	return value, nil
}

func (p *post) readSecrets(s Spec) error {
	if s.TokenFile != "" {
		b, err := readFile("tokenFile", s.TokenFile)
		if err != nil {
			return err
		}
		if token(string(b), len(b)) != string(b) {
			return wrong("tokenFile", "has spaces or characters that are not ASCII; put the token alone in it")
		}
		p.token = secret.New(b)
	}
	if s.SecretFile != "" {
		b, err := readFile("secretFile", s.SecretFile)
		if err != nil {
			return err
		}
		if len(b) < leastKey {
			return wrong("secretFile", "has a key of less than %d bytes; make a longer one", leastKey)
		}
		p.key = secret.New(b)
	}
	return nil
}

// send posts a body. An answer other than success is a *statusError, also a redirect.
func (p *post) send(ctx context.Context, body []byte, header http.Header) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, string(p.url.Expose()), bytes.NewReader(body))
	if err != nil {
		return errNoRequest // the cause quotes the URL
	}
	r.Header = header
	r.Header.Set("User-Agent", p.agent)
	if p.token.Len() > 0 {
		r.Header.Set("Authorization", "Bearer "+string(p.token.Expose()))
	}
	if p.key.Len() > 0 {
		r.Header.Set("Keeper-Signature", p.signature(body))
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer answer.Body.Close()
	io.CopyN(io.Discard, answer.Body, answerBytes)
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return &statusError{answer.StatusCode}
	}
	return nil
}

// signature is what tells the receiver that a body is keeper's, and how old it is:
// HMAC-SHA-256 over the time, a dot and the body.
func (p *post) signature(body []byte) string {
	at := strconv.FormatInt(p.now().Unix(), 10)
	mac := hmac.New(sha256.New, p.key.Expose())
	fmt.Fprintf(mac, "%s.", at)
	mac.Write(body)
	return "t=" + at + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// close lets go of the connections.
func (p *post) close(context.Context) error {
	p.client.CloseIdleConnections()
	return nil
}

func (p *post) alive() context.Context { return context.Background() }
func (p *post) drop()                  {}
