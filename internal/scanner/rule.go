package scanner

//go:generate go run -C rulegen . ../rules_public.go

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Confidence says how sure a finding is. High: a vault value or a known format.
// Medium: a secret by its name and its randomness. Low: a hint.
type Confidence string

// The confidences, from sure to doubtful.
const (
	High   Confidence = "high"
	Medium Confidence = "medium"
	Low    Confidence = "low"
)

// Action is what an operator has a rule do, whatever its confidence.
type Action string

// The actions. Block refuses a request and redacts a response; Redact only
// redacts; Warn only records; Allow drops the finding.
const (
	Block  Action = "block"
	Redact Action = "redact"
	Warn   Action = "warn"
	Allow  Action = "allow"
)

// The types of findings.
const (
	TypeAPIKey     = "api-key"
	TypeGitHub     = "github-pat"
	TypeBearer     = "bearer-token"
	TypeEntropy    = "high-entropy"
	TypeVault      = "vault-match"
	TypeAuthHeader = "auth-header"
	TypePrivateKey = "private-key"
)

// Rule describes one kind of secret. A rule goes by a prefix or by a name: with
// Prefixes, Pattern is matched where one of them stands; with Names (lower case),
// Pattern is matched at the value right of an operator that one of the names
// stands left of. A rule without a Pattern has code of its own.
type Rule struct {
	ID          string     `json:"id"`
	Description string     `json:"description"`
	Type        string     `json:"type"`
	Confidence  Confidence `json:"confidence"`
	Prefixes    []string   `json:"prefixes,omitempty"` // 2 bytes or more each
	Names       []string   `json:"names,omitempty"`    // 3 bytes or more each
	Pattern     string     `json:"pattern,omitempty"`  // RE2, at most 4096 bytes of it are looked at
	Entropy     float64    `json:"entropy,omitempty"`  // least bits a byte
	Back        int        `json:"back,omitempty"`     // bytes of the secret that stand left of the prefix
	Source      string     `json:"source,omitempty"`
	Version     string     `json:"version,omitempty"` // of the source
	Licence     string     `json:"licence,omitempty"` // under which the source may be used, by its SPDX id
}

// origin is where rules come from.
type origin struct{ source, version, licence string }

// keeperOrigin is that of the rules written for keeper. The version goes up with
// every change of what they find.
var keeperOrigin = origin{"keeper", "3", "MIT"}

// sign says of each of rules that it comes from there.
func (o origin) sign(rules ...Rule) []Rule {
	for i := range rules {
		rules[i].Source, rules[i].Version, rules[i].Licence = o.source, o.version, o.licence
	}
	return rules
}

const (
	maxWindow = 4096 // bytes of a secret that an expression sees
	minPrefix = 2
	minName   = 3
)

// compiledRule is a rule ready to be matched.
type compiledRule struct {
	Rule
	expr   *regexp.Regexp
	ways   []linear // the same, where it can be matched without going back
	window int      // bytes right of the prefix or value start that expr may need
	summed bool     // a checksum ends its secrets
	bare   bool     // it is keeper's, and its pattern has no word of its own outside of its classes
	action Action

	replacement string // what takes the place of what it finds
}

func compileRule(r Rule, ss *sets) (*compiledRule, error) {
	c := &compiledRule{Rule: r, replacement: replacement(r.ID)}
	_, c.summed = checksums[r.ID]
	if r.Pattern == "" {
		return c, nil
	}
	expr, err := regexp.Compile(`\A(?:` + r.Pattern + `)`)
	if err != nil {
		return nil, fmt.Errorf("compiling the pattern: %w", err)
	}
	tree, err := syntax.Parse(r.Pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("parsing the pattern: %w", err)
	}
	c.expr, c.window = expr, min(longest(tree), maxWindow)
	c.ways = linearOf(tree, ss)
	return c, nil
}

// check refuses a rule of the operator's that could not work.
func (r Rule) check() error {
	switch {
	case r.ID == "" || strings.ContainsAny(r.ID, "[] \n"):
		return fmt.Errorf("rule %q: the id is empty or holds spaces or brackets", r.ID)
	case r.Confidence != High && r.Confidence != Medium && r.Confidence != Low:
		return fmt.Errorf("rule %q: unknown confidence %q", r.ID, r.Confidence)
	case r.Pattern == "":
		return fmt.Errorf("rule %q: no pattern", r.ID)
	case (len(r.Prefixes) == 0) == (len(r.Names) == 0):
		return fmt.Errorf("rule %q: needs either prefixes or names", r.ID)
	case r.Back < 0 || r.Back > maxBack:
		return fmt.Errorf("rule %q: back is not within 0 and %d", r.ID, maxBack)
	}
	for _, p := range r.Prefixes {
		if len(p) < minPrefix || !tokenOnly(p) {
			return fmt.Errorf("rule %q: prefix %q is shorter than %d bytes or begins with no token characters", r.ID, p, minPrefix)
		}
	}
	for _, n := range r.Names {
		if len(n) < minName || n != strings.ToLower(n) {
			return fmt.Errorf("rule %q: name %q is shorter than %d bytes or not in lower case", r.ID, n, minName)
		}
	}
	return nil
}

// longest is the length in bytes of the longest match, or maxWindow.
func longest(re *syntax.Regexp) int {
	switch re.Op {
	case syntax.OpLiteral:
		return len(string(re.Rune))
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 4
	case syntax.OpCapture, syntax.OpQuest:
		return longest(re.Sub[0])
	case syntax.OpRepeat:
		if re.Max < 0 {
			return maxWindow
		}
		return min(re.Max*longest(re.Sub[0]), maxWindow)
	case syntax.OpStar, syntax.OpPlus:
		return maxWindow
	}
	n := 0
	for _, sub := range re.Sub {
		if re.Op == syntax.OpAlternate {
			n = max(n, longest(sub))
		} else {
			n += longest(sub)
		}
	}
	return min(n, maxWindow)
}
