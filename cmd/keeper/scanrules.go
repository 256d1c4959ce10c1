package main

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/scanner"
)

// The bounds of the operator's rules: the scanner's own.
const (
	minRulePrefix = 2
	minRuleName   = 3
	maxRuleBack   = 64
	maxRuleBits   = 8 // of entropy that a byte can have
)

// ScanRule is a rule of the operator's for the scanner. It goes by prefixes or by
// names, one of which must be given.
type ScanRule struct {
	// Its name in findings, refusals and the audit log: up to 64 letters, digits, dots,
	// dashes and underscores. Required.
	ID string `yaml:"id"`
	// What it finds, for people. Default: from its id.
	Description string `yaml:"description"`
	// What its findings are. Values: `api-key`, `github-pat`, `bearer-token`,
	// `high-entropy`, `auth-header`, `private-key`. Default: `api-key`.
	Type string `yaml:"type"`
	// `high`: a request is refused, an answer redacted; `medium`: only answers; `low`: only
	// recorded. Values: `high`, `medium`, `low`. Default: `high`.
	Confidence string `yaml:"confidence"`
	// What it can begin with, 2 characters or more each; `pattern` begins with them too.
	// Default: this or `names`.
	Prefixes []string `yaml:"prefixes"`
	// What can stand left of it, 3 characters or more each, in any case. Default: this or
	// `prefixes`.
	Names []string `yaml:"names"`
	// The whole secret as a regular expression in the syntax of RE2; at most 4096 bytes are
	// looked at. Required.
	Pattern string `yaml:"pattern"`
	// Least randomness, in bits a byte: about 3 for hexadecimal digits, 4 for letters and
	// digits; less is taken for a placeholder. Default: any.
	Entropy float64 `yaml:"entropy"`
	// How many bytes of the secret, at most 64, stand left of its prefix. Default: `0`.
	Back int `yaml:"back"`
}

// configured is the source of the rules that a configuration file has.
const configured = "configuration"

var ruleTypes = []string{
	scanner.TypeAPIKey, scanner.TypeGitHub, scanner.TypeBearer, scanner.TypeEntropy, scanner.TypeAuthHeader, scanner.TypePrivateKey,
}

// scanRules are the rules in the scanner's own form. The error names the rule, the
// field and the mend.
func (c Config) scanRules() ([]scanner.Rule, error) {
	taken := map[string]bool{}
	for _, r := range scanner.Rules() {
		taken[r.ID] = true
	}
	var list []scanner.Rule
	for i, r := range c.ScanRules {
		field, mend := r.wrong()
		if field == "" && taken[r.ID] {
			field, mend = "id", "there is a rule of this id already; give it another"
		}
		if field != "" {
			name := r.ID
			if field == "id" {
				name = fmt.Sprint(i + 1) // its number, for its id says nothing
			}
			return nil, fmt.Errorf("scanRules, rule %s: %s: %s", name, field, mend)
		}
		taken[r.ID] = true
		list = append(list, r.rule())
	}
	return list, nil
}

// rule is r in the scanner's own form, with its defaults.
func (r ScanRule) rule() scanner.Rule {
	names := make([]string, len(r.Names))
	for i, name := range r.Names {
		names[i] = strings.ToLower(name)
	}
	return scanner.Rule{
		ID: r.ID, Description: firstOf(r.Description, "Value in the form of rule "+r.ID),
		Type: firstOf(r.Type, scanner.TypeAPIKey), Confidence: scanner.Confidence(firstOf(r.Confidence, string(scanner.High))),
		Prefixes: r.Prefixes, Names: names, Pattern: r.Pattern, Entropy: r.Entropy, Back: r.Back, Source: configured,
	}
}

// wrong returns the first field that cannot work, and what to do about it; "" where
// all can.
func (r ScanRule) wrong() (field, mend string) {
	if field, mend = r.wrongShape(); field != "" {
		return field, mend
	}
	switch {
	case r.Type != "" && !slices.Contains(ruleTypes, r.Type):
		return "type", "want " + strings.Join(ruleTypes, ", ") + "; or leave it out for " + scanner.TypeAPIKey
	case r.Confidence != "" && !slices.Contains([]string{"high", "medium", "low"}, r.Confidence):
		return "confidence", "want high, medium or low"
	case r.Entropy < 0 || r.Entropy > maxRuleBits:
		return "entropy", fmt.Sprintf("want bits a byte, from 0 to %d; 3 is usual", maxRuleBits)
	case r.Back < 0 || r.Back > maxRuleBack:
		return "back", fmt.Sprintf("want the number of bytes left of the prefix, from 0 to %d", maxRuleBack)
	case r.Back > 0 && len(r.Prefixes) == 0:
		return "back", "it goes with prefixes; leave it out"
	}
	return "", ""
}

var ruleID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// wrongShape is wrong for the fields that say what the rule looks for.
func (r ScanRule) wrongShape() (field, mend string) {
	switch {
	case r.ID == "":
		return "id", "it is missing; give a name such as acme-api-key"
	case !ruleID.MatchString(r.ID):
		return "id", "want up to 64 letters, digits, dots, dashes and underscores, such as acme-api-key"
	case r.Pattern == "":
		return "pattern", "it is missing; give the whole secret as a regular expression, such as acme_[A-Za-z0-9]{32}"
	case len(r.Prefixes) == 0 && len(r.Names) == 0:
		return "prefixes", "there are neither prefixes nor names; give what the secret begins with, such as [acme_], or what stands left of it, such as names: [acme_key]"
	case len(r.Prefixes) > 0 && len(r.Names) > 0:
		return "names", "a rule goes by prefixes or by names; make two rules of it"
	}
	if _, err := syntax.Parse(r.Pattern, syntax.Perl); err != nil {
		return "pattern", wrongPattern(err)
	}
	for i, p := range r.Prefixes {
		if len(p) < minRulePrefix {
			return "prefixes", fmt.Sprintf("number %d is too short; want %d or more characters, as the secret begins with", i+1, minRulePrefix)
		}
	}
	for i, n := range r.Names {
		if len(n) < minRuleName {
			return "names", fmt.Sprintf("number %d is too short; want %d or more characters, or it stands everywhere", i+1, minRuleName)
		}
	}
	return "", ""
}

// wrongPattern says what is wrong with an expression without quoting it: what was
// pasted there may be a secret.
func wrongPattern(err error) string {
	what := "it is no regular expression"
	var detail *syntax.Error
	if errors.As(err, &detail) {
		what = detail.Code.String()
	}
	return what + "; want the syntax of RE2, which has no look-around and no back-references"
}

// checkedRules are the rules, of which and of whose actions the scanner itself has
// said that they work together.
func (c Config) checkedRules() ([]scanner.Rule, error) {
	if len(c.Scan) == 0 && len(c.ScanRules) == 0 {
		return nil, nil
	}
	if _, err := c.newScanner(); err != nil {
		return nil, err
	}
	return c.scanRules()
}

// newScanner makes a scanner as the configuration has it, but for what a vault
// knows. Its error names the rule.
func (c Config) newScanner() (*scanner.Scanner, error) {
	rules, err := c.scanRules()
	if err != nil {
		return nil, err
	}
	s, err := scanner.New(scanner.Config{Rules: rules, Actions: c.scanActions()})
	if err != nil {
		return nil, fmt.Errorf("scan: %w; `keeper scan --rules` lists the rules", err)
	}
	return s, nil
}

func (c Config) scanActions() map[string]scanner.Action {
	actions := map[string]scanner.Action{}
	for rule, action := range c.Scan {
		actions[rule] = scanner.Action(action)
	}
	return actions
}
