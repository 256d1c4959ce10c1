package keepertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Response is an answer of keeper's that was read to its end.
type Response struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Body    []byte
	Err     error // of reading the body: an answer that was cut
}

// JSON decodes the body as an object; nil where it is none.
func (r Response) JSON() map[string]any {
	var decoded map[string]any
	if json.Unmarshal(r.Body, &decoded) != nil {
		return nil
	}
	return decoded
}

// Entry is an audit entry as the API tells it.
type Entry struct {
	ID        string         `json:"id"`
	Timestamp time.Time      `json:"timestamp"`
	Event     string         `json:"event"`
	AgentID   string         `json:"agentId"`
	Provider  string         `json:"provider"`
	Risk      int            `json:"risk"`
	RequestID string         `json:"requestId"`
	Details   map[string]any `json:"details"`
}

// Client is an HTTP client that follows no redirect, adds no Accept-Encoding
// and has its answers searched for the canary. It works for streams.
func (k *Keeper) Client() *http.Client {
	return &http.Client{
		Transport:     &recordingTransport{answers: k.answers},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Request makes a request to a provider through keeper with a token in
// Authorization; path is the provider's own and may have a query.
func (k *Keeper) Request(t testing.TB, method, provider, path, token, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, k.ProxyURL(provider)+path, strings.NewReader(body))
	if err != nil {
		t.Fatalf("making a request: got %v, want no error", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// Do sends a request and reads the answer to its end. Only an answer that does
// not even begin fails the test.
func (k *Keeper) Do(t testing.TB, req *http.Request) Response {
	t.Helper()
	res, err := k.Client().Do(req)
	if err != nil {
		t.Fatalf("%s %s: got no answer, want one", req.Method, req.URL.EscapedPath())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return Response{Status: res.StatusCode, Header: res.Header, Trailer: res.Trailer, Body: body, Err: err}
}

// Call is Request and Do; headers are given as name, value, name, value.
func (k *Keeper) Call(t testing.TB, method, provider, path, token, body string, headers ...string) Response {
	t.Helper()
	req := k.Request(t, method, provider, path, token, body)
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	return k.Do(t, req)
}

// Admin calls a management route with the admin token; body, unless nil, goes
// as JSON. The path begins behind /api/v1.
func (k *Keeper) Admin(t testing.TB, method, path string, body any) (int, map[string]any) {
	t.Helper()
	return k.Manage(t, method, path, k.admin, body)
}

// Manage is Admin with another token, or none where it is empty.
func (k *Keeper) Manage(t testing.TB, method, path, token string, body any) (int, map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var sent io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatalf("encoding a body: got %v, want no error", err)
		}
		sent = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, k.adminURL()+"/api/v1"+path, sent)
	if err != nil {
		t.Fatalf("making a request: got %v, want no error", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res := k.Do(t, req)
	return res.Status, res.JSON()
}

// Store sets a secret and adds it to the canary; an empty label is the default
// one. agents, where given, are the only ones that may use it.
func (k *Keeper) Store(t testing.TB, provider, label, value string, agents ...string) {
	t.Helper()
	k.canary.Plant(strings.TrimSuffix(provider+"@"+label, "@"), value)
	body := map[string]any{"provider": provider, "value": value}
	if label != "" {
		body["label"] = label
	}
	if agents != nil {
		body["allowedAgents"] = agents
	}
	if status, _ := k.Admin(t, http.MethodPost, "/vault", body); status != http.StatusOK {
		t.Fatalf("storing a secret of %s: got %d, want 200", provider, status)
	}
}

// Token returns a token for an agent with the scopes, all of which a new agent
// is granted. It is asked for with the agent's own secret.
func (k *Keeper) Token(t testing.TB, agent string, scopes ...string) string {
	t.Helper()
	body := map[string]any{"agentId": agent, "agentSecret": k.AgentSecret(t, agent, scopes...), "scopes": scopes}
	status, answer := k.Manage(t, http.MethodPost, "/auth/token", "", body)
	token, _ := answer["token"].(string)
	if status != http.StatusOK || token == "" {
		t.Fatalf("issuing a token for %s: got %d %v, want 200 and a token", agent, status, answer["error"])
	}
	k.private.Plant("a token of "+agent, token[strings.LastIndexByte(token, '.')+1:])
	return token
}

// AgentSecret registers an agent with a grant, unless Token or AgentSecret has
// done so before, and returns its secret.
func (k *Keeper) AgentSecret(t testing.TB, agent string, scopes ...string) string {
	t.Helper()
	k.mu.Lock()
	known := k.secrets[agent]
	k.mu.Unlock()
	if known != "" {
		return known
	}
	body := map[string]any{"agentId": agent, "agentName": agent, "scopes": append([]string{}, scopes...)}
	status, answer := k.Admin(t, http.MethodPost, "/auth/register", body)
	made, _ := answer["agentSecret"].(string)
	if status != http.StatusOK || made == "" {
		t.Fatalf("registering %s: got %d %v, want 200 and a secret", agent, status, answer["error"])
	}
	k.private.Plant("the secret of "+agent, made)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets[agent] = made
	return made
}

// Audit returns all entries that match, oldest first. The filter is a query of
// the audit route, such as "event=proxy.request&agentId=a".
func (k *Keeper) Audit(t testing.TB, filter string) []Entry {
	t.Helper()
	pages, err := k.auditRows(filter)
	if err != nil {
		t.Fatalf("reading the audit log: got %v, want entries", err)
	}
	var entries []Entry
	for _, raw := range pages {
		var entry Entry
		if err := json.Unmarshal(raw, &entry); err != nil {
			t.Fatalf("decoding an audit entry: got %v, want no error", err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// AwaitAudit is Audit once n entries match: an outcome may be written after
// its caller has the answer.
func (k *Keeper) AwaitAudit(t testing.TB, filter string, n int) []Entry {
	t.Helper()
	deadline, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		entries := k.Audit(t, filter)
		if len(entries) >= n {
			return entries
		}
		if deadline.Err() != nil {
			t.Fatalf("waiting for audit entries of %q: got %d, want %d", filter, len(entries), n)
		}
	}
}

// auditRows follows the cursor; the rows are as the API writes them.
func (k *Keeper) auditRows(filter string) ([]json.RawMessage, error) {
	query, err := url.ParseQuery(filter)
	if err != nil {
		return nil, fmt.Errorf("parsing the filter: %w", err)
	}
	if !query.Has("limit") {
		query.Set("limit", "1000")
	}
	var rows []json.RawMessage
	for {
		page, err := k.auditPage(query)
		if err != nil {
			return nil, err
		}
		rows = append(page.Entries, rows...)
		if page.NextCursor == "" || len(page.Entries) == 0 {
			return rows, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

type auditPage struct {
	Entries    []json.RawMessage `json:"entries"`
	NextCursor string            `json:"nextCursor"`
}

func (k *Keeper) auditPage(query url.Values) (auditPage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.adminURL()+"/api/v1/audit?"+query.Encode(), nil)
	if err != nil {
		return auditPage{}, err
	}
	req.Header.Set("Authorization", "Bearer "+k.admin)
	res, err := k.Client().Do(req)
	if err != nil {
		return auditPage{}, errors.New("no answer")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return auditPage{}, fmt.Errorf("status %d", res.StatusCode)
	}
	var page auditPage
	err = json.NewDecoder(res.Body).Decode(&page)
	return page, err
}

// answers is all that agents have seen.
type answers struct {
	mu  sync.Mutex
	all []*captured
}

type captured struct {
	what string
	mu   sync.Mutex
	data bytes.Buffer
}

func (c *captured) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data.Write(p)
}

func (a *answers) add(what string, data []byte) *captured {
	one := &captured{what: what}
	one.data.Write(data)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, one)
	return one
}

func (a *answers) each(do func(what string, data []byte)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.all {
		one.mu.Lock()
		do(one.what, bytes.Clone(one.data.Bytes()))
		one.mu.Unlock()
	}
}

// recordingTransport captures answers as they are read.
type recordingTransport struct{ answers *answers }

func (r *recordingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	what := "the answer to " + req.Method + " " + req.URL.Path
	plain := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	res, err := plain.RoundTrip(req)
	if err != nil {
		r.answers.add("the error of "+req.Method, []byte(err.Error()))
		return nil, err
	}
	one := r.answers.add(what, headerText(res.Header))
	res.Body = &recordedBody{ReadCloser: res.Body, res: res, into: one}
	return res, nil
}

// recordedBody adds the body as it is read, and the trailers at its end.
type recordedBody struct {
	io.ReadCloser
	res  *http.Response
	into *captured
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.into.Write(p[:n]) // a buffer's Write has no error
	if err != nil {
		b.into.Write(headerText(b.res.Trailer))
		b.into.Write([]byte(err.Error()))
	}
	return n, err
}

func headerText(h http.Header) []byte {
	var text bytes.Buffer
	for name, values := range h {
		for _, value := range values {
			text.WriteString(name + ": " + value + "\n")
		}
	}
	return text.Bytes()
}
