package proxy

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	shownPathBytes = 512
	shownNameBytes = 64
)

// shownPath is a path as the log may have it. Where it may hold a secret, what
// was found in it is replaced.
func (p *Proxy) shownPath(path string, unsure bool) string {
	if unsure {
		clean, _ := p.scanner.Sanitize([]byte(path))
		path = string(clean)
	}
	return shorten(path, shownPathBytes)
}

// shownName is a provider's name as the log may have it: one that the
// catalogue lacks may be anything.
func (p *Proxy) shownName(name string) string {
	if _, known := p.catalogue().Provider(name); known {
		return name
	}
	clean, _ := p.scanner.Sanitize([]byte(name))
	return shorten(string(clean), shownNameBytes)
}

// shownMethod is a method as the log may have it: HTTP lets it be any word.
func (p *Proxy) shownMethod(method string) string {
	clean, _ := p.scanner.Sanitize([]byte(method))
	return shorten(string(clean), shownNameBytes)
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// recorded is what the log has of findings.
func recorded(fs []scanner.Finding) []audit.Finding {
	if len(fs) == 0 {
		return nil
	}
	out := make([]audit.Finding, 0, min(len(fs), maxRecorded))
	for _, f := range scanner.Gravest(fs, maxRecorded) {
		out = append(out, audit.Finding{
			Type: f.Type, Rule: f.Rule, Location: f.Location, Form: f.Form, Confidence: string(f.Confidence),
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
