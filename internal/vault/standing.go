package vault

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/audit"
)

const (
	goodFor   = time.Minute // after a success, one refusal says nothing of the credential
	toldEvery = time.Minute // a refusal of the same credential is in the log at most so often
	peekBytes = 4 << 10     // of an answer that may say why
)

// usage is what becomes of one version of a secret while keeper runs. It is
// safe for concurrent use.
type usage struct {
	good  atomic.Int64 // Unix seconds of the last success
	since atomic.Int64 // Unix milliseconds of the first refusal after it; 0: none
	told  atomic.Int64 // Unix seconds of the last entry in the log
	// issuer says that it is the issuer who refuses: then a call that succeeds
	// with a token of before proves nothing.
	issuer atomic.Bool

	mu     sync.Mutex
	reason string
	tls    map[string]*tls.Config // by the roots
}

// refusal is zero where the version is not refused.
func (u *usage) refusal() (since time.Time, reason string) {
	at := u.since.Load()
	if at == 0 {
		return time.Time{}, ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.UnixMilli(at).UTC(), u.reason
}

// Refusal is a credential that its provider, or the issuer of its tokens, takes
// no more.
type Refusal struct {
	Provider, Label string
	Since           time.Time
	Reason          string // "status 401", "InvalidClientTokenId", "the issuer: invalid_grant"
}

// Refusals lists the secrets whose present version is refused, by provider and
// label.
func (v *Vault) Refusals() []Refusal {
	var all []Refusal
	for _, h := range v.state.Load().secrets {
		if since, reason := h.current().use.refusal(); !since.IsZero() {
			all = append(all, Refusal{h.provider, h.label, since, reason})
		}
	}
	slices.SortFunc(all, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Label, b.Label))
	})
	return all
}

// Settle looks at the provider's answer to the call that r stands for and reports
// whether it says that the credential is not taken: 401, or to an AWS signature
// 400 or 403 with a code that says so. Then the tokens made of it are dropped, and
// the credential counts as refused until a call with it succeeds, unless one did in
// the minute before: an agent that calls a route which answers 401 to all is no
// proof. resp is nil where the provider broke the connection off because of a
// client certificate. Of resp, the body may be read in part, and is put back.
func (v *Vault) Settle(ctx context.Context, r audit.Receipt, resp *http.Response) (refused bool) {
	h := v.state.Load().secrets[r.Ref().SecretID()]
	if !r.Valid() || h == nil || h.version(r.Ref().Version()) == nil {
		return false
	}
	one := h.version(r.Ref().Version())
	now := v.now()
	if resp != nil && resp.StatusCode >= 200 && resp.StatusCode < 300 {
		one.use.good.Store(now.Unix())
		if one.use.since.Load() != 0 && !one.use.issuer.Load() {
			one.use.since.Store(0)
		}
		return false
	}
	status, reason := 0, "the client certificate"
	if resp != nil {
		if reason = refusalOf(resp, r.Grant().Injection().Signs()); reason == "" {
			return false
		}
		status = resp.StatusCode
	}
	v.mint.drop(h.id, one.number)
	if now.Unix()-one.use.good.Load() < int64(goodFor/time.Second) {
		return true
	}
	v.refused(ctx, h, one, audit.CredentialRefused{
		Agent: r.Grant().AgentID(), Provider: h.provider, Label: h.label, Version: one.number, Status: status, Reason: reason,
	})
	return true
}

// refused marks a version and says so in the log.
func (v *Vault) refused(ctx context.Context, h *held, one *version, e audit.CredentialRefused) {
	now := v.now()
	one.use.mu.Lock()
	one.use.reason = e.Reason
	one.use.mu.Unlock()
	one.use.since.CompareAndSwap(0, now.UnixMilli())
	told := one.use.told.Load()
	if now.Unix()-told < int64(toldEvery/time.Second) || !one.use.told.CompareAndSwap(told, now.Unix()) {
		return
	}
	if err := v.log.Record(context.WithoutCancel(ctx), e); err != nil {
		v.logger.ErrorContext(ctx, "recording that a credential is refused", "provider", h.provider, "label", h.label, "error", err)
	}
}

// refusedByIssuer marks the version whose value the issuer does not take.
func (v *Vault) refusedByIssuer(ctx context.Context, s *slot, version int, why *IssuerError) {
	h := v.state.Load().secrets[s.secretID]
	if h == nil || h.version(version) == nil {
		return
	}
	h.version(version).use.issuer.Store(true)
	v.refused(ctx, h, h.version(version), audit.CredentialRefused{
		Provider: h.provider, Label: h.label, Version: version, Reason: strings.TrimSuffix("the issuer: "+why.Code, ": "),
	})
}

// takenByIssuer takes that back.
func (v *Vault) takenByIssuer(s *slot) {
	s.mu.Lock()
	version := s.version
	s.mu.Unlock()
	if h := v.state.Load().secrets[s.secretID]; h != nil && h.version(version) != nil {
		if use := h.version(version).use; use.issuer.CompareAndSwap(true, false) {
			use.since.Store(0)
		}
	}
}

// awsRefusals are the codes by which AWS says that it does not take a key, and
// by which it says that a signature is wrong.
var awsRefusals = []string{
	"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", "ExpiredTokenException",
	"SignatureDoesNotMatch", "InvalidSignatureException", "TokenRefreshRequired", "AuthFailure",
}

// refusalOf says why an answer refuses the credential; "" where it does not.
func refusalOf(resp *http.Response, signed bool) string {
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return "status 401"
	case !signed || resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusBadRequest:
		return ""
	}
	code := resp.Header.Get("X-Amzn-Errortype")
	if code == "" {
		code = codeIn(peek(resp))
	}
	code, _, _ = strings.Cut(code, ":")
	code = code[strings.LastIndexByte(code, '#')+1:]
	if slices.Contains(awsRefusals, code) {
		return code
	}
	return ""
}

// peek reads the beginning of a body, which the answer keeps.
func peek(resp *http.Response) []byte {
	begin, err := io.ReadAll(io.LimitReader(resp.Body, peekBytes))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failing{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), rest), resp.Body}
	return begin
}

type failing struct{ err error }

// Read returns the error.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// codeIn finds the code of an AWS error in JSON or XML.
func codeIn(body []byte) string {
	var told struct {
		Type string `json:"__type"`
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &told) == nil {
		return cmp.Or(told.Type, told.Code)
	}
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		var code string
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "Code" && d.DecodeElement(&code, &start) == nil {
			return code
		}
	}
}

// statusCode names a status for an IssuerError.
func statusCode(status int) string { return "status " + strconv.Itoa(status) }
