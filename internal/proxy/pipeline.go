package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/telemetry"
)

// result is how a call ended, for the way in to tell its caller.
type result struct {
	refusal  *refusal          // keeper's own answer; nil where the provider's was sent
	cut      bool              // the answer broke off and must not end cleanly
	told     bool              // its last event says so
	findings []scanner.Finding // in the provider's answer
}

// run takes a call through every step, in this order. A step that fails ends
// the call there: nothing later happens, and the refusal is in the log. The
// provider's answer goes to w; a refusal is left to the way in. cut ends ctx.
func (p *Proxy) run(ctx context.Context, cut context.CancelCauseFunc, w http.ResponseWriter, c *call) (r result) {
	ctx = audit.WithOrigin(ctx, audit.Origin{RequestID: c.id, Source: c.source})
	defer func() {
		if value := recover(); value != nil {
			r = result{refusal: p.refused(ctx, c, p.panicked(c, value))}
		}
	}()

	// Who is calling is proven, and not revoked; from here on a revocation
	// cuts the call.
	claims, no := p.identify(ctx, c)
	if no != nil {
		return result{refusal: p.refused(ctx, c, no)}
	}
	c.watch.Pass(telemetry.Auth)
	defer p.auth.Live(claims, cut)()
	if c.stream != "" {
		defer expires(claims, cut)()
	}

	// This agent may make this call.
	grant, in, no := p.authorize(ctx, c, claims)
	defer in.close()
	if no != nil {
		return result{refusal: p.refused(ctx, c, no)}
	}

	// No quota that counts it is used up.
	if no = p.count(ctx, c, grant); no != nil {
		return result{refusal: p.refused(ctx, c, no)}
	}
	defer c.use.End()

	c.watch.Pass(telemetry.Policy)

	// No secret is in it.
	findings, no := p.scan(ctx, c, in)
	if lost := p.stale(ctx); lost != nil {
		return result{refusal: p.refused(ctx, c, lost)} // whatever was found, or not
	}
	p.found(requests, findings)
	if no != nil {
		return result{refusal: p.refused(ctx, c, no)}
	}

	c.watch.Pass(telemetry.Scan)

	// Which credential it may bear, by name.
	ref, err := p.vault.Choose(ctx, grant)
	if err != nil {
		return result{refusal: p.refused(ctx, c, p.chooseFailed(ctx, c, err))}
	}

	c.watch.Pass(telemetry.Choose)

	// The decision is on disk. A caller who hangs up meanwhile does not leave
	// it without its outcome.
	receipt, err := p.audit.Decide(context.WithoutCancel(ctx), audit.Decision{
		Grant: grant, Ref: ref, Call: p.record(c), Findings: p.recorded(findings),
	})
	if err != nil {
		return result{refusal: p.undecided(ctx, c, err)}
	}

	c.watch.Pass(telemetry.Decide)

	// The credential goes on, the call to the provider, and the answer comes
	// back as it streams, redacted.
	return p.exchange(ctx, w, c, receipt, in.body)
}

// exchange is what happens to a call after its decision. However it ends, its
// outcome is recorded.
func (p *Proxy) exchange(ctx context.Context, w http.ResponseWriter, c *call, receipt audit.Receipt, b *body) (r result) {
	start, back := time.Now(), answer{outcome: outcomeOf(codeInternal), code: codeInternal, cut: true}
	defer func() {
		if value := recover(); value != nil {
			p.panicked(c, value)
		}
		c.remote.account(&back)
		p.spend(c, back)
		p.finish(ctx, c, receipt, back, start)
		r = result{refusal: back.refusal, cut: back.cut, told: back.told, findings: back.findings}
	}()
	if c.unread {
		back = p.splice(ctx, w, c, receipt)
		return
	}
	resp, err := p.forward(ctx, w, c, receipt, p.request(ctx, c, receipt.Grant().Route(), b))
	if err != nil {
		no := p.forwardFailed(ctx, c, err)
		back = answer{outcome: outcomeOf(no.code), code: no.code, refusal: no}
		return
	}
	defer resp.Body.Close()
	back = p.respond(ctx, w, c, resp)
	return
}

// panicked logs a panic, by its type alone since its value may hold anything,
// and with where it happened.
func (p *Proxy) panicked(c *call, value any) *refusal {
	p.logger.Error("panic in a call", "requestId", c.id, "type", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
	return refuse(codeInternal, "it failed at this call; its operator finds the reason in keeper's log")
}

const tooManyFailures = "too many failed authentications from this address; try again in a second"

// identify proves who calls by the tokens that came off the request.
func (p *Proxy) identify(ctx context.Context, c *call) (auth.Claims, *refusal) {
	if c.operator.Valid() { // proven on the way in, of which the claims are the proof
		return c.operator, nil
	}
	claims, no := p.verify(ctx, c)
	if no == nil {
		c.agent = agent{claims.AgentID(), claims.JTI()}
		return claims, nil
	}
	if no.code == codeStore {
		return auth.Claims{}, no
	}
	if p.failures.Exceeded(c.source) {
		c.agent = agent{} // a flood is counted in the log, not written call by call
		return auth.Claims{}, refuse(codeRateLimited, tooManyFailures)
	}
	p.failures.Count(c.source)
	return auth.Claims{}, no
}

// verify returns the claims of the one valid token. A token that does not
// verify beside one that does is passed over, as any dummy key is.
func (p *Proxy) verify(ctx context.Context, c *call) (auth.Claims, *refusal) {
	var proven auth.Claims
	var failed *refusal
	for _, raw := range c.taken.tokens {
		claims, err := p.auth.Verify(ctx, raw)
		switch {
		case err != nil && failed == nil:
			failed = p.tokenFailed(c, err)
		case err != nil:
		case proven.Valid():
			return auth.Claims{}, refuse(codeTokenInvalid, "the request bears two different tokens; send one")
		default:
			proven = claims
		}
	}
	switch {
	case proven.Valid():
		return proven, nil
	case failed != nil:
		return auth.Claims{}, failed
	case c.taken.other:
		return auth.Claims{}, refuse(codeTokenInvalid, "the key that was sent is no keeper token; send the agent's token in its place")
	}
	return auth.Claims{}, refuse(codeTokenMissing, "Authentication token required: send the agent's token where the API key would go")
}

func (p *Proxy) tokenFailed(c *call, err error) *refusal {
	var revoked *auth.RevokedError
	if errors.As(err, &revoked) {
		c.agent = agent{revoked.AgentID, revoked.JTI} // it was proven whose it was
	}
	switch {
	case errors.Is(err, auth.ErrStale):
		return refuse(codeStore, "this keeper cannot reach its store, so it does not know whether the token is still in force; try again in a moment")
	case errors.Is(err, auth.ErrTokenRevoked):
		return refuse(codeTokenRevoked, "the token was revoked; ask for a new one")
	case errors.Is(err, auth.ErrTokenExpired):
		return refuse(codeTokenExpired, "the token has expired; ask for a new one")
	case errors.Is(err, auth.ErrTokenInvalid):
		return refuse(codeTokenInvalid, "the token is not valid here; ask this keeper for one")
	}
	p.logger.Error("verifying a token", "requestId", c.id, "error", err)
	return refuse(codeStore, "the store cannot be read, so the token cannot be checked; try again in a moment")
}

// incoming is a request's body as it is read.
type incoming struct {
	body     *body
	findings []scanner.Finding
}

func (in *incoming) close() {
	if in.body != nil {
		in.body.Close()
	}
}

// authorize decides whether the claims cover the call. Where that depends on
// the body, it is read first.
func (p *Proxy) authorize(ctx context.Context, c *call, claims auth.Claims) (policy.Grant, *incoming, *refusal) {
	in := &incoming{}
	if c.mode == checkMode {
		grant, err := p.catalogue().AuthorizeCheck(claims, c.provider, c.label)
		if err != nil {
			return policy.Grant{}, in, denied(err)
		}
		c.route = grant.Route()
		return grant, in, nil
	}
	if c.provider == "" && c.site != (policy.Site{}) {
		return policy.Grant{}, in, refuse(codeHostUnknown, p.unknownHost(c.site))
	}
	if !c.unread && !isTarget(c.path, c.rawQuery) {
		return policy.Grant{}, in, refuse(codeBadRequest, "the path and query begin with a slash, and have spaces and control characters escaped (%20)")
	}
	if strings.HasPrefix(c.path, "//") {
		return policy.Grant{}, in, refuse(codeScopeDenied, "the path begins with two slashes; send it with one")
	}
	catalogue := p.catalogue()
	asked, err := policy.NewCall(c.spec())
	if err != nil {
		return policy.Grant{}, in, denied(err)
	}
	if no := c.fault(); no != nil {
		return policy.Grant{}, in, no
	}
	if catalogue.NeedsBody(asked) {
		if c.stream != "" {
			return policy.Grant{}, in, refuse(codeBadRequest, "what this call may do is told by its body, which must not stream")
		}
		if no := p.read(ctx, c, in); no != nil {
			return policy.Grant{}, in, no
		}
		asked = asked.WithBody(in.body.memory)
	}
	grant, err := catalogue.Authorize(claims, asked)
	if err != nil {
		return policy.Grant{}, in, denied(err)
	}
	c.route = grant.Route()
	return grant, in, nil
}

// isTarget reports whether every server reads the same in a request line that has the
// path and the query, as is not so of one with a space (RFC 9112, 3.2): HTTP/2 hands on
// what no line could hold.
func isTarget(path, query string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsFunc(path+query, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' })
}

func (p *Proxy) unknownHost(s policy.Site) string {
	return "no provider here has host " + p.shownHost(s) + "; an operator adds it to the hosts of one, and `keeper learn` shows what a client needs"
}

func denied(err error) *refusal {
	var d *policy.Denied
	if errors.As(err, &d) {
		return refuse(d.Code, d.Message)
	}
	return refuse(codeScopeDenied, "the call could not be decided")
}

// scan reads what is left of the request and looks for secrets in all of it.
func (p *Proxy) scan(ctx context.Context, c *call, in *incoming) ([]scanner.Finding, *refusal) {
	if in.body == nil && !c.unread && c.stream == "" {
		if no := p.read(ctx, c, in); no != nil {
			return nil, no
		}
	}
	head := c.header
	if t := c.trailer(); len(t) > 0 && c.stream == "" {
		head = head.Clone()
		for name, values := range t {
			head[name] = append(head[name], values...)
		}
	}
	findings := p.scanner.Scan([]byte(c.method), "method")
	findings = append(findings, p.scanner.Scan([]byte(c.site.Name), "host")...)
	findings = append(findings, p.scanner.ScanHead(&url.URL{Path: unescaped(c.path), RawPath: c.path, RawQuery: c.rawQuery}, head)...)
	c.shown = p.shownPath(c, len(findings) == 0)
	findings = append(findings, in.findings...)
	if slices.ContainsFunc(findings, scanner.Finding.Blocks) {
		no := refuse(codeSecret, blockedSentence(findings))
		no.findings = findings
		return findings, no
	}
	return findings, nil
}

// read takes the body in, scanning it as it comes, decoded.
func (p *Proxy) read(ctx context.Context, c *call, in *incoming) *refusal {
	chunks, no := c.unchunk()
	if no != nil {
		return no
	}
	scan := p.scanner.NewBodyScan(c.header.Get("Content-Type"))
	push := p.newPushScan(c)
	sink, err := p.newDecodedSink(c.header.Values("Content-Encoding"), push.beside(scan), p.maxBody)
	if err != nil {
		push.Close()
		return refuse(codeUndecodable, "the request body's Content-Encoding cannot be decoded, so it cannot be scanned; send it with gzip, br, zstd, deflate or none")
	}
	c.begun = true
	in.body, err = readBody(c.body, sink, c.declared, p.maxBody, p.spool)
	undecoded := sink.Close()
	closed, unpacked := scan.Close(), push.Close()
	switch {
	case errors.Is(err, errSpoolFull):
		return refuse(codeStore, "too many large requests are under way; try again in a moment")
	case errors.Is(err, errTooLarge), errors.Is(undecoded, errTooLarge):
		return refuse(codeTooLarge, "the request body is over this keeper's limit")
	case undecoded != nil:
		return refuse(codeUndecodable, "the request body is not what its Content-Encoding says, so it cannot be scanned")
	case err != nil && ctx.Err() != nil:
		return refuse(p.interruption(ctx), "the call was ended before its body had arrived")
	case err != nil:
		p.logger.Info("reading a request body", "requestId", c.id, "error", err)
		return refuse(codeBadRequest, "the request body could not be read to its end")
	case closed != nil:
		return refuse(codeUndecodable, "the request body cannot be scanned")
	}
	c.unchunked(chunks)
	c.sent, c.read = in.body.size, in.body.memory
	in.findings = slices.Concat(p.located(c, in.body, scan.Findings()), sink.findings(), push.findings())
	if unpacked != nil && !slices.ContainsFunc(in.findings, scanner.Finding.Blocks) { // which says more
		return unpackable(unpacked)
	}
	return nil
}

// request is the call as the provider gets it, but for the credential.
func (p *Proxy) request(ctx context.Context, c *call, route policy.Route, b *body) *http.Request {
	withDefaults(c.header, route.Headers)
	u := *route.BaseURL
	setPath(&u, route.BaseURL.EscapedPath(), withoutFront(c.path, route.Strip))
	u.RawQuery = c.rawQuery
	req := &http.Request{
		Method: c.method, URL: &u, Host: u.Host, Header: c.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if c.stream != "" {
		p.begin(ctx, c, req)
		return req.WithContext(ctx)
	}
	req.Trailer = c.trailer()
	if b.size > 0 || len(req.Trailer) > 0 {
		req.Body = b.open()
		req.GetBody = func() (io.ReadCloser, error) { return b.open(), nil }
		req.ContentLength = b.size
		if len(req.Trailer) > 0 {
			req.ContentLength = -1
		}
	}
	return req.WithContext(ctx)
}

// refused writes the refusal into the log. Where that cannot be done, it is
// another refusal that the caller gets.
func (p *Proxy) refused(ctx context.Context, c *call, r *refusal) *refusal {
	if c.shown == "" {
		c.shown = p.shownPath(c, false)
	}
	err := p.audit.Refuse(audit.WithOrigin(context.WithoutCancel(ctx), audit.Origin{RequestID: c.id, Source: c.source}), audit.Refusal{
		Code: r.code, Agent: c.agent.id, JTI: c.agent.jti, Provider: p.shownProvider(c),
		Risk: riskOf(r.code), Call: p.record(c), Findings: p.recorded(r.findings), Quota: r.quota,
	})
	if err != nil {
		return p.undecided(ctx, c, err)
	}
	return r
}

func (p *Proxy) undecided(ctx context.Context, c *call, err error) *refusal {
	if ctx.Err() != nil {
		return refuse(p.interruption(ctx), "the call was ended before it was decided")
	}
	p.logger.Error("recording a call", "requestId", c.id, "error", err)
	return refuse(codeAudit, "the audit log cannot be written, so nothing was sent; try again in a moment")
}

func (p *Proxy) chooseFailed(ctx context.Context, c *call, err error) *refusal {
	if ctx.Err() != nil {
		return refuse(p.interruption(ctx), "the call was ended before it was decided")
	}
	if errors.Is(err, auth.ErrStale) {
		return refuse(codeStore, interruptions[codeStore])
	}
	if errors.Is(err, policy.ErrNotAllowed) {
		misuse := audit.VaultAccess{Agent: c.agent.id, Provider: c.provider, Action: "denied", Label: p.shownLabel(c.label)}
		if err := p.audit.Record(ctx, misuse); err != nil {
			return p.undecided(ctx, c, err)
		}
	}
	var failed *policy.SourceError
	if errors.As(err, &failed) {
		return refuse(codeNoCredential, sourceSentence(failed))
	}
	if errors.Is(err, policy.ErrNoCredential) {
		name := c.provider
		if c.label != "" {
			name += "@" + p.shownLabel(c.label)
		}
		if c.mode == checkMode {
			return refuse(codeNoCredential, fmt.Sprintf("there is no credential of %s; set one with: keeper secret set %s", name, name))
		}
		return refuse(codeNoCredential, fmt.Sprintf("no credential of %s may be used by agent %s here; "+
			"an operator sets one with: keeper secret set %s", name, c.agent.id, name))
	}
	p.logger.Error("choosing a credential", "requestId", c.id, "error", err)
	return refuse(codeStore, "the vault cannot be read; try again in a moment")
}

// sourceSentence says that a credential is configured, and why there is none.
func sourceSentence(e *policy.SourceError) string {
	if e.Since.IsZero() {
		return fmt.Sprintf("the credential of %s comes from a source that has given none yet; try again in a moment", e.Provider)
	}
	return fmt.Sprintf("the credential of %s comes from a source that has failed since %s; an operator finds the reason with: keeper secret ls",
		e.Provider, e.Since.UTC().Format(time.RFC3339))
}
