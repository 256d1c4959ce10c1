// Package openapi holds a keeper against its own description of its routes, by a
// validator that others made. It is a module of its own, so that keeper does not depend
// on that.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/content"
	"github.com/pb33f/libopenapi-validator/errors"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
)

// streamWait is how long a stream that has no end is read.
const streamWait = 300 * time.Millisecond

// bench is a keeper, and what its traffic showed.
type bench struct {
	t      *testing.T
	keeper *keepertest.Keeper
	issuer *exchangetest.Issuer
	model  *v3.Document
	judge  validator.Validator

	mu   sync.Mutex // guards what follows
	good map[string]int
	bad  map[string]int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	issuer := exchangetest.New()
	t.Cleanup(issuer.Close)
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Trust = []exchange.Issuer{{URL: issuer.URL(), Audience: exchangetest.Audience, Rules: []exchange.Rule{{
			Name: "all", Match: map[string][]exchange.Pattern{"sub": {{Exact: "somebody"}}}, Agent: "ci", Create: true, Scopes: []string{"openai:chat"},
		}}}}
		c.Audit.Retention = &server.Retention{MaxAge: 24 * time.Hour}
		again := *c
		c.Reread = func([]byte) (server.Config, error) { return again, nil }
	}))
	b := &bench{t: t, keeper: k, issuer: issuer, good: map[string]int{}, bad: map[string]int{}}
	text := b.fetch("/openapi.json")
	b.keep("openapi.json", text)
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatalf("reading the description: %v", err)
	}
	built, err := doc.BuildV3Model()
	if err != nil {
		t.Fatalf("building the description's model: %v", err)
	}
	b.model = &built.Model
	judge, faults := validator.NewValidator(doc, config.WithFormatAssertions(), config.WithContentAssertions(), config.WithURLEncodedBodyValidation(),
		config.WithBodyDecoder("application/x-ndjson", content.DecoderFunc(asText)))
	if len(faults) > 0 {
		t.Fatalf("making the validator: %v", faults)
	}
	if ok, faults := judge.ValidateDocument(); !ok {
		t.Fatalf("the description is no OpenAPI 3.1:\n%s", told(faults))
	}
	b.judge = judge
	return b
}

func (b *bench) fetch(path string) []byte {
	b.t.Helper()
	resp, err := http.Get(b.keeper.URL() + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// keep writes a description where the linter finds it, if there is to be one.
func (b *bench) keep(name string, text []byte) {
	if folder := os.Getenv("OPENAPI_OUT"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

// asText takes lines of JSON as the text that they are described as, once each of them
// is found to be JSON.
func asText(in *content.DecodeInput) (any, error) {
	text, err := io.ReadAll(in.Body)
	for line := range bytes.Lines(text) {
		if err == nil && !json.Valid(line) {
			err = fmt.Errorf("a line is no JSON: %.100s", line)
		}
	}
	return string(text), err
}

func told(faults []*errors.ValidationError) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "  %s: %s\n", f.Message, f.Reason)
		for _, s := range f.SchemaValidationErrors {
			fmt.Fprintf(&b, "    %s: %s\n", s.FieldPath, s.Reason)
		}
	}
	return b.String()
}

// call is one request: what it holds is right unless it says so.
type call struct {
	method, path string
	token        string // empty: the admin token; "-": none
	body         string
	form         bool
	wrong        bool // the request is not as the description wants it
	header       []string
}

// do sends a call, and holds it and its answer against the description. It returns the
// answer's body.
func (b *bench) do(c call) (int, []byte) {
	b.t.Helper()
	req := b.request(c)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: got no answer: %v", c.method, c.path, err)
	}
	defer resp.Body.Close()
	body := read(resp)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	again := b.request(c)
	judge := b.judge.ValidateHttpRequestResponse
	if c.wrong {
		judge = b.judge.ValidateHttpResponse
	}
	if ok, faults := judge(again, resp); !ok {
		b.t.Errorf("%s %s: answered %d with %.300s, which is not what the description says:\n%s", c.method, c.path, resp.StatusCode, body, told(faults))
	}
	b.wantMedia(again, resp)
	b.count(again, resp.StatusCode)
	return resp.StatusCode, body
}

func (b *bench) request(c call) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), c.method, b.keeper.URL()+c.path, strings.NewReader(c.body))
	if err != nil {
		b.t.Fatal(err)
	}
	switch c.token {
	case "":
		req.Header.Set("Authorization", "Bearer "+b.keeper.AdminToken())
	case "-":
	default:
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.form {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for pair := range slices.Chunk(c.header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	return req
}

// read returns an answer's body; of one that has no end, its beginning.
func read(resp *http.Response) []byte {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media == "text/event-stream" {
		stop := time.AfterFunc(streamWait, func() { resp.Body.Close() })
		defer stop.Stop()
	}
	body, _ := io.ReadAll(resp.Body) // a stream that was ended here is no error
	return body
}

// operation is the one that a request is to; nil where there is none.
func (b *bench) operation(req *http.Request) *v3.Operation {
	asked := strings.Split(req.URL.EscapedPath(), "/")
	for template, item := range b.model.Paths.PathItems.FromOldest() {
		parts := strings.Split(template, "/")
		if len(parts) != len(asked) {
			continue
		}
		same := true
		for i := range parts {
			same = same && (parts[i] == asked[i] || strings.HasPrefix(parts[i], "{"))
		}
		if op, there := item.GetOperations().Get(strings.ToLower(req.Method)); same && there {
			return op
		}
	}
	return nil
}

// wantMedia fails where the answer is of a type that is not described, or lacks the
// header that every answer has: the validator looks at neither.
func (b *bench) wantMedia(req *http.Request, resp *http.Response) {
	b.t.Helper()
	op := b.operation(req)
	if op == nil {
		b.t.Fatalf("%s %s: got no such operation in the description", req.Method, req.URL.Path)
	}
	if resp.Header.Get("Keeper-Request-Id") == "" {
		b.t.Errorf("%s: got an answer without Keeper-Request-Id", op.OperationId)
	}
	described := op.Responses.FindResponseByCode(resp.StatusCode)
	if described == nil {
		described = op.Responses.Default
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if described == nil || media == "" || described.Content == nil {
		return
	}
	for known := range described.Content.KeysFromOldest() {
		if known == media || known == "*/*" {
			return
		}
	}
	b.t.Errorf("%s: answered %d as %s, want one of %v", op.OperationId, resp.StatusCode, media, slices.Collect(described.Content.KeysFromOldest()))
}

func (b *bench) count(req *http.Request, status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if id := b.operation(req).OperationId; status < 400 {
		b.good[id]++
	} else {
		b.bad[id]++
	}
}

// TestTheDescriptionOfTheAgentsListener is for the linter: its routes are among those of
// the other test.
func TestTheDescriptionOfTheAgentsListener(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.AdminAddr = "127.0.0.1:0" }))
	b := &bench{t: t, keeper: k}
	b.keep("agents.json", b.fetch("/openapi.json"))
}

func TestKeeperDoesWhatItsDescriptionSays(t *testing.T) {
	b := newBench(t)
	b.story()
	b.everyRouteRefuses()
	b.othersByTheirExamples()
	var missing []string
	operations := 0
	for path, item := range b.model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			operations++
			if b.good[op.OperationId] == 0 && !atIssuers[op.OperationId] && !ofSeveral[op.OperationId] || b.bad[op.OperationId] == 0 {
				missing = append(missing, fmt.Sprintf("%s %s (%s): %d good, %d bad", method, path, op.OperationId, b.good[op.OperationId], b.bad[op.OperationId]))
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("these were not seen both good and bad; add a call of each to story in traffic_test.go:\n%s", strings.Join(missing, "\n"))
	}
	sum := func(m map[string]int) (n int) {
		for one := range maps.Values(m) {
			n += one
		}
		return n
	}
	t.Logf("%d operations, %d good calls, %d bad ones", operations, sum(b.good), sum(b.bad))
}
