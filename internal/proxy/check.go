package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
)

const (
	checkWait  = 20 * time.Second // less than a client of keeper's own waits
	checkBytes = 64 << 10         // of an answer in which a field must be looked at
)

// What a test of a credential can show beside keeper's own refusals.
const (
	codeCredentialRefused = "credential_refused" // the provider does not take the credential
	codeCheckFailed       = "check_failed"       // it answered something that proves neither
)

// errCheckWait is the cause of a test that is cut because it takes too long.
var errCheckWait = errors.New("the provider takes too long")

// Checked is what a test of a credential showed.
type Checked struct {
	OK       bool
	Status   int    // that the provider answered; 0 where it did not
	Code     string // why it is not OK: one of the codes above, or of a refusal
	Message  string // a sentence for the operator
	Duration time.Duration
}

// Check makes the call by which a provider's definition tests a credential, through
// the pipeline as any other: decided and written down before the credential goes on,
// and with its answer scanned. Of the answer's body nothing is kept or told. claims
// must cover keeper:write. ctx bears the origin of the request, whose id the call has
// too. An empty label leaves the choice to the vault.
func (p *Proxy) Check(ctx context.Context, claims auth.Claims, provider, label string) Checked {
	began := time.Now()
	definition, _ := p.catalogue().Provider(provider)
	if definition == nil || definition.Check == nil {
		return Checked{Code: codeUnknown, Message: "there is no check of such a provider"}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkWait, errCheckWait)
	defer cancel()
	ctx, cut, end, ok := p.flights.begin(ctx)
	if !ok {
		return Checked{Code: codeStopping, Message: "keeper is stopping; try again in a moment"}
	}
	defer end()
	c := newCheck(ctx, claims, definition, label)
	answer := &discarded{header: http.Header{}, keep: definition.Check.Field != ""}
	ended := p.run(ctx, cut, answer, c)
	told := judge(definition, c, ended, answer)
	told.Duration = time.Since(began)
	return told
}

// newCheck is the check as a call, without a body and with no header of anybody's.
func newCheck(ctx context.Context, claims auth.Claims, definition *policy.Provider, label string) *call {
	path, query, _ := strings.Cut(definition.Check.Path, "?")
	origin := audit.OriginOf(ctx)
	c := &call{
		id: origin.RequestID, source: origin.Source, mode: checkMode, operator: claims,
		agent:    agent{cmp.Or(claims.AgentID(), policy.Operator), claims.JTI()},
		provider: definition.Name, named: definition.Name, label: label,
		method: http.MethodGet, path: path, rawQuery: query, header: http.Header{"Accept": {"application/json"}},
		body: http.NoBody, trailer: func() http.Header { return nil },
	}
	c.watch.Begin()
	return c
}

// judge says what the answer proves.
func judge(definition *policy.Provider, c *call, ended result, a *discarded) Checked {
	check, told := definition.Check, Checked{Status: a.status}
	switch {
	case ended.refusal != nil && c.refused:
		told.Code, told.Message = codeCredentialRefused, definition.Title+" does not take the credential"
	case ended.refusal != nil:
		told.Code, told.Message = ended.refusal.code, ended.refusal.message
	case ended.cut:
		told.Code, told.Message = codeInvalid, "the provider's answer broke off"
	case c.refused, slices.Contains(check.Refused, a.status), check.Field != "" && a.isOK() && !a.says(check.Field):
		told.Code, told.Message = codeCredentialRefused, fmt.Sprintf("%s does not take the credential: it answered %d", definition.Title, a.status)
		if a.isOK() {
			told.Message = fmt.Sprintf("%s does not take the credential: its answer does not say %q", definition.Title, check.Field)
		}
	case !a.isOK():
		told.Code, told.Message = codeCheckFailed, fmt.Sprintf("%s answered %d to GET %s, which proves nothing of the credential", definition.Title, a.status, c.path)
	default:
		told.OK, told.Message = true, definition.Title+" takes the credential"
	}
	return told
}

// discarded is an http.ResponseWriter for an answer of which the status counts, and of
// its body at most one field.
type discarded struct {
	header http.Header
	status int
	keep   bool
	kept   bytes.Buffer
}

func (d *discarded) Header() http.Header { return d.header }

func (d *discarded) WriteHeader(status int) {
	if status >= http.StatusOK {
		d.status = status
	}
}

// Flush does nothing: nobody waits for the answer.
func (d *discarded) Flush() {}

func (d *discarded) Write(p []byte) (int, error) {
	if d.keep && d.kept.Len() < checkBytes {
		d.kept.Write(p[:min(len(p), checkBytes-d.kept.Len())])
	}
	return len(p), nil
}

func (d *discarded) isOK() bool { return d.status >= 200 && d.status < 300 }

// says reports whether the member of the answer's object is true.
func (d *discarded) says(field string) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(d.kept.Bytes(), &object) == nil && string(object[field]) == "true"
}
