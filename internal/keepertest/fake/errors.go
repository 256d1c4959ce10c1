package fake

import (
	"net/http"
	"strconv"
	"strings"
)

// statusOverloaded is Anthropic's own.
const statusOverloaded = 529

// fail answers with the vendor's own error of that status.
func (a *answer) fail(status int) {
	message := failure(status)
	if a.s.leaks("error") {
		message += " The key is " + a.secret() + " indeed."
	}
	if status == http.StatusUnauthorized && a.rec.Vendor == "github" && isGit(a.rec.Path) {
		a.w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		a.plain(status, "text/plain", []byte(message+"\n"))
		return
	}
	if status == http.StatusTooManyRequests {
		a.w.Header().Set("Retry-After", "0")
	}
	if status == http.StatusUnauthorized && strings.HasPrefix(a.rec.Vendor, "aws-") {
		status = http.StatusForbidden // as AWS says that a signature is wrong
	}
	switch a.rec.Vendor {
	case "slack":
		a.json(http.StatusOK, map[string]any{"ok": false, "error": slackCode(status)})
		return
	case "aws-s3":
		a.s3Failure(status, message)
		return
	case "aws-bedrock":
		a.w.Header().Set("X-Amzn-Errortype", awsType(status))
	}
	a.json(status, failureBody(a.rec.Vendor, status, message))
}

func failure(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "The fake provider does not like this request."
	case http.StatusUnauthorized:
		return "The fake provider did not get the credential that it expects."
	case http.StatusNotFound:
		return "The fake provider has no such thing."
	case http.StatusTooManyRequests:
		return "The fake provider's rate limit is reached."
	case statusOverloaded:
		return "The fake provider is overloaded."
	}
	return "The fake provider had an error of its own."
}

func failureBody(vendor string, status int, message string) map[string]any {
	switch vendor {
	case "anthropic":
		return map[string]any{
			"type": "error", "request_id": "req_" + random(base62, 24),
			"error": map[string]any{"type": anthropicType(status), "message": message},
		}
	case "gemini":
		return map[string]any{"error": map[string]any{"code": status, "message": message, "status": geminiStatus(status)}}
	case "github":
		return map[string]any{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status)}
	case "aws-bedrock":
		return map[string]any{"message": message}
	case "stripe":
		return map[string]any{"error": map[string]any{"type": "invalid_request_error", "message": message}}
	case "openai":
		kind, code := openaiType(status)
		return map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": code}}
	}
	return map[string]any{"error": map[string]any{"message": message, "type": "error", "code": strconv.Itoa(status)}}
}

func openaiType(status int) (kind string, code any) {
	switch {
	case status == http.StatusUnauthorized:
		return "invalid_request_error", "invalid_api_key"
	case status == http.StatusTooManyRequests:
		return "requests", "rate_limit_exceeded"
	case status >= http.StatusInternalServerError:
		return "server_error", nil
	}
	return "invalid_request_error", nil
}

func anthropicType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case statusOverloaded:
		return "overloaded_error"
	}
	if status >= http.StatusInternalServerError {
		return "api_error"
	}
	return "invalid_request_error"
}

func geminiStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	}
	if status >= http.StatusInternalServerError {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

func slackCode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "invalid_auth"
	case http.StatusTooManyRequests:
		return "ratelimited"
	}
	return "internal_error"
}
