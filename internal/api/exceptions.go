package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/scanner"
)

type exceptionBody struct {
	Fingerprint string    `json:"fingerprint" doc:"Which value, by a keyed hash"`
	Rule        string    `json:"rule" doc:"Under which alone the value passes"`
	Reason      string    `json:"reason"`
	CreatedBy   string    `json:"createdBy,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	ExpiresAt   time.Time `json:"expiresAt"`
	State       string    `json:"state" enum:"active,pending,expired,invalid" doc:"Only an active one lets its value pass; an invalid one was edited in the store"`
}

func newExceptionBody(e exception.Exception) exceptionBody {
	return exceptionBody{
		e.Fingerprint, e.Rule, e.Reason, e.CreatedBy, e.CreatedAt.UTC(), e.ExpiresAt.UTC(), string(e.State),
	}
}

type exceptionsBody struct {
	Exceptions []exceptionBody `json:"exceptions" nullable:"false" doc:"The next to expire first"`
	Total      int             `json:"total"`
}

func (s *surface) exceptionList(context.Context, *struct{}) (*output[exceptionsBody], error) {
	all := s.exceptions.All()
	body := exceptionsBody{make([]exceptionBody, len(all)), len(all)}
	for i, e := range all {
		body.Exceptions[i] = newExceptionBody(e)
	}
	return &output[exceptionsBody]{body}, nil
}

type allowInput struct {
	Body exceptionRequest `nameHint:"ExceptionRequest"`
}

type exceptionRequest struct {
	Fingerprint string    `json:"fingerprint,omitempty" doc:"As a finding in the audit log bears it"`
	Value       string    `json:"value,omitempty" minLength:"1" doc:"In place of the fingerprint: the text in which the value was found"`
	Rule        string    `json:"rule,omitempty" doc:"The finding's; with a value in which one thing is found it may be left out"`
	Reason      string    `json:"reason" minLength:"1" maxLength:"256" doc:"Why the value may pass, for people"`
	ExpiresAt   time.Time `json:"expiresAt,omitzero" doc:"Within a year; or ttlHours"`
	TTLHours    *float64  `json:"ttlHours,omitempty" exclusiveMinimum:"0" maximum:"8784" doc:"From now on; or expiresAt"`
}

type allowedBody struct {
	Message   string        `json:"message"`
	Exception exceptionBody `json:"exception"`
}

func (s *surface) allow(ctx context.Context, in *allowInput) (*output[allowedBody], error) {
	request, err := s.exceptionRequest(in.Body)
	if err != nil {
		return nil, err
	}
	made, err := s.exceptions.Allow(ctx, request)
	if err != nil {
		return nil, err
	}
	return &output[allowedBody]{allowedBody{"The value passes from the next request on.", newExceptionBody(made)}}, nil
}

// exceptionRequest is what the caller asks for in the list's own terms.
func (s *surface) exceptionRequest(in exceptionRequest) (exception.Request, error) {
	request := exception.Request{Fingerprint: in.Fingerprint, Rule: in.Rule, Reason: in.Reason, ExpiresAt: in.ExpiresAt}
	if (in.Fingerprint == "") == (in.Value == "") {
		return request, &fieldError{"fingerprint", "give either it or value, not both"}
	}
	if in.ExpiresAt.IsZero() == (in.TTLHours == nil) {
		return request, &fieldError{"expiresAt", "give either it or ttlHours, not both"}
	}
	if in.TTLHours != nil {
		request.ExpiresAt = s.now().Add(time.Duration(*in.TTLHours * float64(time.Hour)))
	}
	if in.Value != "" {
		f, err := s.nameValue(in.Value, in.Rule)
		if err != nil {
			return request, err
		}
		request.Fingerprint, request.Rule = f.Fingerprint, f.Rule
	}
	return request, s.checkReason(in.Reason, in.Value)
}

// nameValue returns the one thing that the scanner finds in text, under the rule
// where one is named. Whoever gives a text of which the scanner takes another
// part, or nothing, would be left with an exception that does nothing.
func (s *surface) nameValue(text, rule string) (scanner.Finding, error) {
	named := map[string]scanner.Finding{} // by fingerprint
	var rules []string
	for _, f := range s.scanner.Scan([]byte(text), "value") {
		if f.Type == scanner.TypeVault {
			return f, &fieldError{"value", "the vault holds it, and what the vault holds never passes"}
		}
		if f.Fingerprint == "" {
			continue
		}
		rules = append(rules, f.Rule)
		if rule == "" || f.Rule == rule {
			named[f.Fingerprint] = f
		}
	}
	slices.Sort(rules)
	found := strings.Join(slices.Compact(rules), ", ")
	switch {
	case len(named) == 1:
		for _, f := range named {
			return f, nil
		}
	case len(rules) == 0:
		return scanner.Finding{}, &fieldError{"value", "no rule finds a secret in it; give the line in which it was found, with the name before it"}
	case len(named) == 0:
		return scanner.Finding{}, &fieldError{"rule", "it finds nothing in the value; what does is " + found}
	}
	return scanner.Finding{}, &fieldError{"value", fmt.Sprintf("it must hold one secret and holds %d (%s); give one at a time", len(named), found)}
}

// checkReason keeps secrets out of a text that goes into the audit log as it is.
func (s *surface) checkReason(reason, value string) error {
	holds := value != "" && strings.Contains(reason, value)
	err := s.checkKept("reason", reason)
	switch {
	case errors.Is(err, auth.ErrStale):
		return err
	case holds || err != nil:
		return &fieldError{"reason", "it holds what looks like a secret; say in other words why the value may pass"}
	}
	return nil
}

type disallowInput struct {
	Fingerprint string `path:"fingerprint"`
}

func (s *surface) disallow(ctx context.Context, in *disallowInput) (*output[done], error) {
	if err := s.exceptions.Disallow(ctx, in.Fingerprint); err != nil {
		return nil, err
	}
	return said("The value no longer passes.")
}
