package vault

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

const importPrefix = "KEEPER_SECRET_"

// importRule is one variable of the environment and the secret it is for.
type importRule struct {
	name, provider, label string
	value                 secret.Value
}

// ImportEnv sets the secrets of the KEEPER_SECRET_* variables of environ, which
// is as os.Environ gives it. The provider is the longest of providerNames that
// the rest of the name begins with, or else its first word; the label is what
// follows. A variable counts only where its value is not the one last imported
// under its name, so that an old environment undoes no rotation and no
// deletion. An empty one is passed over. A secret that was restricted to agents
// stays so.
//
// It returns the names of the variables whose values were set, and the errors
// of all that could not be, joined; those are *FieldError where the value is at
// fault.
func (v *Vault) ImportEnv(ctx context.Context, environ []string, providerNames []string) (imported []string, err error) {
	rules, err := importRules(environ, providerNames)
	if len(rules) == 0 {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	memory, memoryErr := v.openImports(ctx)
	if memoryErr != nil {
		return nil, errors.Join(err, memoryErr)
	}
	for _, rule := range rules {
		changed, ruleErr := v.importOne(ctx, memory, rule)
		if ruleErr != nil {
			err = errors.Join(err, fmt.Errorf("importing %s: %w", rule.name, ruleErr))
		}
		if changed {
			imported = append(imported, rule.name)
		}
	}
	return imported, errors.Join(err, v.retireImports(ctx, memory))
}

// importRules reads environ; the rules are sorted by name.
func importRules(environ, providerNames []string) ([]importRule, error) {
	var rules []importRule
	var problems []error
	taken := map[string]string{}
	environ = slices.Clone(environ)
	slices.Sort(environ)
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		rest, found := strings.CutPrefix(name, importPrefix)
		if !found || value == "" {
			continue
		}
		provider, label := splitName(rest, providerNames)
		if other := taken[provider+"@"+label]; other != "" {
			problems = append(problems, fmt.Errorf("importing %s: it names the same secret as %s; remove one of them", name, other))
			continue
		}
		taken[provider+"@"+label] = name
		rules = append(rules, importRule{name, provider, label, secret.New([]byte(value))})
	}
	return rules, errors.Join(problems...)
}

// splitName returns the provider and the label that rest, a variable's name
// without its prefix, stands for.
func splitName(rest string, providerNames []string) (provider, label string) {
	spelt := strings.ToLower(rest)
	length := strings.IndexByte(spelt, '_')
	if length < 0 {
		length = len(spelt)
	}
	provider = spelt[:length]
	known := 0
	for _, name := range providerNames {
		variable := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name))
		if after, found := strings.CutPrefix(spelt, variable); found && len(variable) > known && (after == "" || after[0] == '_') {
			provider, length, known = strings.ToLower(name), len(variable), len(variable)
		}
	}
	label = strings.ReplaceAll(strings.Trim(spelt[length:], "_"), "_", "-")
	if label == "" {
		label = policy.DefaultLabel
	}
	return provider, label
}

// importOne sets one secret, and then remembers that it did: stopped between
// the two, it finds the value in place and only remembers.
func (v *Vault) importOne(ctx context.Context, m *imports, rule importRule) (changed bool, err error) {
	before := m.digests[rule.name]
	digest := m.current.digest(rule.name, rule.value)
	if hmac.Equal(digest, before) {
		return false, nil
	}
	if m.is(before, rule.name, rule.value) {
		return false, v.putImport(ctx, m, rule.name, digest)
	}
	request, err := SetRequest{Provider: rule.provider, Label: rule.label, Value: rule.value, Source: "env:" + rule.name}.normal()
	if err != nil {
		return false, err
	}
	if err := v.refuseExternal(request.Provider, request.Label); err != nil {
		return false, err
	}
	if err := checkShape(v.catalogue, request); err != nil {
		return false, err
	}
	held := v.state.Load().find(request.Provider, request.Label)
	if held != nil {
		request.Restricted, request.AllowedAgents = held.current().restricted, held.current().allowedAgents
	}
	if held == nil || !held.current().value.Equal(request.Value) {
		if _, err := v.put(ctx, request, actionImported); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, v.putImport(ctx, m, rule.name, digest)
}
