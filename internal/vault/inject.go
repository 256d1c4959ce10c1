package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

// Errors of Inject, wrapped. Neither ever says anything of a value.
var (
	// ErrUnproven: there is no proof that the decision is on disk, or it is
	// about another destination.
	ErrUnproven = errors.New("no receipt for this request")
	// ErrGone: the version that was chosen is no longer there for this agent.
	ErrGone = errors.New("credential is gone")
	// ErrShape: the value cannot be put where the provider wants it.
	ErrShape = errors.New("credential has the wrong shape")
)

// Inject returns a private clone of req that bears the credential which r
// names, as the grant's route wants it. req itself stays clean; of the clone's
// other headers and query, none is changed. The version that was chosen is
// used though a newer one be there, as long as it is kept and the agent may
// still use the secret.
func (v *Vault) Inject(ctx context.Context, r audit.Receipt, req *http.Request) (*http.Request, error) {
	if !r.Valid() || !r.Grant().Valid() || !r.Ref().Valid() {
		return nil, fmt.Errorf("injecting a credential: %w", ErrUnproven)
	}
	route := r.Grant().Route()
	if route.BaseURL == nil || req.URL.Scheme != route.BaseURL.Scheme || !strings.EqualFold(req.URL.Host, route.BaseURL.Host) {
		return nil, fmt.Errorf("injecting a credential of %s: the request goes elsewhere: %w", r.Ref().Provider(), ErrUnproven)
	}
	if r.Ref().None() != route.Inject.None {
		return nil, fmt.Errorf("injecting a credential of %s: the provider wants none, or one: %w", r.Ref().Provider(), ErrUnproven)
	}
	clone := req.Clone(ctx)
	if route.Inject.None {
		return clone, nil
	}
	value, err := v.chosen(r)
	if err != nil {
		return nil, err
	}
	if err := inject(clone, route.Inject, value); err != nil {
		return nil, fmt.Errorf("injecting credential %s@%s: %w", r.Ref().Provider(), r.Ref().Label(), err)
	}
	return clone, nil
}

// chosen returns the value that the receipt names.
func (v *Vault) chosen(r audit.Receipt) (secret.Value, error) {
	ref := r.Ref()
	gone := fmt.Errorf("injecting credential %s@%s version %d: %w", ref.Provider(), ref.Label(), ref.Version(), ErrGone)
	h := v.state.Load().secrets[ref.SecretID()]
	if h == nil || h.withdrawn || h.provider != ref.Provider() || h.provider != r.Grant().Provider().Name {
		return secret.Value{}, gone
	}
	one := h.version(ref.Version())
	if one == nil || !one.permits(r.Grant().AgentID()) || !h.current().permits(r.Grant().AgentID()) {
		return secret.Value{}, gone
	}
	return one.value, nil
}

func (v *version) permits(agentID string) bool {
	return !v.restricted || slices.Contains(v.allowedAgents, agentID)
}

// inject puts value on req.
func inject(req *http.Request, how policy.Injection, value secret.Value) error {
	if req.Header == nil {
		req.Header = http.Header{}
	}
	text := string(value.Expose())
	switch {
	case len(how.Headers) > 0:
		return injectHeaders(req.Header, how.Headers, text)
	case how.Basic != nil:
		return injectBasic(req.Header, how.Basic.User, text)
	case how.Query != "":
		req.URL.RawQuery = withParameter(req.URL.RawQuery, how.Query, text)
		return nil
	}
	return errors.New("the provider's definition does not say how")
}

func injectHeaders(header http.Header, templates map[string]string, text string) error {
	if strings.ContainsFunc(text, isControl) {
		return fmt.Errorf("%w: a header holds one line only", ErrShape)
	}
	parts := strings.SplitN(text, ":", max(1, countParts(templates)))
	if len(parts) < countParts(templates) {
		return fmt.Errorf("%w: the provider wants %d parts with a colon between", ErrShape, countParts(templates))
	}
	pairs := []string{"{value}", text}
	for i, part := range parts {
		pairs = append(pairs, "{"+strconv.Itoa(i+1)+"}", part)
	}
	fill := strings.NewReplacer(pairs...)
	for name, template := range templates {
		header.Set(name, fill.Replace(template))
	}
	return nil
}

// countParts is the number of parts that templates name, which leave no gap.
func countParts(templates map[string]string) int {
	for count := 0; ; count++ {
		named := "{" + strconv.Itoa(count+1) + "}"
		found := false
		for _, template := range templates {
			found = found || strings.Contains(template, named)
		}
		if !found {
			return count
		}
	}
}

func injectBasic(header http.Header, user, text string) error {
	credentials := user + ":" + text
	if user == "" {
		credentials = text
		if !strings.Contains(text, ":") {
			return fmt.Errorf("%w: the provider wants a name and a password with a colon between", ErrShape)
		}
	}
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	return nil
}

// withParameter returns rawQuery with name set to value and the rest byte for
// byte as it was. A parameter of that name that is there already goes: the
// provider might read it instead.
func withParameter(rawQuery, name, value string) string {
	var kept []string
	if rawQuery != "" {
		kept = slices.DeleteFunc(strings.Split(rawQuery, "&"), func(pair string) bool {
			key, _, _ := strings.Cut(pair, "=")
			decoded, err := url.QueryUnescape(key)
			return err == nil && decoded == name
		})
	}
	return strings.Join(append(kept, url.QueryEscape(name)+"="+url.QueryEscape(value)), "&")
}
