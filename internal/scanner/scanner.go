// Package scanner finds credentials in the traffic of APIs and takes them out of
// it. Bytes go in, findings come out; it holds no secret itself, and is told of
// the vault's values by a [Matcher].
//
// Its one invariant: what is found does not depend on how the input is cut. What
// a place is depends on the lookBehind bytes on its left and on the run of
// characters that it stands in, so a stream is searched in pieces, and its
// unfinished end is held back by its shape alone, never by what a Matcher knows.
//
// The cost of a byte does not grow with the number of rules: one pass finds
// candidates by the public prefixes and the names that rules go by, and only a
// candidate is confirmed, on a bounded window.
//
// It imports nothing of keeper.
package scanner

import (
	"cmp"
	"fmt"
	"slices"
)

// Matcher knows secrets that the scanner must not hold. Match calls yield for
// every span of p in which a known secret stands in any form that it travels in,
// in any order; spans may overlap. name is the rule under which the span is
// reported, such as "vault:openai". What it says of a span must depend on the
// bytes of that span alone; a span is at most [MaxForm] bytes long, and holds no
// space, quote, bracket or comma, since a stream is held back for no more.
//
// Match is called from many goroutines at once, and also with texts that the
// scanner has decoded. It must keep no reference to p.
type Matcher interface {
	Match(p []byte, yield func(start, end int, name string))
}

// Config says what a Scanner looks for. The zero Config has all built-in rules
// and no Matcher.
type Config struct {
	Matchers []Matcher
	// Actions says what a rule does, by its id, in place of what its confidence
	// entails. "vault-match" stands for everything that a Matcher finds; it cannot
	// be allowed.
	Actions map[string]Action
	// Rules are the operator's, beside the built-in ones.
	Rules []Rule
}

// Scanner looks for credentials. It is safe for concurrent use.
type Scanner struct {
	engine      *engine
	vaultAction Action
}

// New makes a Scanner. An unknown rule or action in the Config, a rule that
// cannot work, and an id that is taken are errors.
func New(c Config) (*Scanner, error) {
	e := &engine{rules: map[string]*compiledRule{}, matchers: slices.Clone(c.Matchers)}
	for _, r := range c.Rules {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("adding a rule: %w", err)
		}
	}
	var all []*compiledRule
	for _, r := range append(Rules(), c.Rules...) {
		compiled, err := compileRule(r, &e.sets)
		if err != nil {
			return nil, fmt.Errorf("adding rule %q: %w", r.ID, err)
		}
		if e.rules[r.ID] != nil {
			return nil, fmt.Errorf("adding rule %q: the id is taken", r.ID)
		}
		e.rules[r.ID] = compiled
		all = append(all, compiled)
	}
	s := &Scanner{engine: e}
	if err := s.setActions(c.Actions); err != nil {
		return nil, err
	}
	plain, quoted := valueSets()
	e.plain, e.quoted = e.sets.place(plain), e.sets.place(quoted)
	e.prefixes, e.names = newPrefixes(all), newNames(all)
	return s, nil
}

func (s *Scanner) setActions(actions map[string]Action) error {
	for id, a := range actions {
		if a != Block && a != Redact && a != Warn && a != Allow {
			return fmt.Errorf("setting the action of rule %q: unknown action %q", id, a)
		}
		if id == TypeVault {
			if a == Allow {
				return fmt.Errorf("setting the action of rule %q: a vault value cannot be allowed", id)
			}
			s.vaultAction = a
			continue
		}
		r := s.engine.rules[id]
		if r == nil {
			return fmt.Errorf("setting the action of rule %q: no such rule", id)
		}
		r.action = a
	}
	return nil
}

// Rules lists the built-in rules by id. A rule that both the public set and
// keeper describe is keeper's.
func Rules() []Rule {
	var all []Rule
	taken := map[string]bool{}
	for _, set := range [][]Rule{laneRules, ownRules, publicRules} {
		for _, r := range set {
			if !taken[r.ID] {
				taken[r.ID] = true
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b Rule) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Finding is a credential that was found. It names the rule and the place and
// never holds the value.
type Finding struct {
	Type        string     `json:"type"`
	Rule        string     `json:"rule"`
	Location    string     `json:"location"`
	Form        string     `json:"form,omitempty"` // "escaped" where it does not stand in clear
	Preview     string     `json:"preview"`        // its public prefix and last two characters at most
	Confidence  Confidence `json:"confidence"`
	Description string     `json:"description"`
	// Start and End are byte offsets into what was scanned: the text, the header's
	// value, or the whole of a stream.
	Start int `json:"start"`
	End   int `json:"end"`

	action Action
}

// Blocks says whether a request that holds this must not be sent.
func (f Finding) Blocks() bool {
	if f.action != "" {
		return f.action == Block
	}
	return f.Confidence == High
}

// Redacts says whether this is taken out of a response.
func (f Finding) Redacts() bool {
	if f.action != "" {
		return f.action == Block || f.action == Redact
	}
	return f.Confidence == High || f.Confidence == Medium
}

// Scan returns what it finds in p, in ascending order and without overlap; nil
// when nothing was found. The location is that of every finding.
func (s *Scanner) Scan(p []byte, location string) []Finding {
	found := s.engine.search(p, true)
	defer found.release()
	if len(found.spans) == 0 {
		return nil
	}
	list := make([]Finding, 0, len(found.spans))
	for _, sp := range found.spans {
		list = append(list, s.finding(sp, p, 0, location))
	}
	return list
}

// Sanitize returns p with every finding of high or medium confidence, or what
// the operator has redacted, replaced by [REDACTED:rule], and what it found. p is
// not changed; where there is nothing to replace, clean is p itself.
func (s *Scanner) Sanitize(p []byte) (clean []byte, findings []Finding) {
	findings = s.Scan(p, "text")
	at := 0
	for _, f := range findings {
		if f.Redacts() {
			clean = append(append(clean, p[at:f.Start]...), f.replacement()...)
			at = f.End
		}
	}
	if at == 0 {
		return p, findings
	}
	return append(clean, p[at:]...), findings
}

func (f Finding) replacement() string { return "[REDACTED:" + f.Rule + "]" }

// finding describes sp, a span of view, whose first byte is byte base of the
// whole.
func (s *Scanner) finding(sp span, view []byte, base int, location string) Finding {
	f := Finding{Location: location, Form: sp.form, Confidence: sp.confidence, Start: base + sp.start, End: base + sp.end}
	if sp.rule == nil {
		f.Type, f.Rule, f.Description, f.action = TypeVault, sp.name, "A secret that the vault holds", s.vaultAction
		return f
	}
	f.Type, f.Rule, f.Description, f.action = sp.rule.Type, sp.rule.ID, sp.rule.Description, sp.rule.action
	if n := sp.end - sp.start; n >= 16 && n < maxWindow && sp.form == "" && f.Type != TypePrivateKey {
		public := sp.prefix
		if public > n/2 {
			public = 0
		}
		f.Preview = string(view[sp.start:sp.start+public]) + "…" + string(view[sp.end-2:sp.end])
	}
	return f
}
