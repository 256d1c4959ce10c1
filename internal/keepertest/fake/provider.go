// Package fake is a provider on loopback that behaves as the real ones do
// where keeper could tell the difference: it answers 401 unless the real
// credential arrives in the vendor's own place, and it keeps a list of whatever
// of an agent's credentials or address reached it. Its one invariant: what it
// recorded is what came in, byte for byte. It imports nothing of this module
// and holds only keys that were made for it.
package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says what a Provider expects. The zero Config makes its own keys and
// has no git repositories.
type Config struct {
	// Keys maps a vendor to the credential that it accepts. A vendor without
	// one gets a key of its own, made by NewKey.
	Keys map[string]string
	// GitRoot is the folder of bare repositories, as MakeRepository makes
	// them. Empty: every repository is unknown.
	GitRoot string
}

// Provider is one listener that plays every vendor, each under a path of its
// own. It is safe for concurrent use.
type Provider struct {
	server  *httptest.Server
	gitRoot string

	mu         sync.Mutex
	keys       map[string][]string // accepted, the present one first
	planted    map[string]string
	stored     map[string][]byte // objects of S3, by bucket/key
	forbidden  []string
	overrides  map[string]http.HandlerFunc
	gates      map[string]*Gate
	requests   []*Request
	violations []string
	arrived    chan struct{} // closed and replaced at each arrival
}

// Request is one request as it arrived.
type Request struct {
	Vendor     string      `json:"vendor"`
	Method     string      `json:"method"`
	Path       string      `json:"path"` // escaped, as sent, without the vendor's own prefix
	RawQuery   string      `json:"query"`
	Proto      string      `json:"proto"`
	Header     http.Header `json:"headers"`
	Trailer    http.Header `json:"trailers"`
	Body       []byte      `json:"body"`
	BodyErr    string      `json:"bodyError"` // why the body ended early; empty where it did not
	Chunked    bool        `json:"chunked"`
	Authorized bool        `json:"authorized"`
	Credential string      `json:"credential"` // the accepted key that came; empty where none did
	Refused    string      `json:"refused"`    // what is wrong with its signature, if it has to have one

	payload []byte // the body as its API takes it
	done    chan struct{}
}

// Done is closed once the provider has finished with the request, also where
// its caller went away.
func (r *Request) Done() <-chan struct{} { return r.done }

// New starts a provider. Close ends it.
func New(c Config) *Provider {
	p := &Provider{
		gitRoot: c.GitRoot, keys: map[string][]string{}, planted: map[string]string{}, stored: map[string][]byte{},
		overrides: map[string]http.HandlerFunc{}, gates: map[string]*Gate{}, arrived: make(chan struct{}),
	}
	for vendor, key := range c.Keys {
		p.keys[vendor] = []string{key}
	}
	for _, vendor := range Vendors() {
		if p.keys[vendor] == nil {
			p.keys[vendor] = []string{NewKey(vendor)}
		}
	}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	return p
}

// Close ends all connections and the listener.
func (p *Provider) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

// URL is the root of a vendor. A name that is no vendor's is a generic API
// that wants "Authorization: Bearer".
func (p *Provider) URL(vendor string) string { return p.server.URL + "/" + vendor }

// Address is the listener's host and port.
func (p *Provider) Address() string { return p.server.Listener.Addr().String() }

// Key is the credential that a vendor accepts at present; one that it has not
// had before is made.
func (p *Provider) Key(vendor string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys[vendor] == nil {
		p.keys[vendor] = []string{NewKey(vendor)}
	}
	return p.keys[vendor][0]
}

// Accept makes key another credential of a vendor; the first one keeps its
// place.
func (p *Provider) Accept(vendor, key string) {
	first := p.Key(vendor)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[vendor] = append([]string{first}, append(p.keys[vendor][1:], key)...)
}

// Forbid names values that must never arrive: dummy keys, an agent's secret.
func (p *Provider) Forbid(values ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forbidden = append(p.forbidden, slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })...)
}

// Plant makes a value known under a name that a scenario can leak.
func (p *Provider) Plant(name, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.planted[name] = value
}

// Handle answers all authorized requests to a vendor by h; nil goes back to
// the vendor's own answers. The body has been read and can be read again.
func (p *Provider) Handle(vendor string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.overrides[vendor] = h
}

// Requests are all that arrived, oldest first, the unauthorized among them.
func (p *Provider) Requests() []*Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Last is the latest request, or nil where none arrived.
func (p *Provider) Last() *Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == 0 {
		return nil
	}
	return p.requests[len(p.requests)-1]
}

// Reset forgets the requests and violations of before.
func (p *Provider) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.violations = nil, nil
}

// Violations say, without quoting a value, what arrived that must not.
func (p *Provider) Violations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.violations)
}

// Await returns the nth request, from 1, as soon as it has arrived.
func (p *Provider) Await(ctx context.Context, n int) (*Request, error) {
	for {
		p.mu.Lock()
		if len(p.requests) >= n {
			defer p.mu.Unlock()
			return p.requests[n-1], nil
		}
		arrived := p.arrived
		p.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for request %d: %w", n, ctx.Err())
		}
	}
}

// serve takes the path apart by itself: a ServeMux would clean it.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	vendor, rest, _ := strings.Cut(strings.TrimPrefix(raw, "/"), "/")
	if vendor == controlRoot {
		p.control(w, r, rest)
		return
	}
	rec := p.receive(vendor, "/"+rest, r)
	defer close(rec.done)
	if len(rec.BodyErr) > 0 {
		panic(http.ErrAbortHandler) // its sender is gone
	}
	a := &answer{w: w, r: r, p: p, rec: rec, payload: rec.payload, s: parseScenario(r.Header.Get(ScenarioHeader))}
	switch {
	case !rec.Authorized:
		a.fail(http.StatusUnauthorized)
	case p.override(vendor) != nil:
		p.override(vendor)(w, r)
	default:
		a.serve()
	}
}

func (p *Provider) override(vendor string) http.HandlerFunc {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.overrides[vendor]
}

// receive reads the request whole, judges it and keeps it.
func (p *Provider) receive(vendor, path string, r *http.Request) *Request {
	rec := &Request{
		Vendor: vendor, Method: r.Method, Path: path, RawQuery: r.URL.RawQuery, Proto: r.Proto,
		Chunked: slices.Contains(r.TransferEncoding, "chunked"), done: make(chan struct{}),
	}
	body, err := io.ReadAll(r.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		rec.BodyErr = err.Error()
	}
	rec.Body, rec.Header, rec.Trailer = body, r.Header.Clone(), r.Trailer.Clone()
	r.Body = io.NopCloser(bytes.NewReader(body))

	p.mu.Lock()
	defer p.mu.Unlock()
	place := placeOf(vendor, path)
	if place.scheme == "SigV4" {
		rec.signedBy(r, place.user, p.keys[vendor])
	} else {
		rec.Credential, rec.payload = place.accepted(r, p.keys[vendor]), body
	}
	rec.Authorized = rec.Credential != ""
	for _, found := range intrusions(rec, place, p.forbidden) {
		p.violations = append(p.violations, fmt.Sprintf("%s %s%s: %s", r.Method, vendor, path, found))
	}
	p.requests = append(p.requests, rec)
	close(p.arrived)
	p.arrived = make(chan struct{})
	return rec
}

// signedBy judges a signature for a service by one of those keys.
func (r *Request) signedBy(req *http.Request, service string, keys []string) {
	var known []AWSKey
	for _, key := range keys {
		known = append(known, awsKey(key))
	}
	sig, err := VerifySignature(req, r.Body, known, time.Now())
	switch {
	case err != nil:
		r.Refused = err.Error()
	case sig.Service != service:
		r.Refused = mismatch("it is for another service than " + service).Error()
	default:
		r.Credential, r.payload = sig.Key.ID+":"+sig.Key.Secret, sig.Payload
	}
}

// secretNamed is the value that a scenario leaks: a planted one, or else the
// vendor's own key.
func (p *Provider) secretNamed(name, vendor string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if value, ok := p.planted[name]; ok {
		return value
	}
	if keys := p.keys[vendor]; len(keys) > 0 {
		return keys[0][strings.LastIndexByte(keys[0], ':')+1:] // of AWS's, what is secret
	}
	return ""
}

// Vendors are the APIs that are played in their own shape, sorted. "generic"
// stands for all others.
func Vendors() []string { return slices.Sorted(maps.Keys(vendors())) }
