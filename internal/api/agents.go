package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// agentBody is an agent as the routes show it.
type agentBody struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	GitHubUser string    `json:"githubUser,omitempty"`
	Status     string    `json:"status" enum:"pending,active,disabled,revoked"`
	Scopes     []string  `json:"scopes" nullable:"false"`
	CreatedAt  time.Time `json:"createdAt"`
	LastSeenAt time.Time `json:"lastSeenAt,omitzero"`

	OldSecretUntil time.Time `json:"oldSecretUntil,omitzero" doc:"Where the secret was changed: until when the one before is good, or was"`
}

func newAgentBody(a store.Agent) agentBody {
	body := agentBody{
		ID: a.ID, Name: a.Name, GitHubUser: a.GitHubUser, Status: string(a.Status),
		Scopes: append([]string{}, a.Scopes...), CreatedAt: a.CreatedAt.UTC(),
	}
	if !a.LastSeenAt.IsZero() {
		body.LastSeenAt = a.LastSeenAt.UTC()
	}
	if !a.OldSecretUntil.IsZero() {
		body.OldSecretUntil = a.OldSecretUntil.UTC()
	}
	return body
}

// scopesOf reads a list of scopes, which may be absent.
func scopesOf(list *[]string) (set scope.Set, given bool, err error) {
	if list == nil {
		return nil, false, nil
	}
	set, err = scope.ParseSet(*list)
	if err != nil {
		return nil, true, &fieldError{"scopes", err.Error()}
	}
	return set, true, nil
}

type registerInput struct {
	Body struct {
		AgentID    string    `json:"agentId" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"`
		AgentName  string    `json:"agentName" doc:"For people; empty: the id"`
		GitHubUser string    `json:"githubUser,omitempty"`
		Scopes     *[]string `json:"scopes,omitempty" doc:"The grant; from a caller without keeper:write, a request"`
	} `nameHint:"RegisterRequest"`
}

type registeredBody struct {
	Message     string    `json:"message"`
	Agent       agentBody `json:"agent"`
	AgentSecret string    `json:"agentSecret" doc:"What the agent gets tokens with; shown this once"`
}

func (s *surface) register(ctx context.Context, in *registerInput) (*output[registeredBody], error) {
	scopes, given, err := scopesOf(in.Body.Scopes)
	if err != nil {
		return nil, err
	}
	by := callOf(ctx).claims
	fit, err := askWhenProven(by, func() error {
		return errors.Join(s.checkKept("agentId", in.Body.AgentID), s.checkKept("agentName", in.Body.AgentName),
			s.checkKept("githubUser", in.Body.GitHubUser), s.checkScopes(in.Body.Scopes))
	})
	if err != nil {
		return nil, err
	}
	agent, secret, err := s.auth.Register(ctx, by, auth.RegisterRequest{
		AgentID: in.Body.AgentID, Name: in.Body.AgentName, GitHubUser: in.Body.GitHubUser,
		Scopes: scopes, ScopesGiven: given, Fit: fit,
	})
	if err != nil {
		return nil, err
	}
	message := "The agent is registered. Keep agentSecret: it is not shown again."
	if agent.Status == store.Pending {
		message = "The agent waits for an operator's approval. Keep agentSecret: it is not shown again."
	}
	return &output[registeredBody]{registeredBody{message, newAgentBody(agent), secret}}, nil
}

type agentsBody struct {
	Agents []agentBody `json:"agents" nullable:"false"`
}

func (s *surface) agents(context.Context, *struct{}) (*output[agentsBody], error) {
	agents := s.auth.Agents()
	body := agentsBody{make([]agentBody, len(agents))}
	for i, a := range agents {
		body.Agents[i] = newAgentBody(a)
	}
	return &output[agentsBody]{body}, nil
}

type agentInput struct {
	ID string `path:"id"`
}

type oneAgentBody struct {
	Message string    `json:"message,omitempty"`
	Agent   agentBody `json:"agent"`
}

func (s *surface) agent(_ context.Context, in *agentInput) (*output[oneAgentBody], error) {
	agent, err := s.auth.Agent(in.ID)
	if err != nil {
		return nil, err
	}
	return &output[oneAgentBody]{oneAgentBody{Agent: newAgentBody(agent)}}, nil
}

type updateAgentInput struct {
	ID   string `path:"id"`
	Body struct {
		Status *store.AgentStatus `json:"status,omitempty" enum:"active,disabled,revoked"`
		Scopes *[]string          `json:"scopes,omitempty" doc:"The new grant, in place of the old"`
		Name   *string            `json:"name,omitempty"`
	} `nameHint:"UpdateAgentRequest"`
}

func (s *surface) updateAgent(ctx context.Context, in *updateAgentInput) (*output[oneAgentBody], error) {
	if in.Body.Status == nil && in.Body.Scopes == nil && in.Body.Name == nil {
		return nil, &fieldError{"body", "it must hold at least one of status, scopes and name"}
	}
	change := auth.AgentChange{Status: in.Body.Status, Name: in.Body.Name}
	scopes, given, err := scopesOf(in.Body.Scopes)
	if err == nil {
		err = s.checkScopes(in.Body.Scopes)
	}
	if err == nil && in.Body.Name != nil {
		err = s.checkKept("name", *in.Body.Name)
	}
	if err != nil {
		return nil, err
	}
	if given {
		change.Scopes = &scopes
	}
	agent, err := s.auth.Update(ctx, callOf(ctx).claims, in.ID, change)
	if err != nil {
		return nil, err
	}
	return &output[oneAgentBody]{oneAgentBody{"The agent is changed.", newAgentBody(agent)}}, nil
}

type rotateSecretInput struct {
	ID   string `path:"id"`
	Body struct {
		GraceSeconds *int `json:"graceSeconds,omitempty" minimum:"0" maximum:"2592000" doc:"For how long the last secret is good beside the new one; absent: 600, and with 0 not at all"`
	} `nameHint:"RotateAgentSecretRequest"`
}

func (s *surface) rotateSecret(ctx context.Context, in *rotateSecretInput) (*output[registeredBody], error) {
	grace := auth.DefaultGrace
	if given := in.Body.GraceSeconds; given != nil {
		grace = time.Duration(*given) * time.Second
	}
	agent, secret, err := s.auth.RotateSecret(ctx, callOf(ctx).claims, in.ID, grace)
	if err != nil {
		return nil, err
	}
	message := "The agent has a new secret, which is not shown again. The last one is good no more; tokens stay as they are."
	if grace > 0 {
		message = fmt.Sprintf("The agent has a new secret, which is not shown again. The last one is good until %s; tokens stay as they are.", agent.OldSecretUntil.UTC().Format(time.RFC3339))
	}
	return &output[registeredBody]{registeredBody{message, newAgentBody(agent), secret}}, nil
}

func (s *surface) deleteAgent(ctx context.Context, in *agentInput) (*output[done], error) {
	if err := s.auth.Delete(ctx, callOf(ctx).claims, in.ID); err != nil {
		return nil, err
	}
	return said("The agent is deleted; its tokens are dead.")
}
