package api

import (
	"context"
	"errors"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

type secretBody struct {
	Provider      string    `json:"provider"`
	Label         string    `json:"label"`
	Preview       string    `json:"preview" doc:"At most the public prefix and the last two characters"`
	RotatedAt     time.Time `json:"rotatedAt" doc:"When the version was set; where there has been none yet, since when it is expected"`
	AllowedAgents *[]string `json:"allowedAgents,omitempty" doc:"Absent: all whose scopes cover the provider"`
	Version       int       `json:"version"`
	Source        string    `json:"source"`
	RefusedSince  time.Time `json:"refusedSince,omitzero" doc:"Since when the provider, or the issuer of its tokens, does not take it"`
	Refusal       string    `json:"refusal,omitempty" doc:"Why"`

	State   string    `json:"state,omitempty" enum:"fresh,stale,absent" doc:"Of one that a source gives: stale: the source fails, and its last value serves; absent: there is no value"`
	Problem string    `json:"problem,omitempty" doc:"Why the source gives no value"`
	Since   time.Time `json:"since,omitzero" doc:"Since when"`
	Origin  string    `json:"origin,omitempty" doc:"What the source calls the version"`
}

func newSecretBody(e vault.Entry) secretBody {
	body := secretBody{
		Provider: e.Provider, Label: e.Label, Preview: e.Preview, RotatedAt: e.RotatedAt.UTC(),
		Version: e.Version, Source: e.Source, RefusedSince: e.RefusedAt, Refusal: e.Refusal,
		State: e.State, Problem: e.Standing.Problem, Since: e.Standing.Since.UTC(), Origin: e.Standing.Origin,
	}
	if e.Restricted {
		agents := append([]string{}, e.AllowedAgents...)
		body.AllowedAgents = &agents
	}
	return body
}

type secretsBody struct {
	Secrets []secretBody `json:"secrets" nullable:"false"`
	Total   int          `json:"total"`
}

func (s *surface) secrets(ctx context.Context, _ *struct{}) (*output[secretsBody], error) {
	err := s.audit.Record(ctx, audit.VaultAccess{Agent: callOf(ctx).claims.AgentID(), Action: "listed"})
	if err != nil {
		return nil, err
	}
	list := s.vault.List()
	body := secretsBody{make([]secretBody, len(list)), len(list)}
	for i, e := range list {
		body.Secrets[i] = newSecretBody(e)
	}
	return &output[secretsBody]{body}, nil
}

type setSecretInput struct {
	Body struct {
		Provider      string       `json:"provider" minLength:"1"`
		Value         secret.Value `json:"value" minLength:"1"`
		Label         string       `json:"label,omitempty" minLength:"1" doc:"Absent: default"`
		AllowedAgents *[]string    `json:"allowedAgents,omitempty" doc:"Absent: all whose scopes cover the provider; empty: none"`
	} `nameHint:"SecretRequest"`
}

type secretSetBody struct {
	Message string `json:"message"`
	Version int    `json:"version"`
}

func (s *surface) setSecret(ctx context.Context, in *setSecretInput) (*output[secretSetBody], error) {
	request := vault.SetRequest{Provider: in.Body.Provider, Label: in.Body.Label, Value: in.Body.Value, Source: "api"}
	if in.Body.AllowedAgents != nil {
		request.Restricted, request.AllowedAgents = true, *in.Body.AllowedAgents
	}
	if err := s.checkSecretNames(request); err != nil {
		return nil, err
	}
	version, err := s.vault.Set(ctx, request)
	if err != nil {
		return nil, err
	}
	message := "The secret is set."
	if version > 1 {
		message = "The secret is rotated: the next call uses the new version."
	}
	return &output[secretSetBody]{secretSetBody{message, version}}, nil
}

// checkSecretNames refuses the value in the place of a name, too: the scanner does not
// know it yet.
func (a *API) checkSecretNames(r vault.SetRequest) error {
	for _, name := range append([]string{r.Provider, r.Label}, r.AllowedAgents...) {
		if name != "" && secret.New([]byte(name)).Equal(r.Value) {
			return &secretError{"value"}
		}
	}
	return errors.Join(a.checkKept("provider", r.Provider), a.checkKept("label", r.Label), a.checkKept("allowedAgents", r.AllowedAgents...))
}

type deleteSecretInput struct {
	Provider string `path:"provider"`
	Label    string `query:"label" doc:"Absent: all of the provider's"`
}

func (s *surface) deleteSecret(ctx context.Context, in *deleteSecretInput) (*output[done], error) {
	deleted, err := s.vault.Delete(ctx, in.Provider, in.Label)
	if err != nil {
		return nil, err
	}
	if deleted == 1 {
		return said("The secret is deleted.")
	}
	return said("The provider's secrets are deleted.")
}
