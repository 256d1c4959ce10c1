package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/source"
)

// SecretConfig is a secret that the vault does not keep: its value comes from a
// source, and is in memory only.
type SecretConfig struct {
	// Name of the provider. Required.
	Provider string `yaml:"provider"`
	// Where there are several of one provider. Default: `default`.
	Label string `yaml:"label"`
	// Agents that may use it; an empty list allows none. Default: all whose scopes cover the
	// provider.
	AllowedAgents *[]string `yaml:"allowedAgents"`
	// Where it comes from: `env:NAME`, `file:PATH`, `openbao:PATH#FIELD` or
	// `exec:HELPER#KEY`. Required.
	From string `yaml:"from"`
	// How long a value is fresh where the source does not say; 1s at least. Default: `5m`.
	Refresh time.Duration `yaml:"refresh"`
	// How long the last value serves once the source fails; `0s`: not at all. Default: `1h`.
	Keep *time.Duration `yaml:"keep"`
	// Keeper does not start where the source gives no value.
	Required bool `yaml:"required"`
}

// SourcesConfig is where secrets can come from, beside variables and files.
type SourcesConfig struct {
	// An OpenBao or a HashiCorp Vault, and one way to log in there.
	OpenBao *OpenBaoConfig `yaml:"openbao"`
	// Programs that are asked for secrets, by name.
	Exec map[string]HelperConfig `yaml:"exec"`
}

// OpenBaoConfig is an OpenBao or a HashiCorp Vault, and one way to log in there.
type OpenBaoConfig struct {
	// `https://host:port` of OpenBao or HashiCorp Vault; `http` on this machine alone.
	// Required.
	Address string `yaml:"address"`
	// Its namespace.
	Namespace string `yaml:"namespace"`
	// PEM file of the authorities that vouch for it. Default: the system's.
	CAFile string `yaml:"caFile"`
	// Keeper's token there, as `env:NAME` or `file:PATH`. It is renewed while that is
	// possible, and a file is read again when the token is refused. Default: this, `appRole`
	// or `kubernetes`.
	Token string `yaml:"token"`
	// A login by a role's id and its secret.
	AppRole *AppRoleConfig `yaml:"appRole"`
	// A login by the token of a service account.
	Kubernetes *KubernetesConfig `yaml:"kubernetes"`
}

// AppRoleConfig is a login by a role's id and its secret, env:NAME or file:PATH.
type AppRoleConfig struct {
	// Role of the login. Required.
	RoleID string `yaml:"roleId"`
	// Its secret, as `env:NAME` or `file:PATH`, good for more than one login: keeper logs in
	// again when a token's longest life is over. Required.
	SecretID string `yaml:"secretId"`
	// Where that login is mounted. Default: `approle`.
	Mount string `yaml:"mount"`
}

// KubernetesConfig is a login by the token of a service account.
type KubernetesConfig struct {
	// Role of the login. Required.
	Role string `yaml:"role"`
	// File of the service account's token. Default: where Kubernetes puts it.
	JWTFile string `yaml:"jwtFile"`
	// Where that login is mounted. Default: `kubernetes`.
	Mount string `yaml:"mount"`
}

// HelperConfig is a program that is asked for secrets.
type HelperConfig struct {
	// The helper's absolute path and its arguments. Required.
	Command []string `yaml:"command"`
	// How long it may take, 5m at most. Default: `10s`.
	Timeout time.Duration `yaml:"timeout"`
	// Variables that it is given, beside `PATH`.
	Env []string `yaml:"env"`
}

func (c Config) checkSecrets() error {
	for i, s := range c.Secrets {
		switch {
		case s.Provider == "":
			return fmt.Errorf("secrets[%d].provider: it is missing", i)
		case s.From == "":
			return fmt.Errorf("secrets[%d].from: it is missing; want env:NAME, file:PATH, openbao:PATH#FIELD or exec:HELPER#KEY", i)
		case s.Refresh < 0, s.Refresh > 0 && s.Refresh < time.Second:
			return fmt.Errorf("secrets[%d].refresh: want at least 1s; leave it out for the default", i)
		case s.Keep != nil && *s.Keep < 0:
			return fmt.Errorf("secrets[%d].keep: it is below zero; 0s keeps no value, and without it an hour is kept", i)
		}
	}
	return nil
}

// keyPlaces are the files and the variables that hold the secrets of this keeper's
// configuration, its own among them.
func (c Config) keyPlaces() (files, variables []string) {
	files = []string{c.AdminTokenFile, c.VaultKeyFile, c.TLS.KeyFile}
	var references []string
	for _, s := range c.Secrets {
		references = append(references, s.From)
	}
	if b := c.Sources.OpenBao; b != nil {
		references = append(references, b.Token)
		if b.AppRole != nil {
			references = append(references, b.AppRole.SecretID)
		}
		if b.Kubernetes != nil {
			files = append(files, b.Kubernetes.JWTFile)
		}
	}
	for _, s := range c.Audit.Sinks {
		files = append(files, s.URLFile, s.TokenFile, s.SecretFile)
	}
	for _, text := range references {
		switch kind, name, _ := strings.Cut(text, ":"); kind {
		case "file":
			files = append(files, name)
		case "env":
			variables = append(variables, name)
		}
	}
	return files, variables
}

func (c Config) serverSecrets() (all []server.Secret) {
	for _, s := range c.Secrets {
		one := server.Secret{Provider: s.Provider, Label: s.Label, From: s.From, Refresh: s.Refresh, Keep: s.Keep, Required: s.Required}
		if s.AllowedAgents != nil {
			one.Restricted, one.AllowedAgents = true, *s.AllowedAgents
		}
		all = append(all, one)
	}
	return all
}

// sources takes from the environment what the configuration names there. The
// variables that hold secrets leave the process's own environment; a.taken says
// which.
func (a *app) sources(c Config) (server.Sources, error) {
	out := server.Sources{Env: map[string]secret.Value{}}
	if b := c.Sources.OpenBao; b != nil {
		out.OpenBao = &source.OpenBao{
			Address: b.Address, Namespace: b.Namespace, CAFile: b.CAFile, Token: b.Token,
			AppRole: (*source.AppRole)(b.AppRole), Kubernetes: (*source.Kubernetes)(b.Kubernetes),
		}
	}
	if len(c.Sources.Exec) > 0 {
		out.Exec = map[string]source.Helper{}
	}
	for name, h := range c.Sources.Exec {
		out.Exec[name] = source.Helper(h)
	}
	named := source.Config{OpenBao: out.OpenBao, Exec: out.Exec}
	for _, s := range c.Secrets {
		named.Secrets = append(named.Secrets, source.Spec{From: s.From})
	}
	read, handedOn := named.Variables()
	for _, name := range slices.Concat(read, handedOn) {
		if holdsSecret(name) || strings.HasPrefix(name, "KEEPER_") {
			return out, fmt.Errorf("secrets, sources: the variable %s is keeper's own; name another", name)
		}
		if value, set := a.env[name]; set {
			out.Env[name] = secret.New([]byte(value))
		}
	}
	a.taken = read
	return out, nil
}
