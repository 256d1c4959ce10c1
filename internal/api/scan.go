package api

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	scannedPlace    = "text" // what a text is called whose caller gave it no name
	maxAuditedFinds = 32     // findings in one audit entry
)

type scanInput struct {
	Body struct {
		Text    string `json:"text"`
		Context string `json:"context,omitempty" maxLength:"256" doc:"What the text is: the locations of findings begin with it"`
	} `nameHint:"ScanRequest"`
}

type findingBody struct {
	Type        string `json:"type"`
	Rule        string `json:"rule"`
	Location    string `json:"location" doc:"Where it stands; in JSON, with its path"`
	Form        string `json:"form,omitempty" doc:"How it is hidden, such as base64, outermost first; absent where it stands in clear"`
	Preview     string `json:"preview" doc:"At most the public prefix and the last two characters"`
	Confidence  string `json:"confidence" enum:"high,medium,low"`
	Description string `json:"description"`
	Fingerprint string `json:"fingerprint,omitempty" doc:"What keeper scan allow takes; for the operator alone"`
	Exempt      bool   `json:"exempt,omitempty" doc:"The operator lets this value pass"`
	Start       int    `json:"start" doc:"In bytes of the text as UTF-8"`
	End         int    `json:"end"`
	Line        int    `json:"line" doc:"From 1"`
	Column      int    `json:"column" doc:"From 1, in characters"`
}

type scannedBody struct {
	Safe      bool          `json:"safe" doc:"False where a finding is of high confidence, unless the operator lets it pass"`
	Findings  []findingBody `json:"findings" nullable:"false"`
	Sanitized *string       `json:"sanitized" doc:"The text without its secrets; null where nothing was found"`
}

// scan looks at the text as at a body on its way, so that both find the same.
func (s *surface) scan(ctx context.Context, in *scanInput) (*output[scannedBody], error) {
	if err := s.auth.Fresh(); err != nil {
		return nil, err // as checkKept
	}
	clean, findings, err := s.redacted(in.Body.Text)
	if err != nil {
		return nil, err
	}
	places := s.scanner.Locate(strings.NewReader(in.Body.Text), "", findings)
	claims := callOf(ctx).claims
	body := scannedBody{Safe: true, Findings: make([]findingBody, len(findings))}
	for i, f := range findings {
		body.Safe = body.Safe && (f.Confidence != scanner.High || f.Exempt)
		body.Findings[i] = newFindingBody(f, places[i])
		if in.Body.Context != "" {
			body.Findings[i].Location = in.Body.Context + places[i].Path
		}
		if !claims.Admin() {
			body.Findings[i].Fingerprint = ""
		}
	}
	if len(findings) > 0 {
		body.Sanitized = &clean
	}
	if err := s.audit.Record(ctx, s.textScanned(claims.AgentID(), body.Safe, findings)); err != nil {
		return nil, err
	}
	return &output[scannedBody]{body}, nil
}

// redacted returns the text without its secrets, and what was found in it.
func (s *surface) redacted(text string) (string, []scanner.Finding, error) {
	var clean bytes.Buffer
	clean.Grow(len(text))
	r := s.scanner.NewRedactor(&clean, scanner.RedactOptions{Location: scannedPlace})
	_, err := r.Write([]byte(text))
	if err == nil {
		err = r.Close()
	}
	if err != nil {
		return "", nil, fmt.Errorf("scanning a text: %w", err)
	}
	return clean.String(), r.Findings(), nil
}

// textScanned is what the audit log says. It does not name the text as its
// caller did, whose words may be anything.
func (a *API) textScanned(agent string, safe bool, findings []scanner.Finding) audit.TextScanned {
	event := audit.TextScanned{Agent: agent, Safe: safe}
	for _, f := range scanner.Gravest(findings, maxAuditedFinds) {
		event.Findings = append(event.Findings, audit.Finding{
			Type: f.Type, Rule: f.Rule, Location: a.placeOf(f), Form: f.Form, Confidence: string(f.Confidence),
			Fingerprint: f.Fingerprint, Exempt: f.Exempt,
		})
	}
	return event
}

func newFindingBody(f scanner.Finding, at scanner.Place) findingBody {
	return findingBody{
		Type: f.Type, Rule: f.Rule, Location: f.Location, Form: f.Form, Preview: f.Preview,
		Confidence: string(f.Confidence), Description: f.Description, Fingerprint: f.Fingerprint, Exempt: f.Exempt,
		Start: f.Start, End: f.End, Line: at.Line, Column: at.Column,
	}
}
