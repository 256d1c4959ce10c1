package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/vault"
)

// secretPrefix begins the variables that hold secrets to import.
const secretPrefix = "KEEPER_SECRET_"

// overlay puts the environment over what the file says.
func (c *Config) overlay(env map[string]string) {
	for name, field := range map[string]*string{
		"KEEPER_ADDR": &c.Addr, "KEEPER_ADMIN_ADDR": &c.AdminAddr, "KEEPER_DATA": &c.Data, "KEEPER_STORE": &c.Store,
		"KEEPER_ADMIN_TOKEN_FILE": &c.AdminTokenFile, "KEEPER_VAULT_KEY_FILE": &c.VaultKeyFile,
	} {
		*field = firstOf(env[name], *field)
	}
	c.ProviderURLs, c.ProviderListen = maps.Clone(c.ProviderURLs), maps.Clone(c.ProviderListen)
	for name, value := range env {
		if provider, ok := between(name, "KEEPER_PROXY_", "_URL"); ok && value != "" {
			c.ProviderURLs = with(c.ProviderURLs, provider, value)
		}
		if provider, ok := between(name, "KEEPER_LISTEN_", ""); ok && value != "" {
			c.ProviderListen = with(c.ProviderListen, provider, value)
		}
	}
}

// between returns the provider's name in a variable's: azure-openai in
// KEEPER_PROXY_AZURE_OPENAI_URL.
func between(name, prefix, suffix string) (provider string, ok bool) {
	rest, hasPrefix := strings.CutPrefix(name, prefix)
	rest, hasSuffix := strings.CutSuffix(rest, suffix)
	return strings.ToLower(strings.ReplaceAll(rest, "_", "-")), hasPrefix && hasSuffix && rest != ""
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// serverConfig turns the configuration, with what the environment holds of
// secrets, into the server's. The secrets leave the process's own environment.
func (a *app) serverConfig(c Config) (server.Config, error) {
	logger, err := a.logger(c.Log)
	if err != nil {
		return server.Config{}, err
	}
	out, err := a.settingsOf(c, logger)
	if err != nil {
		return server.Config{}, err
	}
	out.Logger, out.Relog = logger, a.logs.set
	if out.AdminToken, err = a.adminToken(c.AdminTokenFile); err != nil {
		return server.Config{}, err
	}
	out.VaultKey, err = a.vaultKey(c.VaultKeyFile)
	return out, err
}

// settingsOf is serverConfig without keys: all that a keeper which runs can take over.
// The logger gets what traces say.
func (a *app) settingsOf(c Config, logger *slog.Logger) (server.Config, error) {
	if err := c.check(); err != nil {
		return server.Config{}, err
	}
	registration, err := parseRegistration(c.Registration)
	if err != nil {
		return server.Config{}, err
	}
	scopes, err := scope.ParseSet(c.DefaultScopes)
	if err != nil {
		return server.Config{}, fmt.Errorf("defaultScopes: %w", err)
	}
	level, err := c.Log.check()
	if err != nil {
		return server.Config{}, err
	}
	rules, err := c.checkedRules()
	if err != nil {
		return server.Config{}, err
	}
	out := server.Config{
		DataDir: c.Data, Store: c.Store, Staleness: c.Staleness, AcceptStore: a.acceptStore, Addr: firstOf(c.Addr, server.DefaultAddr), AdminAddr: c.AdminAddr,
		TLS:          server.TLS(c.TLS),
		Forward:      server.Forward(c.Forward),
		Registration: registration, DefaultScopes: scopes,
		Providers: c.Providers, ProviderURLs: c.ProviderURLs, ProviderListen: c.ProviderListen,
		Imports:      a.secretVariables(),
		Secrets:      c.serverSecrets(),
		MaxBodyBytes: c.Limits.BodyBytes, MaxMessageBytes: c.Limits.MessageBytes, IdlePing: c.Limits.IdlePing, AuthFailuresPerSecond: c.Limits.AuthFailuresPerSecond,
		ResponseHeaderTimeout: c.Limits.ResponseHeader, StopTimeout: c.Limits.Stop, DrainDelay: c.Limits.Drain, AccessLog: c.Log.Access,
		ScanActions: c.scanActions(), ScanRules: rules, AllowedOrigins: c.AllowedOrigins,
		VaultKeyFrom: a.vaultKeyFrom(c.VaultKeyFile),
		File:         c.text, Version: version(), LogLevel: level, LogFormat: firstOf(c.Log.Format, "text"),
	}
	if out.Dashboard, err = c.Dashboard.settings(); err != nil {
		return server.Config{}, err
	}
	if out.Traces, err = a.traces(c.Traces, logger); err != nil {
		return server.Config{}, err
	}
	if out.Trust, err = issuersOf(c.Trust); err != nil {
		return server.Config{}, err
	}
	if out.Quotas, err = c.quotas(); err != nil {
		return server.Config{}, err
	}
	if out.Audit, err = c.Audit.server(); err != nil {
		return server.Config{}, err
	}
	out.Sources, err = a.sources(c)
	return out, err
}

func parseRegistration(text string) (auth.Registration, error) {
	switch r := auth.Registration(firstOf(text, string(auth.RegisterAdmin))); r {
	case auth.RegisterAdmin, auth.RegisterApproval, auth.RegisterOpen:
		return r, nil
	}
	return "", errors.New("registration: want admin, approval or open")
}

func (a *app) adminToken(file string) (secret.Value, error) {
	text := a.env["KEEPER_ADMIN_TOKEN"]
	if text == "" && file != "" {
		var err error
		if text, err = readToken(file); err != nil {
			return secret.Value{}, fmt.Errorf("reading the admin token: %w", err)
		}
		if text == "" {
			return secret.Value{}, fmt.Errorf("reading the admin token: %s is empty", file)
		}
	}
	return secret.New([]byte(text)), nil
}

// vaultKey returns the key that was given; the zero Value where none was.
func (a *app) vaultKey(file string) (secret.Value, error) {
	if given := a.env["KEEPER_VAULT_KEY"]; given != "" || file == "" {
		return secret.New([]byte(given)), nil
	}
	text, err := readFile(file, maxSecretBytes)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the vault key: %w", err)
	}
	if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
		return secret.Value{}, fmt.Errorf("reading the vault key: %s is empty", file)
	}
	return secret.New(text), nil
}

func (a *app) vaultKeyFrom(file string) string {
	if a.env["KEEPER_VAULT_KEY"] != "" {
		return "env:KEEPER_VAULT_KEY"
	}
	return file
}

// secretVariables returns the KEEPER_SECRET_* variables as NAME=value, sorted.
func (a *app) secretVariables() []string {
	var found []string
	for name, value := range a.env {
		if strings.HasPrefix(name, secretPrefix) {
			found = append(found, name+"="+value)
		}
	}
	slices.Sort(found)
	return found
}

// catalogue is the built-in providers with the changes of a configuration file
// and of the environment.
func (a *app) catalogue(file string) (*policy.Catalogue, error) {
	c, err := loadConfig(file)
	if err != nil {
		return nil, err
	}
	c.overlay(a.env)
	return server.Catalogue(c.Providers, c.ProviderURLs)
}

// harden keeps other processes of the same user from reading this one's
// memory and environment, lets nobody else read what it writes, and drops the
// secrets from the environment that child processes would get.
func (a *app) harden() error {
	closeUmask()
	if err := a.forget(); err != nil {
		return err
	}
	if err := vault.HardenProcess(); err != nil {
		return fmt.Errorf("shielding the process: %w", err)
	}
	return nil
}

// forget takes the secrets out of the process's own environment.
func (a *app) forget() error {
	for name := range a.env {
		if holdsSecret(name) || slices.Contains(a.taken, name) || slices.Contains(headerVariables, name) {
			if err := os.Unsetenv(name); err != nil {
				return fmt.Errorf("removing %s from the environment: %w", name, err)
			}
		}
	}
	return nil
}

// holdsSecret reports whether a variable of keeper's own holds a secret.
func holdsSecret(name string) bool {
	return strings.HasPrefix(name, secretPrefix) || name == "KEEPER_VAULT_KEY" || name == "KEEPER_ADMIN_TOKEN" || name == "KEEPER_TOKEN" || name == "KEEPER_STORE"
}
