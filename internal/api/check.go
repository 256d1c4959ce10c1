package api

import (
	"context"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/store"
)

// CheckResult is what the test of a credential showed.
type CheckResult struct {
	OK         bool   `json:"ok" doc:"The provider takes the credential"`
	Status     int    `json:"status" doc:"That the provider answered; 0 where it did not"`
	Code       string `json:"code,omitempty" doc:"Why it is not ok: credential_refused, check_failed, or the code of a refusal on the proxy route, such as no_credential"`
	Message    string `json:"message" doc:"One sentence that a person can act on"`
	RequestID  string `json:"requestId" doc:"The id that the audit entries of the call bear"`
	DurationMS int64  `json:"durationMs" doc:"How long it took, in milliseconds"`
}

type checkInput struct {
	Name string `path:"name" doc:"The provider"`
	Body *struct {
		Label string `json:"label,omitempty" minLength:"1" doc:"Of the credential; absent: the one that a call without a label would use"`
	} `nameHint:"CheckRequest"`
}

// testCredential has the one call made that the provider's definition names.
func (s *surface) testCredential(ctx context.Context, in *checkInput) (*output[CheckResult], error) {
	p, known := s.catalogue().Provider(in.Name)
	switch {
	case !known:
		return nil, store.ErrNotFound
	case p.Check == nil || s.tester == nil:
		return nil, &fieldError{"name", noCheck(p)}
	}
	label := ""
	if in.Body != nil {
		label = in.Body.Label
	}
	if err := s.checkKept("label", label); err != nil {
		return nil, err
	}
	result := s.tester(ctx, callOf(ctx).claims, p.Name, label)
	result.RequestID = audit.OriginOf(ctx).RequestID
	return &output[CheckResult]{result}, nil
}

func noCheck(p *policy.Provider) string {
	if p.Tunnel || p.Inject != nil && p.Inject.None {
		return "calls of " + p.Name + " bear no credential, so there is none to test"
	}
	return "keeper knows no harmless call of " + p.Name + " that tells whether a credential is taken; an operator can name one by check.path in the provider's definition"
}
