package proxy

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	shownPathBytes = 512
	shownNameBytes = 64
)

// shownPath is the call's path as the log may have it; clean says that a scan has
// found nothing in it.
func (p *Proxy) shownPath(c *call, clean bool) string {
	path, found := c.path, false
	if !clean {
		path, found = p.masked(c.path)
	}
	if found { // and its rest may be escaped
		if again, still := p.masked(plain(c.path)); still {
			path = again
		}
		return shorten(path, shownPathBytes)
	}
	return shorten(p.withoutRest(c), shownPathBytes)
}

// withoutRest is a path in which nothing was found, without what is a secret together
// with what stands before it: what is no provider's name, or a label.
func (p *Proxy) withoutRest(c *call) string {
	front, path, parts := p.spreadOver(c)
	var inPath []span
	for _, part := range parts {
		if part.end > len(front) {
			inPath = append(inPath, span{max(0, part.start-len(front)), part.end - len(front)})
		}
	}
	switch {
	case len(inPath) > 0:
		return p.without(path, inPath)
	case front != "" && p.holds(front):
		return p.withoutRandom(path)
	}
	return c.path
}

// spreadOver returns where a secret is spread over the path and what stands before it.
func (p *Proxy) spreadOver(c *call) (front, path string, parts []span) {
	front, path = p.front(c), c.path
	if strings.Contains(path, "%") {
		path = plain(path)
	}
	return front, path, p.spread(front + path)
}

// front is what a caller has written before the path, and nobody knows.
func (p *Proxy) front(c *call) string {
	if _, known := p.catalogue().Provider(c.provider); !known {
		return c.named + "@" + c.label
	}
	return c.label
}

// shownProvider is the name of the call's provider as the log may have it: one
// that the catalogue lacks may be anything. It is looked at as it was sent: in
// lower case few keys are known again, and all are still worth having.
func (p *Proxy) shownProvider(c *call) string {
	if _, known := p.catalogue().Provider(c.provider); known {
		return c.provider
	}
	if clean, found := p.masked(c.named); found {
		return shorten(clean, shownNameBytes)
	}
	if _, _, parts := p.spreadOver(c); len(parts) > 0 && parts[0].start < len(c.named) {
		return masked
	}
	return shorten(c.provider, shownNameBytes)
}

// shownHost is a host as the log may have it: of one that no provider has, every part
// may be a piece of a key.
func (p *Proxy) shownHost(s policy.Site) string {
	if s == (policy.Site{}) {
		return ""
	}
	clean, found := p.masked(s.String())
	switch {
	case !found && p.catalogue().Knows(s):
		clean = p.withoutRandom(clean)
	case net.ParseIP(s.Name) == nil:
		clean = p.withoutPieces(clean)
	}
	return shorten(clean, shownPathBytes)
}

// shownLabel is a credential's label as the log may have it.
func (p *Proxy) shownLabel(label string) string {
	clean, _ := p.masked(label)
	return shorten(clean, shownNameBytes)
}

// shownMethod is a method as the log may have it: HTTP lets it be any word.
func (p *Proxy) shownMethod(method string) string {
	if slices.Contains(knownMethods, method) {
		return method
	}
	clean, _ := p.masked(method)
	return shorten(clean, shownNameBytes)
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// recorded is what the log has of findings.
func (p *Proxy) recorded(fs []scanner.Finding) []audit.Finding {
	if len(fs) == 0 {
		return nil
	}
	out := make([]audit.Finding, 0, min(len(fs), maxRecorded))
	for _, f := range scanner.Gravest(fs, maxRecorded) {
		out = append(out, audit.Finding{
			Type: f.Type, Rule: f.Rule, Location: p.shownPlace(f), Form: f.Form, Confidence: string(f.Confidence),
			Fingerprint: f.Fingerprint, Exempt: f.Exempt,
		})
	}
	return out
}

// maxRecorded bounds the findings in one entry.
const maxRecorded = 32

// shownFinding is a finding as its agent sees it. Its fingerprint is the
// operator's: with it an agent could tell whether another value is the same.
type shownFinding struct {
	Type        string             `json:"type"`
	Rule        string             `json:"rule"`
	Location    string             `json:"location"`
	Form        string             `json:"form,omitempty"`
	Preview     string             `json:"preview"`
	Confidence  scanner.Confidence `json:"confidence"`
	Description string             `json:"description"`
	Exempt      bool               `json:"exempt,omitempty"`
	Start       int                `json:"start"`
	End         int                `json:"end"`
}

func shownFindings(fs []scanner.Finding) []shownFinding {
	out := make([]shownFinding, len(fs))
	for i, f := range fs {
		out[i] = shownFinding{
			f.Type, f.Rule, f.Location, f.Form, f.Preview, f.Confidence, f.Description, f.Exempt, f.Start, f.End,
		}
	}
	return out
}

const (
	shownPlaceBytes       = 320
	shownDescriptionBytes = 96
)

// blockedSentence tells the agent's developer what to take out, and where: the
// first of the findings that block, which there is.
func blockedSentence(fs []scanner.Finding) string {
	var first scanner.Finding
	n := 0
	for _, f := range fs {
		if f.Blocks() {
			if n++; n == 1 {
				first = f
			}
		}
	}
	what := "a secret"
	if n > 1 {
		what = fmt.Sprintf("%d secrets, the first", n)
	}
	place := shorten(first.Location, shownPlaceBytes)
	if first.Form != "" {
		place += " (" + shorten(first.Form, shownNameBytes) + ")"
	}
	return fmt.Sprintf("this request was blocked: it holds %s in %s: %s, rule %s; take it out and try again",
		what, place, shorten(first.Description, shownDescriptionBytes), shorten(first.Rule, shownNameBytes))
}

// shownPlace is where a finding stands, as the log may have it. net/http has
// changed the case of a header's name, so that few keys are known again in it; and
// a secret with "=" in it makes a name of its own beginning.
func (p *Proxy) shownPlace(f scanner.Finding) string {
	kind, name, _ := strings.Cut(f.Location, ".")
	switch {
	case kind == "query" && (f.Start < len(name) || maySpread(name)), kind == "header" && (p.isRandom(name) || hasPiece(name)):
		return kind
	}
	shown := p.withoutRandom(p.withoutSpread(f.Location))
	if strings.Contains(shown, hiddenName) { // a name beside it may be the rest of what it hides
		shown = withoutWords(shown, isTelling)
	}
	return shown
}

// riskOf is the risk of a refusal.
func riskOf(code string) int {
	switch code {
	case codeSecret, codeTokenRevoked:
		return audit.RiskCritical
	}
	return audit.RiskWarning
}

func unescaped(path string) string {
	plain, err := url.PathUnescape(path)
	if err != nil {
		return path
	}
	return plain
}

// withoutFront takes front off a path that begins with it.
func withoutFront(path, front string) string {
	rest, found := strings.CutPrefix(path, front)
	switch {
	case !found || rest != "" && rest[0] != '/':
		return path
	case rest == "":
		return "/"
	}
	return rest
}

// setPath makes u point at base followed by path, byte for byte.
func setPath(u *url.URL, base, path string) {
	for len(base) > 0 && base[len(base)-1] == '/' {
		base = base[:len(base)-1]
	}
	escaped := base + path
	u.Path, u.RawPath = unescaped(escaped), escaped
	if u.EscapedPath() != escaped {
		u.Opaque = escaped // one slash first: policy refuses a path that begins with two
	}
}
