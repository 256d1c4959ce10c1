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

// Matcher knows secrets that the scanner must not hold. places has a bit for each
// byte of p, 64 in a word, the lowest first: whether 8 or more token characters
// (letters, digits and _-.~+/=) begin there. Match calls yield for every span of p
// from p[from] on that has such characters and in which a known secret stands in
// clear, in base64 or in hexadecimal, in any order; spans may overlap. The scanner
// undoes all other forms. name is the rule under which the span is reported, such as
// "vault:openai". What it says of a span must depend on the bytes of that span alone;
// a span is at most [MaxForm] bytes long, and holds no space, quote, bracket or comma,
// since a stream is held back for no more.
//
// Match is called from many goroutines at once, and also with texts that the
// scanner has decoded. It must keep no reference to p and places.
type Matcher interface {
	Match(p []byte, places []uint64, from int, yield func(start, end int, name string))
}

// Exceptions knows the values that the operator lets pass, by keyed fingerprints,
// so that neither the scanner nor a log holds them. It is called from many
// goroutines at once, for what was found alone, and keeps no reference to value.
type Exceptions interface {
	// Fingerprint names value under the rule that found it.
	Fingerprint(rule string, value []byte) string
	// Exempt says whether what the fingerprint names passes now.
	Exempt(fingerprint string) bool
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
	// Exceptions lets single values pass, but none that a Matcher finds. Nil lets
	// none.
	Exceptions Exceptions
}

// Scanner looks for credentials. It is safe for concurrent use.
type Scanner struct {
	engine      *engine
	vaultAction Action
	exceptions  Exceptions
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
	maintained := Rules()
	for i, r := range append(maintained, c.Rules...) {
		compiled, err := compileRule(r, &e.sets)
		if err != nil {
			return nil, fmt.Errorf("adding rule %q: %w", r.ID, err)
		}
		if e.rules[r.ID] != nil {
			return nil, fmt.Errorf("adding rule %q: the id is taken", r.ID)
		}
		compiled.bare = i < len(maintained) && !hasLiteralWord([]byte(r.Pattern))
		e.rules[r.ID] = compiled
		all = append(all, compiled)
	}
	s := &Scanner{engine: e, exceptions: c.Exceptions}
	if err := s.setActions(c.Actions); err != nil {
		return nil, err
	}
	plain, quoted := valueSets()
	e.plain, e.quoted = e.sets.place(plain), e.sets.place(quoted)
	e.lanes = lanesOf(e.rules)
	e.prefixes, e.names = newPrefixes(all, e.sets), newNames(all)
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
	// Fingerprint names the value to those who hold the key of [Exceptions]. It is
	// empty without them, and for what a Matcher found.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Exempt says that the operator lets this value pass.
	Exempt bool `json:"exempt,omitempty"`
	// Start and End are byte offsets into what was scanned: the text, the header's
	// value, or the whole of a stream.
	Start int `json:"start"`
	End   int `json:"end"`

	action Action
}

// Blocks says whether a request that holds this must not be sent.
func (f Finding) Blocks() bool { return !f.Exempt && blocks(f.action, f.Confidence) }

// blocks says whether what is found is too grave to be sent, by the action that the
// operator has set or else by how sure it is.
func blocks(a Action, c Confidence) bool {
	if a != "" {
		return a == Block
	}
	return c == High
}

// Redacts says whether this is taken out of a response.
func (f Finding) Redacts() bool { return !f.Exempt && redacts(f.action, f.Confidence) }

func redacts(a Action, c Confidence) bool {
	if a != "" {
		return a == Block || a == Redact
	}
	return c == High || c == Medium
}

// Scan returns what it finds in p, in ascending order and without overlap; nil
// when nothing was found. The location is that of every finding.
func (s *Scanner) Scan(p []byte, location string) []Finding {
	if len(p) > pieceBytes {
		t := stream{scanner: s, sink: noSink{}, location: location}
		return t.all(p)
	}
	found := s.engine.search(p, 0, true, freeInflate+len(p)/inflateRate, notGrave)
	defer found.release()
	if len(found.spans) == 0 {
		return nil
	}
	list := make([]Finding, 0, len(found.spans))
	for i := range found.spans {
		sp := &found.spans[i]
		f := s.finding(sp, p, 0, location)
		f.Preview = sp.preview(p)
		list = append(list, f)
	}
	return list
}

// Sanitize returns p with every finding of high or medium confidence, or what
// the operator has redacted, replaced by [REDACTED:rule], and what it found. p is
// not changed; where there is nothing to replace, clean is p itself.
func (s *Scanner) Sanitize(p []byte) (clean []byte, findings []Finding) {
	if len(p) > pieceBytes {
		b := &replacing{}
		t := stream{scanner: s, sink: b, location: "text"}
		if findings = t.all(p); !b.replaced {
			return p, findings
		}
		return b.text, findings
	}
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

// replacing is a sink that keeps what a stream has decided on.
type replacing struct {
	text     []byte
	replaced bool
}

func (r *replacing) pass(p []byte) error {
	r.text = append(r.text, p...)
	return nil
}

func (r *replacing) replace(_ int, with string) error {
	r.text, r.replaced = append(r.text, with...), true
	return nil
}

func (f Finding) replacement() string { return replacement(f.Rule) }

func replacement(rule string) string { return "[REDACTED:" + rule + "]" }

// replacement is what takes the place of sp.
func (sp *span) replacement() string {
	if sp.rule == nil {
		return replacement(sp.name)
	}
	return sp.rule.replacement
}

// finding describes sp, a span of view, whose first byte is byte base of the
// whole.
func (s *Scanner) finding(sp *span, view []byte, base int, location string) Finding {
	f := Finding{Location: location, Form: sp.form, Confidence: sp.confidence, Start: base + sp.start, End: base + sp.end}
	if sp.rule == nil {
		f.Type, f.Rule, f.Description, f.action = TypeVault, sp.name, "A secret that the vault holds", s.vaultAction
		return f
	}
	f.Type, f.Rule, f.Description, f.action = sp.rule.Type, sp.rule.ID, sp.rule.Description, sp.rule.action
	if s.exceptions != nil && sp.open == closed && !sp.several {
		f.Fingerprint = s.exceptions.Fingerprint(f.Rule, sp.said(view))
		f.Exempt = s.exceptions.Exempt(f.Fingerprint)
	}
	return f
}

// preview shows of sp, a span of view, its public prefix and its last two bytes at
// most.
func (sp *span) preview(view []byte) string {
	n := sp.end - sp.start
	if sp.rule == nil || n < 16 || n >= maxWindow || sp.form != "" || sp.rule.Type == TypePrivateKey {
		return ""
	}
	public := sp.prefix
	if public > n/2 {
		public = 0
	}
	return string(view[sp.start:sp.start+public]) + "…" + string(view[sp.end-2:sp.end])
}
