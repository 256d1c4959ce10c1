package api

import (
	"context"

	"github.com/superinstance/keeper/internal/policy"
)

type permissionBody struct {
	Name  string   `json:"name"`
	Scope string   `json:"scope"`
	Calls []string `json:"calls" nullable:"false" doc:"What the scope covers: methods and path, one rule each"`
}

type providerBody struct {
	Name        string           `json:"name"`
	Title       string           `json:"title"`
	BaseURL     string           `json:"baseUrl" doc:"Empty where the operator has to name it"`
	Tenant      string           `json:"tenant,omitempty" doc:"What the operator has to name"`
	Docs        string           `json:"docs,omitempty"`
	Testable    bool             `json:"testable" doc:"A credential of it can be tested"`
	Permissions []permissionBody `json:"permissions" nullable:"false"`
}

func newProviderBody(p *policy.Provider) providerBody {
	body := providerBody{
		Name: p.Name, Title: p.Title, BaseURL: p.BaseURL, Tenant: p.Tenant, Docs: p.Docs, Testable: p.Check != nil,
		Permissions: []permissionBody{},
	}
	for _, name := range p.PermissionNames() {
		body.Permissions = append(body.Permissions, permissionBody{name, p.Name + ":" + name, append([]string{}, p.Explain(name)...)})
	}
	return body
}

type providersBody struct {
	Providers []providerBody `json:"providers" nullable:"false"`
}

func (s *surface) providers(context.Context, *struct{}) (*output[providersBody], error) {
	providers := s.catalogue().Providers()
	body := providersBody{make([]providerBody, len(providers))}
	for i, p := range providers {
		body.Providers[i] = newProviderBody(p)
	}
	return &output[providersBody]{body}, nil
}
