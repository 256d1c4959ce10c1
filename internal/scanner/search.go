package scanner

import (
	"slices"
	"sync"
)

const (
	// MaxForm is the longest form of a secret, in bytes, that is found whole
	// whatever the input is cut into. A Matcher yields no longer span.
	MaxForm = 16 << 10
	// lookBehind is how many bytes left of a secret are looked at: its name, the
	// command line it stands in.
	lookBehind = 1 << 10
	maxDepth   = 2 // decodings on top of one another
)

// engine is the compiled form of the rules. It does not change.
type engine struct {
	rules    map[string]*compiledRule
	prefixes *prefixes
	names    *names
	sets     sets
	plain    int // the place of the set of a value's bytes
	quoted   int // and of those of one in quotes
	matchers []Matcher
	searches sync.Pool
	buffers  sync.Pool // of streams
}

// span is a secret in the view that is searched.
type span struct {
	start, end int
	rule       *compiledRule // nil for a match of a Matcher
	name       string        // the Matcher's name for it
	form       string
	confidence Confidence
	prefix     int  // bytes of it that are public
	open       open // it goes on past the end of what there is
}

// open says what a span goes on with that reaches the end of the input so far.
type open uint8

const (
	closed open = iota
	openRun
	openKey
)

// search is one pass over one view. It is a pure function of the view: what it
// says about a place depends on lookBehind bytes on its left and on the run of
// held characters that the place is in, so that a stream can be searched in
// pieces that begin lookBehind bytes early.
type search struct {
	engine  *engine
	p       []byte
	final   bool // nothing comes after p
	depth   int
	hold    int  // what starts here or later may still change; len(p) when nothing may
	pinned  bool // hold is where a secret's name or a key's first line puts it
	spans   []span
	reaches []reach // by set

	lastCurl, nextCurl int // where curl's name stands left and right of what is looked at; -1: nowhere yet
	yield              func(start, end int, name string)
	scratch            []byte
	origin             []int32 // of each byte of scratch, its place in p
	lowered            [nameReach]byte
	decoded            int // runs with escapes are decoded up to here
	sure               int // the end of the last span of high confidence
	surest             int // and its index
}

func (e *engine) take() *search {
	s, _ := e.searches.Get().(*search)
	if s == nil {
		s = &search{engine: e}
		s.yield = s.matched
	}
	return s
}

func (e *engine) search(p []byte, final bool) *search {
	s := e.take()
	s.reset(p, final, 0)
	s.run()
	return s
}

func (s *search) reset(p []byte, final bool, depth int) {
	s.p, s.final, s.depth, s.hold, s.pinned, s.spans = p, final, depth, len(p), false, s.spans[:0]
	s.decoded, s.sure, s.surest, s.lastCurl, s.nextCurl = 0, 0, 0, -1, -1
	s.forget()
}

// matches is the end of r's match at start, -1 where there is none.
func (s *search) matches(r *compiledRule, start int) int {
	limit := min(start+r.window, len(s.p))
	if r.ways != nil {
		return s.match(r.ways, start, limit)
	}
	if loc := r.expr.FindIndex(s.p[start:limit]); loc != nil {
		return start + loc[1]
	}
	return -1
}

// release gives the search back. Its spans are not valid any more.
func (s *search) release() {
	s.p = nil
	clear(s.scratch[:cap(s.scratch)])
	if cap(s.scratch) > 4*MaxForm {
		s.scratch, s.origin = nil, nil
	}
	if cap(s.spans) > maxFindings {
		s.spans = nil
	}
	s.engine.searches.Put(s)
}

func (s *search) run() {
	s.sweep()
	s.keys()
	for _, m := range s.engine.matchers {
		m.Match(s.p, s.yield)
	}
	if !s.final {
		s.pinned = s.hold < len(s.p)
		s.hold = min(s.hold, s.tail())
		s.spans = slices.DeleteFunc(s.spans, func(sp span) bool { return sp.start >= s.hold && sp.open == closed })
	}
	if len(s.spans) > 1 {
		s.spans = resolve(s.spans)
	}
}

// tail is where the unfinished run at the end of p begins, MaxForm bytes from
// the end at most.
func (s *search) tail() int {
	i, least := len(s.p), max(0, len(s.p)-MaxForm)
	for i > least && heldClass[s.p[i-1]] {
		i--
	}
	return i
}

// matched takes a span from a Matcher.
func (s *search) matched(start, end int, name string) {
	if start < 0 || end > len(s.p) || start >= end {
		return
	}
	s.spans = append(s.spans, span{start: start, end: end, name: name, confidence: High})
}

func (s *search) found(sp span) {
	if sp.rule.action != Allow {
		s.spans = append(s.spans, sp)
	}
}

func (s *search) startAt(q int) {
	if q+1 >= len(s.p) {
		return
	}
	for _, l := range s.engine.prefixes.starts.at(s.p[q], s.p[q+1]) {
		s.candidate(l, q)
	}
}

// candidate confirms what a literal at q may be the beginning of.
func (s *search) candidate(l *literal, q int) {
	if q < 0 || len(s.p)-q < len(l.text) || string(s.p[q:q+len(l.text)]) != l.text {
		return
	}
	edge := l.strong || s.edge(q) && !(len(l.text) <= 3 && q > 0 && s.p[q-1] == '-')
	for _, r := range l.rules {
		if edge || r.Back > 0 {
			s.confirm(l, r, q)
		}
	}
}

// edge says whether a token can start at q: no letter or digit stands before it,
// unless that belongs to an escape.
func (s *search) edge(q int) bool {
	if q == 0 || !isAlnum(s.p[q-1]) && s.p[q-1] != '_' {
		return true
	}
	if q >= 2 && s.p[q-2] == '\\' {
		return true
	}
	return q >= 3 && s.p[q-3] == '%' && isHex(s.p[q-1]) && isHex(s.p[q-2])
}

func (s *search) confirm(l *literal, r *compiledRule, q int) {
	start := q - r.Back
	if start < 0 {
		return
	}
	whole := s.matches(r, start)
	if whole < 0 {
		return
	}
	end := whole
	var goesOn open
	if whole-start == maxWindow {
		end, goesOn = s.extend(end)
	} else if !l.strong && s.inside(end) {
		return
	}
	if start < s.sure && goesOn == closed { // it only lengthens what is found
		last := &s.spans[s.surest]
		last.end = max(last.end, end)
		s.sure = last.end
		return
	}
	secret := s.p[start:whole]
	if r.ID == ruleJWT && !webHeader(secret) {
		return
	}
	if published(secret) {
		return
	}
	c := r.Confidence
	if r.Entropy > 0 && entropy(secret) < r.Entropy || placeholder(secret) {
		c = Low
	}
	if r.ID == ruleJWT {
		if r, c = s.webToken(secret, start); r == nil {
			return
		}
	}
	if c == High && r.action == "" {
		s.sure, s.surest = end, len(s.spans)
	}
	public := len(l.text)
	if r.Back > 0 {
		public = 0
	}
	s.found(span{start: start, end: end, rule: r, confidence: c, prefix: public, open: goesOn})
}

// inside says whether the token goes on at end, so that it is none of this form.
func (s *search) inside(end int) bool {
	if end >= len(s.p) {
		return false
	}
	c := s.p[end]
	return isAlnum(c) || c == '_' || c == '-'
}

// extend takes a token that is longer than any window to the end of its run.
func (s *search) extend(end int) (int, open) {
	for end < len(s.p) && goesOnRun(s.p[end]) {
		end++
	}
	if end == len(s.p) && !s.final {
		return end, openRun
	}
	return end, closed
}

func goesOnRun(c byte) bool { return runClass[c] != classNone }

// resolve puts spans in order and makes one of those that overlap, named by the
// weightiest of them.
func resolve(spans []span) []span {
	slices.SortStableFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	out := spans[:1]
	for _, sp := range spans[1:] {
		last := &out[len(out)-1]
		if sp.start >= last.end {
			out = append(out, sp)
			continue
		}
		switch {
		case sp.hint() && !last.hint(): // it adds nothing
		case !sp.hint() && last.hint():
			*last = sp
		default:
			merged := *last
			if sp.weight() > last.weight() {
				merged = sp.from(last.start)
			}
			merged.end, merged.open = max(last.end, sp.end), max(last.open, sp.open)
			*last = merged
		}
	}
	return out
}

// from is sp with another start. What stands there is not its public prefix.
func (sp span) from(start int) span {
	if start != sp.start {
		sp.start, sp.prefix = start, 0
	}
	return sp
}

// acts says whether the operator has it replaced, however doubtful it is.
func (sp span) acts() bool {
	return sp.rule != nil && (sp.rule.action == Block || sp.rule.action == Redact)
}

// hint says whether sp is nothing more.
func (sp span) hint() bool { return sp.confidence == Low && !sp.acts() }

// weight ranks what overlaps: a vault's own value, then what the operator has
// blocked, then by confidence and what the operator has redacted, and the rule
// that says more than that something is random.
func (sp span) weight() (w int) {
	if sp.rule == nil {
		return 32
	}
	switch sp.confidence {
	case High:
		w = 8
	case Medium:
		w = 4
	}
	switch {
	case sp.rule.action == Block:
		w += 12
	case sp.rule.action == Redact && sp.confidence != High: // which might block by itself
		w += 3
	}
	if sp.rule.Type != TypeEntropy {
		w += 2
	}
	return w
}
