package api

import (
	"context"
	"fmt"
	"time"
)

// Outlet is where the audit log leaves keeper, and how it stands with it.
type Outlet struct {
	Kind    string    `json:"kind" enum:"sink,witness,archive"`
	Name    string    `json:"name"`
	Type    string    `json:"type,omitempty" doc:"Of a sink"`
	Seq     int64     `json:"seq" doc:"The last entry that it has; of a witness, that its head is over"`
	Behind  int64     `json:"behind" doc:"Entries after that one"`
	Problem string    `json:"problem,omitempty" doc:"Why it takes none at present"`
	Since   time.Time `json:"since,omitzero" doc:"Since when"`
}

type archivedBody struct {
	Message string `json:"message"`
	Files   int    `json:"files" doc:"To which entries went"`
}

func (s *surface) archiveNow(ctx context.Context, _ *struct{}) (*output[archivedBody], error) {
	if s.archive == nil {
		return nil, &fieldError{"audit.retention", "it is not configured, so nothing leaves the log"}
	}
	files, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	return &output[archivedBody]{archivedBody{fmt.Sprintf("entries went to %d files", files), files}}, nil
}

// warning is what anyone may know of an outlet, an issuer or a secret's source in
// trouble, or of a credential that is refused.
type warning struct {
	What    string    `json:"what" enum:"audit sink,audit witness,audit archive,trusted issuer,secret source,credential"`
	Problem string    `json:"problem"`
	Since   time.Time `json:"since"`
}

func (s *surface) warnings() (all []warning) {
	for _, o := range s.outlets() {
		if o.Problem != "" {
			all = append(all, warning{"audit " + o.Kind, o.Problem, o.Since.UTC()})
		}
	}
	for _, p := range s.trust.Problems() {
		all = append(all, warning{"trusted issuer", p.What, p.Since.UTC()})
	}
	for _, r := range s.vault.Refusals() {
		all = append(all, warning{"credential", "a credential of " + r.Provider + " is refused: " + r.Reason, r.Since})
	}
	return append(all, s.sourceWarnings()...)
}
