package scanner

import (
	"bytes"
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
	rules     map[string]*compiledRule
	lanes     lanes
	prefixes  *prefixes
	names     *names
	sets      sets
	plain     int // the place of the set of a value's bytes
	quoted    int // and of those of one in quotes
	matchers  []Matcher
	searches  sync.Pool
	buffers   sync.Pool // of streams
	inflaters sync.Pool
}

// span is a secret in the view that is searched.
type span struct {
	start, end int
	rule       *compiledRule // nil for a match of a Matcher
	name       string        // the Matcher's name for it
	form       string
	value      []byte // the secret itself where it does not stand in clear
	confidence Confidence
	several    bool // it stands for secrets of which no one holds the others
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
	from    int  // what ends before it has been decided on
	run0    int  // where the run begins that goes through from
	final   bool // nothing comes after p
	depth   int
	hold    int  // what starts here or later may still change; len(p) when nothing may
	tail    int  // where the unfinished run at the end of p begins
	pinned  bool // hold is where a secret's name or a key's first line puts it
	brief   bool // hold is where a short piece puts it that may be the first of several
	spans   []span
	reaches []reach // by set
	text    uint    // counts the texts that were searched

	near      nearby // what is known of the text left of a place
	yield     func(start, end int, name string)
	blocks    []block
	places    []uint64 // where eight or more token characters begin
	view      view
	inner     *search // of views
	lowered   [nameReach]byte
	byName    []namedRule // the rules that go by the name that was looked at last
	decoded   int         // runs with escapes are decoded up to here
	widened   int         // and UTF-16
	joined    *view       // the pieces that p was put together from; nil: it was not
	joinedTo  int         // pieces are put together up to here
	chainedTo int         // and those that operators stand between
	doubtful  bool        // the pieces are of lines that look like text
	budget    int         // bytes that may still be inflated
	hinted    bool        // there are hints enough
	calm      bool        // what does not block by itself need not be judged
	claims    []claim
	sure      int // the end of the last span of high confidence
	surest    int // and its index
	vague     int // the end of the last hint
}

func (e *engine) take() *search {
	s, _ := e.searches.Get().(*search)
	if s == nil {
		s = &search{engine: e}
		s.yield = s.matched
	}
	return s
}

// search looks for secrets in p that end behind from, and inflates no more than
// budget bytes of it. It may leave out what is no graver than enough.
func (e *engine) search(p []byte, from int, final bool, budget, enough int) *search {
	s := e.take()
	s.reset(p, final, 0)
	s.from, s.run0, s.budget = from, heldTail(p[:from]), budget
	s.hinted, s.calm = enough >= graveHint, enough >= graveDoubt && e.lanes.mild()
	s.run()
	return s
}

func (s *search) reset(p []byte, final bool, depth int) {
	s.from, s.run0 = 0, 0
	s.p, s.final, s.depth, s.hold, s.tail, s.pinned, s.spans = p, final, depth, len(p), len(p), false, s.spans[:0]
	s.decoded, s.widened, s.joined, s.joinedTo, s.chainedTo, s.brief, s.doubtful = 0, 0, nil, 0, 0, false, false
	s.sure, s.surest, s.vague = 0, 0, 0
	s.hinted, s.calm, s.claims = false, false, s.claims[:0]
	s.near.reset()
	s.forget()
	s.blocks = tokenClasses.blocks(s.blocks, p)
}

// matches is the end of r's match at start, by ways if it has any, -1 where there is
// none.
func (s *search) matches(r *compiledRule, ways []linear, start int) int {
	limit := min(start+r.window, len(s.p))
	if r.ways != nil {
		return s.match(ways, start, limit)
	}
	if loc := r.expr.FindIndex(s.p[start:limit]); loc != nil {
		return start + loc[1]
	}
	return -1
}

// release gives the search back. Its spans are not valid any more.
func (s *search) release() {
	s.p = nil
	s.view.forget()
	if s.inner != nil {
		s.inner.release()
		s.inner = nil
	}
	if cap(s.blocks) > 4*pieceBytes/blockBytes {
		s.blocks, s.places = nil, nil
	}
	if cap(s.spans) > 8*maxFindings {
		s.spans = nil
	}
	if cap(s.claims) > 8*maxFindings {
		s.claims = nil
	}
	s.engine.searches.Put(s)
}

func (s *search) run() {
	s.sweep()
	s.settle()
	if !s.final {
		s.begunKey()
		s.pinned = s.hold < len(s.p)
		s.tail = heldTail(s.p)
		s.hold = min(s.hold, s.tail)
		s.begunJoint()
		certain := max(s.hold, s.firstOpen()) // an open span is taken at once, and all that is left of it
		s.spans = slices.DeleteFunc(s.spans, func(sp span) bool { return sp.start >= certain && sp.open == closed })
	}
	s.spans = slices.DeleteFunc(s.spans, func(sp span) bool { return sp.start < s.from && sp.hint() }) // it was decided on
	if len(s.spans) > 1 {
		s.spans = resolve(s.p, s.spans)
	}
}

// firstOpen is where the first span starts that goes on past the end, 0 where none
// does.
func (s *search) firstOpen() int {
	first := 0
	for i := range s.spans {
		if sp := &s.spans[i]; sp.open != closed && (first == 0 || sp.start < first) {
			first = sp.start
		}
	}
	return first
}

// matched takes a span from a Matcher.
func (s *search) matched(start, end int, name string) {
	if start < 0 || end > len(s.p) || start >= end {
		return
	}
	s.spans = append(s.spans, span{start: start, end: end, name: name, confidence: High})
}

func (s *search) found(sp span) {
	if sp.rule.action != Allow && !(s.hinted && sp.hint()) {
		s.spans = append(s.spans, sp)
	}
}

func (s *search) startAt(q int) {
	if q+1 >= len(s.p) {
		return
	}
	if s.p[q] == 'B' && q >= len(keyDashes) {
		s.armour(q - len(keyDashes))
	}
	if s.p[q] == packedMark[0] && bytes.HasPrefix(s.p[q:], packedMark) {
		s.packed(q)
	}
	if starts := s.engine.prefixes.starts; starts.has(s.p[q], s.p[q+1]) {
		for _, l := range starts.at(s.p[q:]) {
			s.candidate(l, q)
		}
	}
}

// candidate confirms what a literal at q may be the beginning of.
func (s *search) candidate(l *literal, q int) {
	if q < 0 || len(s.p)-q < len(l.text) || s.p[q] != l.text[0] || string(s.p[q:q+len(l.text)]) != l.text {
		return
	}
	edge := l.strong || s.edge(q) && !(len(l.text) <= 3 && q > 0 && s.p[q-1] == '-')
	again := bytes.HasPrefix(s.p[q+len(l.text):], s.p[q:q+len(l.text)])
	for i, r := range l.rules {
		switch {
		case r.Back > 0:
			s.confirm(l, i, q, true)
		case again: // a prefix that is repeated begins a secret where it stands last
		case edge || l.odd || r.summed:
			s.confirm(l, i, q, edge)
		}
	}
}

// edge says whether a token can start at q: no letter or digit stands before it,
// unless that belongs to an escape.
func (s *search) edge(q int) bool {
	if q == 0 || s.seam(q) || !isAlnum(s.p[q-1]) && s.p[q-1] != '_' {
		return true
	}
	if q >= 2 && s.p[q-2] == '\\' {
		return true
	}
	return q >= 3 && s.p[q-3] == '%' && isHex(s.p[q-1]) && isHex(s.p[q-2])
}

// confirm looks for a secret of the ith rule of l, which is at q. Where none begins
// there by what stands before it, it must be one that may be glued to that.
func (s *search) confirm(l *literal, i, q int, edge bool) {
	r := l.rules[i]
	start := q - r.Back
	if start < 0 {
		return
	}
	whole := s.matches(r, l.ways[i], start)
	if whole < 0 {
		return
	}
	end := whole
	var goesOn open
	if whole-start == maxWindow {
		end, goesOn = s.extend(end)
	}
	if (!edge || !l.strong && whole-start < maxWindow && s.inside(end)) && !s.glued(l, r, start, end) {
		return
	}
	if start < s.sure && goesOn == closed { // it only lengthens what is found
		last := &s.spans[s.surest]
		last.end = max(last.end, end)
		if start < last.start { // what seemed glued to it is its own
			last.start, last.prefix = start, 0
		}
		s.sure = last.end
		return
	}
	secret := s.p[start:whole]
	if r == s.engine.lanes.jwt && !webHeader(secret) {
		return
	}
	c := r.Confidence
	if (s.poor(r, start, whole) || placeholder(secret) || s.byChance(l, start, end)) && !r.vouched(secret, len(l.text)) {
		c = Low
	}
	if r == s.engine.lanes.jwt {
		if r, c = s.webToken(secret, start); r == nil {
			return
		}
	}
	public := len(l.text)
	if r.Back > 0 {
		public = 0
	}
	sp := span{start: start, end: end, rule: r, confidence: c, prefix: public, open: goesOn}
	if sp.hint() {
		sp.end, sp.open = whole, closed
	}
	if sp.hint() && s.hinted || !(sp.hint() && start < s.vague) && published(secret) { // a hint in a hint is none more
		return
	}
	switch {
	case sp.hint():
		s.vague = end
	case c == High && r.action == "":
		s.sure, s.surest = end, len(s.spans)
	}
	s.found(sp)
}

// poor says whether the secret [start, end) has less entropy than r asks for.
func (s *search) poor(r *compiledRule, start, end int) bool {
	if r.Entropy == 0 {
		return false
	}
	return s.near.spread.entropy(s.p, start, min(end, start+entropyBytes)) < r.Entropy
}

// seam says whether another piece begins at q, of those that p was put together from.
func (s *search) seam(q int) bool {
	return s.joined != nil && s.joined.starts[q] != s.joined.ends[q-1]
}

// inside says whether the token goes on at end, so that it is none of this form.
func (s *search) inside(end int) bool {
	if end >= len(s.p) || s.seam(end) {
		return false
	}
	return goesOnToken(s.p[end])
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

// resolve puts the spans of p in order and makes one of those that overlap, named by the
// weightiest of them. A hint that overlaps another finding is left out.
func resolve(p []byte, spans []span) []span {
	if !ascending(spans) {
		slices.SortStableFunc(spans, func(a, b span) int {
			if a.start != b.start {
				return a.start - b.start
			}
			if a.end != b.end {
				return b.end - a.end
			}
			return len(a.form) - len(b.form) // in clear first
		})
	}
	out := spans[:1]
	for i := range spans[1:] {
		last, next := &out[len(out)-1], &spans[i+1]
		if next.start >= last.end {
			out = append(out, *next)
			continue
		}
		sp := *next
		switch {
		case sp.hint(): // it adds nothing
		case last.hint():
			*last = sp
		default:
			merged := *last
			if sp.weight() > last.weight() {
				merged = sp.from(last.start)
			}
			merged.value, merged.several = bothValues(p, *last, sp)
			merged.end, merged.open = max(last.end, sp.end), max(last.open, sp.open)
			*last = merged
		}
	}
	return out
}

// ascending says whether each of spans starts behind the start of the one before.
func ascending(spans []span) bool {
	for i := 1; i < len(spans); i++ {
		if spans[i].start <= spans[i-1].start {
			return false
		}
	}
	return true
}

// bothValues is what the secret is that is made of two spans of p, and whether that is
// more than one value says. What stands in clear is its own value; nil: so is the two's.
func bothValues(p []byte, a, b span) (value []byte, several bool) {
	several = a.several || b.several
	if a.value == nil && b.value == nil {
		return nil, several
	}
	own, other := a.said(p), b.said(p)
	switch {
	case bytes.Contains(own, other):
		return bytes.Clone(own), several
	case bytes.Contains(other, own):
		return bytes.Clone(other), several
	}
	return a.value, true
}

// said is what a span of p says.
func (sp *span) said(p []byte) []byte {
	if sp.value == nil {
		return p[sp.start:sp.end]
	}
	return sp.value
}

// from is sp with another start. What stands there is not its public prefix.
func (sp span) from(start int) span {
	if start != sp.start {
		sp.start, sp.prefix = start, 0
	}
	return sp
}

// acts says whether the operator has it replaced, however doubtful it is.
func (sp *span) acts() bool {
	return sp.rule != nil && (sp.rule.action == Block || sp.rule.action == Redact)
}

// hint says whether sp is nothing more.
func (sp *span) hint() bool { return sp.confidence == Low && !sp.acts() }

// weight ranks what overlaps: a vault's own value, then what the operator has
// blocked, then by confidence and what the operator has redacted, and the rule
// that says more than that something is random.
func (sp *span) weight() (w int) {
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
