package api

import (
	"context"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/scanner"
)

type scanInput struct {
	Body struct {
		Text    string `json:"text"`
		Context string `json:"context,omitempty" maxLength:"256" doc:"What the text is: findings bear it as their location"`
	} `nameHint:"ScanRequest"`
}

type findingBody struct {
	Type        string `json:"type"`
	Rule        string `json:"rule"`
	Location    string `json:"location"`
	Preview     string `json:"preview" doc:"At most the public prefix and the last two characters"`
	Confidence  string `json:"confidence" enum:"high,medium,low"`
	Description string `json:"description"`
}

type scannedBody struct {
	Safe      bool          `json:"safe" doc:"False where a finding is of high confidence"`
	Findings  []findingBody `json:"findings" nullable:"false"`
	Sanitized *string       `json:"sanitized" doc:"The text without its secrets; null where nothing was found"`
}

func (s *surface) scan(ctx context.Context, in *scanInput) (*output[scannedBody], error) {
	clean, findings := s.scanner.Sanitize([]byte(in.Body.Text))
	body := scannedBody{Safe: true, Findings: make([]findingBody, len(findings))}
	event := audit.TextScanned{Agent: callOf(ctx).claims.AgentID()}
	for i, f := range findings {
		body.Safe = body.Safe && f.Confidence != scanner.High
		body.Findings[i] = newFindingBody(f, in.Body.Context)
		event.Findings = append(event.Findings, audit.Finding{
			Type: f.Type, Rule: f.Rule, Location: f.Location, Form: f.Form, Confidence: string(f.Confidence),
		})
	}
	if len(findings) > 0 {
		text := string(clean)
		body.Sanitized = &text
	}
	event.Safe = body.Safe
	if err := s.audit.Record(ctx, event); err != nil {
		return nil, err
	}
	return &output[scannedBody]{body}, nil
}

// newFindingBody names the place as the caller did. The audit log does not: a
// caller's words may be anything.
func newFindingBody(f scanner.Finding, place string) findingBody {
	if place == "" {
		place = f.Location
	}
	return findingBody{f.Type, f.Rule, place, f.Preview, string(f.Confidence), f.Description}
}
