package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/policy"
)

// providerInfo is a provider for scripts.
type providerInfo struct {
	Name        string   `json:"name"`
	Title       string   `json:"title"`
	BaseURL     string   `json:"baseUrl,omitempty"`
	Tenant      string   `json:"tenant,omitempty"`
	Docs        string   `json:"docs,omitempty"`
	Permissions []string `json:"permissions"`
}

func newProviders(a *app) *cobra.Command {
	var config string
	providers := func() (*policy.Catalogue, error) { return a.catalogue(config) }
	list := newProvidersList(a, providers)
	cmd := group("providers", "Show the providers and what their scopes cover",
		"  keeper providers ls\n  keeper providers explain github:read",
		list, newProvidersExplain(a, providers))
	cmd.Long = "Show the providers and what their scopes cover. It needs no running keeper: it reads\nwhat is built in, with the changes of --config and of KEEPER_PROXY_<PROVIDER>_URL."
	cmd.PersistentFlags().StringVar(&config, "config", "", "configuration `FILE` of keeper serve, whose providers count too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return list.RunE(list, nil)
		}
		return helpOrUnknown(cmd, args)
	}
	return cmd
}

func newProvidersList(a *app, providers func() (*policy.Catalogue, error)) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the providers",
		Example: "  keeper providers ls",
		Args:    arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			catalogue, err := providers()
			if err != nil {
				return err
			}
			var all []providerInfo
			var rows [][]any
			for _, p := range catalogue.Providers() {
				all = append(all, providerInfo{p.Name, p.Title, p.BaseURL, p.Tenant, p.Docs, p.PermissionNames()})
				rows = append(rows, []any{p.Name, p.Title, firstOf(p.BaseURL, "(yours) KEEPER_PROXY_"+p.EnvName()+"_URL"), strings.Join(p.PermissionNames(), " "), p.Docs})
			}
			return a.show(map[string]any{"providers": all}, func() error {
				return a.table([]column{{name: "PROVIDER", whole: true}, {name: "NAME"}, {name: "BASE URL"}, {name: "PERMISSIONS"}, {name: "DOCS", wide: true}}, rows)
			})
		},
	}
}

func newProvidersExplain(a *app, providers func() (*policy.Catalogue, error)) *cobra.Command {
	return &cobra.Command{
		Use:     "explain PROVIDER[:PERMISSION]",
		Short:   "Say which calls a scope covers",
		Example: "  keeper providers explain github:read\n  keeper providers explain openai",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			catalogue, err := providers()
			if err != nil {
				return err
			}
			name, permission, given := strings.Cut(args[0], ":")
			p, known := catalogue.Provider(name)
			if !known {
				return &failure{code: exitNotFound, message: fmt.Sprintf("no provider is called %q; `keeper providers` lists them", name)}
			}
			names := p.PermissionNames()
			if given {
				names = []string{strings.ToLower(permission)}
			}
			return a.explain(p, names)
		},
	}
}

// explain prints the calls that each of the permissions covers.
func (a *app) explain(p *policy.Provider, permissions []string) error {
	covered := map[string][]string{}
	var rows [][]any
	for _, name := range permissions {
		calls := p.Explain(name)
		if calls == nil {
			return &failure{code: exitNotFound, message: fmt.Sprintf("%s has no permission %q; it has %s", p.Name, name, strings.Join(p.PermissionNames(), ", "))}
		}
		covered[p.Name+":"+name] = calls
		for _, call := range calls {
			rows = append(rows, []any{p.Name + ":" + name, call})
		}
	}
	return a.show(covered, func() error { return a.table([]column{{name: "SCOPE", whole: true}, {name: "COVERS"}}, rows) })
}
