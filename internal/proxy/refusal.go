package proxy

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/superinstance/keeper/internal/scanner"
)

// The codes of keeper's own refusals.
const (
	codeTokenMissing   = "token_missing"
	codeTokenInvalid   = "token_invalid"
	codeTokenExpired   = "token_expired"
	codeTokenRevoked   = "token_revoked"
	codeScopeDenied    = "scope_denied"
	codeSecret         = "secret_in_request"
	codeNoCredential   = "no_credential"
	codeUnknown        = "provider_unknown"
	codeHostUnknown    = "host_unknown"
	codeMismatch       = "host_mismatch"
	codeBadRequest     = "bad_request"
	codeUndecodable    = "body_undecodable"
	codeTooLarge       = "body_too_large"
	codeRateLimited    = "rate_limited"
	codeAudit          = "audit_unavailable"
	codeStore          = "store_unavailable"
	codeStopping       = "keeper_stopping"
	codeUnreachable    = "upstream_unreachable"
	codeInvalid        = "upstream_invalid"
	codeTimeout        = "upstream_timeout"
	codeAgentGone      = "agent_gone"
	codeRedactionFails = "redaction_impossible"
	codeInternal       = "internal"
)

// kind is what a code means to HTTP and to the vendors' error types.
type kind struct {
	status int
	typ    string // as Anthropic and OpenAI name it
	google string // as google.rpc.Code names it
}

var (
	unauthenticated = kind{http.StatusUnauthorized, "authentication_error", "UNAUTHENTICATED"}
	forbidden       = kind{http.StatusForbidden, "permission_error", "PERMISSION_DENIED"}
	unavailable     = kind{http.StatusServiceUnavailable, "api_error", "UNAVAILABLE"}
	badGateway      = kind{http.StatusBadGateway, "api_error", "UNAVAILABLE"}
)

// kinds is the one table from code to status. A code that is not in it is
// keeper's own fault: 500.
var kinds = map[string]kind{
	codeTokenMissing:   unauthenticated,
	codeTokenInvalid:   unauthenticated,
	codeTokenExpired:   unauthenticated,
	codeTokenRevoked:   unauthenticated,
	codeScopeDenied:    forbidden,
	codeSecret:         forbidden,
	codeNoCredential:   forbidden,
	codeUnknown:        {http.StatusNotFound, "not_found_error", "NOT_FOUND"},
	codeHostUnknown:    forbidden,
	codeMismatch:       {http.StatusMisdirectedRequest, "invalid_request_error", "INVALID_ARGUMENT"},
	codeBadRequest:     {http.StatusBadRequest, "invalid_request_error", "INVALID_ARGUMENT"},
	codeUndecodable:    {http.StatusUnsupportedMediaType, "invalid_request_error", "INVALID_ARGUMENT"},
	codeTooLarge:       {http.StatusRequestEntityTooLarge, "invalid_request_error", "OUT_OF_RANGE"},
	codeRateLimited:    {http.StatusTooManyRequests, "rate_limit_error", "RESOURCE_EXHAUSTED"},
	codeAudit:          unavailable,
	codeStore:          unavailable,
	codeStopping:       unavailable,
	codeUnreachable:    badGateway,
	codeInvalid:        badGateway,
	codeRedactionFails: badGateway,
	codeTimeout:        {http.StatusGatewayTimeout, "api_error", "DEADLINE_EXCEEDED"},
}

// Codes are those that a call on the proxy route can be refused with, by their status.
func Codes() map[int][]string {
	all := map[int][]string{http.StatusInternalServerError: {codeInternal}}
	for code, k := range kinds {
		if code != codeHostUnknown && code != codeMismatch { // of keeper as a proxy alone
			all[k.status] = append(all[k.status], code)
		}
	}
	for _, codes := range all {
		slices.Sort(codes)
	}
	return all
}

// ErrorType and ErrorStatus are what a code is called in a refusal's body beside the
// code itself.
func ErrorType(code string) string { return kindOf(code).typ }

// ErrorStatus is the code as google.rpc.Code names it.
func ErrorStatus(code string) string { return kindOf(code).google }

func kindOf(code string) kind {
	if k, known := kinds[code]; known {
		return k
	}
	return kind{http.StatusInternalServerError, "api_error", "INTERNAL"}
}

// refusal is why a call ended at keeper. Its message names a rule, a scope or
// a mend, and never a value from the call.
type refusal struct {
	code     string
	message  string
	findings []scanner.Finding
	after    time.Duration // when the same call may pass; zero: as its code says
	quota    string        // that is used up
}

func refuse(code, message string) *refusal { return &refusal{code: code, message: message} }

// sentence is what the client shows: it begins with the one who speaks.
func (r *refusal) sentence() string { return "keeper: " + r.message }

// universal is the one body that the vendors' clients show clearly.
type universal struct {
	Type             string         `json:"type"`
	Error            universalError `json:"error"`
	Message          string         `json:"message"`
	DocumentationURL string         `json:"documentation_url"`
	RequestID        string         `json:"request_id"`
}

type universalError struct {
	Type    string  `json:"type"`
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Status  string  `json:"status"`
}

func (p *Proxy) universalBody(c *call, r *refusal) []byte {
	k := kindOf(r.code)
	body, err := json.Marshal(universal{
		Type:    "error",
		Error:   universalError{Type: k.typ, Code: r.code, Message: r.sentence(), Status: k.google},
		Message: r.sentence(), DocumentationURL: p.page(c, r), RequestID: c.id,
	})
	if err != nil { // strings alone cannot fail to encode
		return []byte("{}")
	}
	return body
}

// page is where the call's agent finds what the code means.
func (p *Proxy) page(c *call, r *refusal) string { return p.docs(c.asked) + r.code }

// status is that of a refusal: a proxy's own where it is asked to be one (RFC 9110,
// 15.5.8).
func (c *call) status(r *refusal) int {
	status := kindOf(r.code).status
	if status == http.StatusUnauthorized && c.proxying {
		return http.StatusProxyAuthRequired
	}
	return status
}

// refusalHeaders stop the retries that cannot help: 503 and 429 alone invite one.
func refusalHeaders(h http.Header, r *refusal) {
	h.Set("Keeper-Code", r.code)
	h.Set("Cache-Control", "no-store")
	if retryable(r) {
		h.Set("Retry-After", strconv.Itoa(int(max(1, math.Ceil(r.after.Seconds())))))
		return
	}
	h.Set("X-Should-Retry", "false")
	h.Set("Stripe-Should-Retry", "false")
}

// retryable reports whether the same call may pass a moment later: not where a quota is
// used up for long.
func retryable(r *refusal) bool {
	status := kindOf(r.code).status
	return (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && r.after <= longestWait
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(body) // the caller may have gone; there is nobody else to tell
}
