package vault

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
)

const (
	maxValueBytes  = 64 << 10
	maxNameBytes   = 128
	previewBytes   = 16 // values under it have no preview
	previewTail    = 2
	previewMask    = "…"
	maxAgentsNamed = 10_000
)

// FieldError says which field of a request cannot be, and what would mend it.
// It never quotes a value.
type FieldError struct {
	Field string // as the request names it
	Mend  string
}

// Error returns the field and the mend.
func (e *FieldError) Error() string { return e.Field + " " + e.Mend }

// normal returns r as it is stored: the provider in lower case, the label filled
// in, one line end taken off the value. The error is a *FieldError.
func (r SetRequest) normal() (SetRequest, error) {
	r, err := r.named()
	if err != nil {
		return r, err
	}
	if r.Source == "" {
		r.Source = "api"
	}
	r.Value, err = normalValue(r.Value)
	return r, err
}

// named is normal for all but the value and where it came from.
func (r SetRequest) named() (SetRequest, error) {
	if err := checkName("provider", r.Provider); err != nil {
		return r, err
	}
	if r.Provider = strings.ToLower(r.Provider); r.Provider == scope.Reserved {
		return r, &FieldError{"provider", "must be another name: keeper's own is reserved"}
	}
	if r.Label == "" {
		r.Label = policy.DefaultLabel
	}
	if err := checkName("label", r.Label); err != nil {
		return r, err
	}
	if !r.Restricted && len(r.AllowedAgents) > 0 {
		return r, &FieldError{"allowedAgents", "must be empty where the secret is not restricted to agents"}
	}
	if len(r.AllowedAgents) > maxAgentsNamed {
		return r, &FieldError{"allowedAgents", fmt.Sprintf("must not name more than %d agents", maxAgentsNamed)}
	}
	return r, nil
}

func checkName(field, name string) error {
	if len(name) > maxNameBytes || !scope.IsName(name) {
		return &FieldError{field, fmt.Sprintf("must be a letter or digit and then letters, digits, '.', '_' or '-', at most %d in all", maxNameBytes)}
	}
	return nil
}

// normalValue checks that v can be injected.
func normalValue(v secret.Value) (secret.Value, error) {
	value := v.Expose()
	trimmed := bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
	if len(trimmed) < len(value) {
		v = secret.New(trimmed)
	}
	switch {
	case len(trimmed) == 0:
		return v, &FieldError{"value", "must not be empty"}
	case len(trimmed) > maxValueBytes:
		return v, &FieldError{"value", fmt.Sprintf("must not be longer than %d bytes", maxValueBytes)}
	case !isSendable(trimmed):
		return v, &FieldError{"value", "must not hold line breaks or control characters, unless it is a PEM block or a JSON document; give the key alone, on one line"}
	}
	return v, nil
}

// isSendable reports whether value is one line of text, or a document of which
// it is known why it has several.
func isSendable(value []byte) bool {
	if bytes.IndexByte(value, 0) >= 0 {
		return false
	}
	if bytes.IndexFunc(value, isControl) < 0 {
		return true
	}
	block, _ := pem.Decode(value)
	return block != nil || json.Valid(value)
}

// publicPrefixes are the beginnings by which providers mark their keys: they say
// whose key it is and nothing of its secret part. Longer ones stand first.
var publicPrefixes = []string{
	"github_pat_", "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-ant-", "sk-or-", "sk_live_", "sk_test_", "rk_live_", "rk_test_",
	"lin_api_", "dop_v1_", "secret_", "whsec_", "glpat-", "gldt-", "xoxb-", "xoxp-", "xoxa-", "xapp-", "pplx-", "sntrys_", "sntryu_",
	"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "gsk_", "ntn_", "npm_", "pypi-", "AIza", "AKIA", "ATATT", "xai-", "key-", "hf_", "r8_", "SG.", "sk-", "sk_",
}

// preview shows the public prefix and the last two characters of v, and nothing
// of a value that is short, has structure, or is not printable.
func preview(v secret.Value) string {
	value := string(v.Expose())
	if len(value) < previewBytes || strings.ContainsFunc(value, isBlank) || hasStructure(value) {
		return previewMask
	}
	tail := value[len(value)-previewTail:]
	if strings.ContainsFunc(tail, func(r rune) bool { return r > 0x7e }) {
		return previewMask
	}
	for _, prefix := range publicPrefixes {
		if strings.HasPrefix(value, prefix) {
			return prefix + previewMask + tail
		}
	}
	return previewMask + tail
}
