package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
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
	// ErrDropped: the secrets are not in memory, since this keeper has lost its store. It
	// wraps auth.ErrStale: the same call may pass a moment later. Choose returns it, too,
	// and whatever changes the vault.
	ErrDropped = fmt.Errorf("the vault's secrets are not in memory: %w", auth.ErrStale)
)

// CallError says that the credential cannot go into this call, and what its caller
// would have to send. It quotes nothing of the call.
type CallError struct{ mend string }

// Error returns the mend.
func (e *CallError) Error() string { return e.mend }

// Mend is a sentence for the caller.
func (e *CallError) Mend() string { return e.mend }

// Inject returns a private clone of req that bears the credential which r
// names, as the grant's route wants it. req itself stays clean; of the clone's
// other headers and query, none is changed. The version that was chosen is
// used though a newer one be there, as long as it is kept and the agent may
// still use the secret.
func (v *Vault) Inject(ctx context.Context, r audit.Receipt, req *http.Request) (*http.Request, error) {
	if !r.Valid() || !r.Grant().Valid() || !r.Ref().Valid() {
		return nil, fmt.Errorf("injecting a credential: %w", ErrUnproven)
	}
	base := r.Grant().BaseURL()
	if base == nil || req.URL.Scheme != base.Scheme || !strings.EqualFold(req.URL.Host, base.Host) {
		return nil, fmt.Errorf("injecting a credential of %s: the request goes elsewhere: %w", r.Ref().Provider(), ErrUnproven)
	}
	wantsNone := r.Grant().Injection().None
	if r.Ref().None() != wantsNone {
		return nil, fmt.Errorf("injecting a credential of %s: the provider wants none, or one: %w", r.Ref().Provider(), ErrUnproven)
	}
	clone := req.Clone(ctx)
	if wantsNone {
		return clone, nil
	}
	one, err := v.chosen(r)
	if err != nil {
		return nil, err
	}
	if err := v.inject(ctx, injecting{clone, r, one}); err != nil {
		return nil, fmt.Errorf("injecting credential %s@%s: %w", r.Ref().Provider(), r.Ref().Label(), err)
	}
	return clone, nil
}

// chosen returns the version that the receipt names.
func (v *Vault) chosen(r audit.Receipt) (*version, error) {
	if err := v.holds(); err != nil {
		return nil, fmt.Errorf("injecting a credential: %w", err)
	}
	ref := r.Ref()
	gone := fmt.Errorf("injecting credential %s@%s version %d: %w", ref.Provider(), ref.Label(), ref.Version(), ErrGone)
	h := v.state.Load().secrets[ref.SecretID()]
	if h == nil || h.withdrawn || h.provider != ref.Provider() || h.provider != r.Grant().Provider().Name {
		return nil, gone
	}
	one := h.version(ref.Version())
	if one != nil && one.value.Len() == 0 { // it was dropped just now
		return nil, fmt.Errorf("injecting a credential: %w", ErrDropped)
	}
	if one == nil || !r.Grant().Checks() && !(one.permits(r.Grant().AgentID()) && h.current().permits(r.Grant().AgentID())) {
		return nil, gone
	}
	return one, nil
}

func (v *version) permits(agentID string) bool {
	return !v.restricted || slices.Contains(v.allowedAgents, agentID)
}

// openBody returns a reader of the whole body of req; nil where there is none. A body
// that streams cannot be signed or changed before it is sent.
func openBody(req *http.Request) (io.ReadCloser, error) {
	if req.GetBody == nil {
		if req.Body != nil && req.Body != http.NoBody {
			return nil, &CallError{"the credential depends on the whole body, so the body cannot stream; send the call another way"}
		}
		return nil, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, errors.New("the body cannot be read again")
	}
	return body, nil
}

// injecting is a credential on its way onto a request.
type injecting struct {
	req     *http.Request // the private clone
	receipt audit.Receipt
	version *version
}

// inject puts the credential on the request. An error that the value has the
// wrong shape wraps ErrShape and a *FieldError.
func (v *Vault) inject(ctx context.Context, in injecting) error {
	if in.req.Header == nil {
		in.req.Header = http.Header{}
	}
	way, err := wayOf(in.receipt.Grant().Injection(), in.version.value)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrShape, err)
	}
	switch way.Shape() {
	case policy.ShapeSigV4:
		err = v.injectSigV4(ctx, in, way.SigV4)
	case policy.ShapeOAuth2, policy.ShapeGitHubApp, policy.ShapeGoogle:
		err = v.injectToken(ctx, in, way)
	case policy.ShapeClientCertificate:
		if in.req.URL.Scheme != "https" {
			return errors.New("a client certificate authenticates calls over https alone; the provider's address begins with http")
		}
		_, err = in.version.clientTLS(way.ClientCertificate) // which the connection is made with, see ClientTLS
	case policy.ShapePlain:
		if way.HMAC != nil {
			err = injectHMAC(in.req, way.HMAC, in.version.value, v.now())
			break
		}
		err = in.place(way, string(in.version.value.Expose()))
	default:
		err = errors.New("the provider's definition does not say how")
	}
	var field *FieldError
	if errors.As(err, &field) && !errors.Is(err, ErrShape) {
		err = fmt.Errorf("%w: %w", ErrShape, err)
	}
	return err
}

// place puts text where way says.
func (in injecting) place(way policy.Injection, text string) error {
	req := in.req
	switch {
	case len(way.Headers) > 0:
		return injectHeaders(req.Header, way.Headers, text)
	case way.Basic != nil:
		return injectBasic(req.Header, way.Basic.User, text)
	case way.Query != "":
		req.URL.RawQuery = withParameter(req.URL.RawQuery, way.Query, text)
		return nil
	case way.Path != "":
		return injectPath(req.URL, in.receipt.Grant().BaseURL(), way.Path, text)
	case way.Body != nil:
		return injectBody(req, *way.Body, text)
	}
	return errors.New("the provider's definition does not say how")
}

func injectHeaders(header http.Header, templates map[string]string, text string) error {
	parts, err := headerParts(templates, text)
	if err != nil {
		return err
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

// headerParts takes text apart as templates want it.
func headerParts(templates map[string]string, text string) ([]string, error) {
	if strings.ContainsFunc(text, isControl) {
		return nil, &FieldError{"value", "must be one line, since it goes into a header"}
	}
	parts := strings.SplitN(text, ":", max(1, countParts(templates)))
	if len(parts) < countParts(templates) {
		return nil, &FieldError{"value", fmt.Sprintf("must have %d parts with a colon between", countParts(templates))}
	}
	return parts, nil
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

// injectPath puts the last segment of template, with text in it, into the
// caller's path, which comes behind that of base: behind the segments that stand
// before it in the template, with which the caller's path must begin.
func injectPath(u, base *url.URL, template, text string) error {
	cut := strings.LastIndexByte(template, '/')
	before, segment := base.EscapedPath()+template[:cut+1], template[cut+1:]
	rest, found := strings.CutPrefix(u.EscapedPath(), before)
	if !found {
		return &CallError{"the path must begin with " + template[:cut+1] + ", behind which the provider wants the credential"}
	}
	escaped := before + strings.Replace(segment, "{value}", url.PathEscape(text), 1) + "/" + rest
	unescaped, err := url.PathUnescape(escaped)
	if err != nil {
		return &CallError{"the path has a malformed escape"}
	}
	u.Path, u.RawPath = unescaped, escaped
	return nil
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
