// Package relay stands on loopback between one command and a keeper. The command
// proves itself by a password that is worth nothing elsewhere and ends with it; the
// relay puts keeper's current token in its place, and copies the rest as it flows. So
// a token of minutes serves a command of hours, and is never in its environment.
// Its one invariant: nothing is passed on that does not bear the password. It never
// imports another package of this module.
package relay

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

const (
	readHeaderTimeout = 30 * time.Second
	maxHeaderBytes    = 256 << 10
	proxyRoute        = "/api/v1/proxy/"
	authRoute         = "/api/v1/auth/"
	// DefaultUser is the user in a proxy's URL that names no credential.
	DefaultUser = "keeper"
)

// Config is what a relay needs; all of it must be given.
type Config struct {
	// Keeper is keeper's URL, without a path of the API.
	Keeper *url.URL
	// Transport reaches it. Its TLSClientConfig counts for tunnels, too.
	Transport *http.Transport
	// Password is what the command proves itself by: characters of a path segment.
	Password string
	// Token returns keeper's token of the moment. It is called for each request, by
	// several goroutines at once.
	Token func() string
}

// Relay is an http.Handler, safe for concurrent use.
type Relay struct {
	config Config
	proxy  *httputil.ReverseProxy
	seen   tally
}

// New returns a relay.
func New(c Config) *Relay {
	r := &Relay{config: c}
	transport := c.Transport.Clone()
	transport.DisableCompression = true // what comes goes on as it came
	transport.MaxIdleConnsPerHost = 64
	r.proxy = &httputil.ReverseProxy{
		Rewrite: r.rewrite, Transport: transport, FlushInterval: -1,
		ModifyResponse: r.answered, ErrorHandler: r.unreachable, ErrorLog: log.New(io.Discard, "", 0),
	}
	return r
}

// Serve serves the listener until that is closed or ctx ends; then connections are
// closed, those in use as well.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // some SDKs speak nothing else
	s := &http.Server{
		Handler: r, DisableGeneralOptionsHandler: true, Protocols: protocols, ReadHeaderTimeout: readHeaderTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: log.New(io.Discard, "", 0), BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// destination is where a request goes that was admitted.
type destination struct {
	target string // for the request line, without its query
	own    bool   // keeper's own routes, rather than another host by keeper as proxy
	user   string // the user that the proxy's URL named
}

type destinationKey struct{}

func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	to, admitted := r.admit(req)
	switch {
	case !admitted:
		refuse(w, req)
	case req.Method == http.MethodConnect:
		r.tunnel(w, req, to)
	case strings.HasPrefix(to.target, "//"):
		write(w, http.StatusBadRequest, "bad_request", "the path begins with two slashes; send it with one")
	default:
		r.proxy.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), destinationKey{}, to)))
	}
}

// admit finds the password: as that of a proxy, or as the first segment of the path.
func (r *Relay) admit(req *http.Request) (destination, bool) {
	user, password := basic(req.Header.Get("Proxy-Authorization"))
	proven := r.is(password)
	if req.Method == http.MethodConnect {
		return destination{target: req.Host, user: user}, proven
	}
	raw, _, _ := strings.Cut(req.RequestURI, "?")
	if !strings.HasPrefix(raw, "/") {
		return destination{target: raw, user: user}, proven && req.URL.IsAbs()
	}
	segment, rest, _ := strings.Cut(raw[1:], "/")
	if r.is(segment) {
		return destination{target: "/" + rest, own: true, user: DefaultUser}, true
	}
	return destination{target: raw, own: true, user: user}, proven
}

func (r *Relay) is(password string) bool {
	return subtle.ConstantTimeCompare([]byte(password), []byte(r.config.Password)) == 1
}

// basic returns user and password of a header for HTTP Basic authentication.
func basic(header string) (user, password string) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", ""
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return "", ""
	}
	user, password, _ = strings.Cut(string(text), ":")
	return user, password
}

func proxyAuthorization(user, token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+token))
}

// rewrite points a request at keeper, byte for byte but for who sends it.
func (r *Relay) rewrite(p *httputil.ProxyRequest) {
	to, _ := p.In.Context().Value(destinationKey{}).(destination)
	token := r.config.Token()
	p.Out.URL = &url.URL{
		Scheme: r.config.Keeper.Scheme, Host: r.config.Keeper.Host, Opaque: to.target,
		RawQuery: p.In.URL.RawQuery, ForceQuery: p.In.URL.ForceQuery,
	}
	p.Out.Host = p.In.Host
	if to.own {
		p.Out.URL.Opaque = r.config.Keeper.EscapedPath() + to.target
		p.Out.Host = ""
		if scheme, value, _ := strings.Cut(p.Out.Header.Get("Authorization"), " "); r.is(value) {
			p.Out.Header.Set("Authorization", scheme+" "+token)
		}
		if r.openLetter(p.Out, to.target, token) {
			return
		}
	}
	p.Out.Header.Set("Proxy-Authorization", proxyAuthorization(to.user, token))
}

// carriers are the headers in which clients send a key.
var carriers = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Amz-Security-Token"}

const maxLetterBytes = 4 << 20 // as much as keeper reads of a caller without a token

// openLetter puts the token into a JSON body that names the password as its token: of
// keeper's routes for tokens, and of calls to a provider that bear a key nowhere else.
// It is true of such a call, which must bear no token beside.
func (r *Relay) openLetter(req *http.Request, target, token string) bool {
	call := strings.HasPrefix(target, proxyRoute)
	if req.Method != http.MethodPost || req.Body == nil || !call && !strings.HasPrefix(target, authRoute) {
		return false
	}
	for _, name := range carriers {
		if call && req.Header.Get(name) != "" {
			return false
		}
	}
	start, err := io.ReadAll(io.LimitReader(req.Body, maxLetterBytes+1))
	req.Body = readCloser{io.MultiReader(strings.NewReader(string(start)), failing{err}, req.Body), req.Body}
	var letter map[string]json.RawMessage
	var named string
	if err != nil || json.Unmarshal(start, &letter) != nil || json.Unmarshal(letter["token"], &named) != nil || !r.is(named) {
		return false
	}
	letter["token"], _ = json.Marshal(token) // a string can be encoded
	text, err := json.Marshal(letter)
	if err != nil {
		return false
	}
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(text))), int64(len(text))
	req.Header.Del("Content-Length")
	return call
}

type readCloser struct {
	io.Reader
	io.Closer
}

// failing repeats an error that ended a read; it is empty where there was none.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// answered counts an answer, which goes on unchanged.
func (r *Relay) answered(resp *http.Response) error {
	if name := aim(resp.Request).name(); name != "" {
		r.seen.count(name, resp.Header.Get("Keeper-Code"))
	}
	return nil
}

func aim(req *http.Request) destination {
	to, _ := req.Context().Value(destinationKey{}).(destination)
	return to
}

// name is what a call is counted by: its provider, or its host; empty for what is no call.
func (to destination) name() string {
	if !to.own {
		return hostOf(to.target)
	}
	rest, found := strings.CutPrefix(to.target, proxyRoute)
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, "@")
	return strings.ToLower(name)
}

func (r *Relay) unreachable(w http.ResponseWriter, req *http.Request, _ error) {
	r.lost(w, req, aim(req))
}

// lost answers a call that no keeper took.
func (r *Relay) lost(w http.ResponseWriter, req *http.Request, to destination) {
	if req.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there to tell
	}
	const code = "keeper_unreachable"
	if name := to.name(); name != "" {
		r.seen.count(name, code)
	}
	w.Header().Set("Retry-After", "1")
	write(w, http.StatusServiceUnavailable, code, "no keeper answers any more; the one that ran this command has stopped, or cannot be reached")
}

// refuse answers who does not bear the password. Proxies' clients need the challenge.
func refuse(w http.ResponseWriter, req *http.Request) {
	status := http.StatusUnauthorized
	if req.Method == http.MethodConnect || req.URL.IsAbs() {
		status = http.StatusProxyAuthRequired
		w.Header().Set("Proxy-Authenticate", `Basic realm="keeper"`)
	}
	write(w, status, "token_missing", "this address serves the command that keeper run has started, by the URLs in its environment")
}

// write answers in the shape that the vendors' clients show, as keeper does.
func write(w http.ResponseWriter, status int, code, sentence string) {
	message := "keeper: " + sentence
	body, _ := json.Marshal(map[string]any{ // strings alone cannot fail to encode
		"type": "error", "message": message, "error": map[string]string{"type": "api_error", "code": code, "message": message},
	})
	w.Header().Set("Content-Type", "application/json")
	if status != http.StatusServiceUnavailable {
		w.Header().Set("X-Should-Retry", "false")
		w.Header().Set("Stripe-Should-Retry", "false")
	}
	w.WriteHeader(status)
	w.Write(body) // the caller may have gone; there is nobody else to tell
}
