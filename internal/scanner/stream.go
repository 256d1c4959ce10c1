package scanner

import "slices"

const (
	pieceBytes = 64 << 10 // searched at once
	largePiece = 8 << 10  // from which on a buffer is borrowed
	longWord   = 8        // token characters that are held back while they may go on
)

const (
	maxFindings = 1000
	fewFindings = 32
)

// findings are those of one input: the first maxFindings, and each later one that
// is graver than all before it, so that an input full of secrets fills no memory
// and is judged as all of them would have it.
type findings struct {
	list    []Finding
	gravest int
	left    bool // the last one was left out
}

// add says whether f was kept.
func (l *findings) add(f *Finding) bool {
	gravity := f.gravity()
	if l.left = len(l.list) >= maxFindings && gravity <= l.gravest; l.left {
		return false
	}
	l.gravest = max(l.gravest, gravity)
	if len(l.list) == fewFindings { // more are likely to follow
		l.list = slices.Grow(l.list, maxFindings-fewFindings)
	}
	l.list = append(l.list, *f)
	return true
}

// settled says whether none that comes later can be added.
func (l *findings) settled() bool { return len(l.list) >= maxFindings && l.gravest == graveBlock }

// gravity ranks findings: first what blocks, then what would if the operator did
// not let it pass, then what is taken out or would be.
func (f *Finding) gravity() int {
	switch {
	case !redacts(f.action, f.Confidence):
		return graveHint
	case !blocks(f.action, f.Confidence):
		return graveDoubt
	case f.Exempt:
		return graveExempt
	}
	return graveBlock
}

// The gravities of findings.
const (
	notGrave = iota - 1 // none is
	graveHint
	graveDoubt
	graveExempt
	graveBlock
)

// Gravest returns at most n of the findings: of each gravity in their order, the
// gravest first. What an exception lets pass comes right after what blocks.
func Gravest(fs []Finding, n int) []Finding {
	if len(fs) <= n {
		return fs
	}
	fs = slices.Clone(fs)
	slices.SortStableFunc(fs, func(a, b Finding) int { return b.gravity() - a.gravity() })
	return fs[:n]
}

// lengthen sets the end of the last one.
func (l *findings) lengthen(end int) {
	if !l.left {
		l.list[len(l.list)-1].End = end
	}
}

// sink takes what a stream has decided on, in order and without a gap.
type sink interface {
	pass(p []byte) error              // p goes on as it is
	replace(n int, with string) error // n bytes give way to with
}

// stream searches what is written to it as one text, whatever it is cut into.
//
// What it has not decided on is at most the run of held characters at the end,
// MaxForm bytes of it at most, or the unfinished value of a name that says secret,
// or the beginning of a private key. A run that is longer is decided on as it
// grows, MaxForm bytes behind its end: every form of a secret is shorter than
// that. A secret that is longer than the window of its rule, or a private key, is
// replaced as soon as it is known, and the rest of it is dropped as it comes in.
type stream struct {
	scanner  *Scanner
	sink     sink
	location string
	form     string
	found    findings

	lent     *[]byte // what buf was borrowed from, if it was
	buf      []byte  // lookBehind bytes that are decided on, then those that are not
	settled  int     // bytes of buf that are decided on
	base     int     // offset of buf[0] in the whole
	taken    int     // bytes that were written
	inflated int     // bytes that packed parts of them held
	dropping open    // what is being dropped
	dropFrom int     // where that began, in the whole
	onlyTail bool    // nothing but the run at the end of buf is undecided
	hinted   bool    // and a hint that ends in it
	named    bool    // a name says that what is undecided is secret
	brief    bool    // it is a short piece that another one may follow
}

func (t *stream) write(p []byte) error {
	for len(p) > 0 && !t.judged() {
		n := min(len(p), pieceBytes)
		if err := t.add(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// enough is how grave a finding may be to change nothing any more.
func (t *stream) enough() int {
	switch _, idle := t.sink.(noSink); {
	case len(t.found.list) < maxFindings:
		return notGrave
	case idle:
		return t.found.gravest
	}
	return graveHint
}

// judged says whether what is yet to come changes nothing: it is only searched, and
// no finding in it would be kept.
func (t *stream) judged() bool {
	_, idle := t.sink.(noSink)
	return idle && t.dropping == closed && t.found.settled()
}

// all searches the whole of p, for a sink that does not fail.
func (t *stream) all(p []byte) []Finding {
	if t.write(p) != nil || t.close() != nil {
		return nil
	}
	return t.found.list
}

// borrow gives the stream a buffer that it need not grow. Streams whose first
// piece is large come and go fast.
func (t *stream) borrow() {
	t.lent, _ = t.scanner.engine.buffers.Get().(*[]byte)
	if t.lent == nil {
		b := make([]byte, 0, pieceBytes+lookBehind+2*MaxForm)
		t.lent = &b
	}
	t.buf = (*t.lent)[:0]
}

// giveBack ends the use of a borrowed buffer, and leaves nothing in it.
func (t *stream) giveBack() {
	if t.lent == nil {
		return
	}
	clear((*t.lent)[:cap(*t.lent)])
	t.scanner.engine.buffers.Put(t.lent)
	t.base += t.settled
	t.lent, t.buf, t.settled = nil, nil, 0
}

// add takes a piece. One that only lengthens an undecided run waits for more.
func (t *stream) add(p []byte) error {
	if t.buf == nil && len(p) >= largePiece {
		t.borrow()
	}
	t.buf = append(t.buf, p...)
	t.taken += len(p)
	if (t.onlyTail || t.brief) && t.settled < len(t.buf)-len(p) && len(t.buf)-t.settled < 2*MaxForm && allHeld(p) {
		return nil
	}
	return t.advance(false)
}

// allHeld says whether p holds nothing that ends a run. It may begin and end within a
// character.
func allHeld(p []byte) bool {
	for i := 0; i < len(p); {
		switch n := heldAt(p[i:]); {
		case n > 0:
			i += n
		case p[i] >= 0x80 && p[i] < 0xc0 && i < 2, i+begunRune(p) == len(p) && i > 0:
			i++
		default:
			return false
		}
	}
	return true
}

// advance decides on as much as can be decided.
func (t *stream) advance(final bool) error {
	if err := t.drop(final); err != nil || t.dropping != closed {
		return err
	}
	return t.decide(final)
}

// decide searches buf and hands on what is certain.
func (t *stream) decide(final bool) error {
	budget := freeInflate + t.taken/inflateRate - t.inflated
	found := t.scanner.engine.search(t.buf, t.settled, final, budget, t.enough())
	defer found.release()
	if final || found.hold > t.settled { // else all that was inflated will be again
		t.inflated += budget - found.budget
	}
	hold := found.hold
	for i := range found.spans {
		sp := &found.spans[i]
		if sp.end <= t.settled {
			continue
		}
		if sp.start < t.settled {
			*sp = sp.from(t.settled)
		}
		if sp.end > hold && sp.end-sp.start <= MaxForm && sp.open == closed && !t.scanner.finding(sp, t.buf, t.base, t.location).Redacts() {
			hold = min(hold, sp.start) // it stays, and is looked at again when all of it is certain
			continue
		}
		if err := t.take(sp); err != nil {
			return err
		}
		if sp.open != closed && t.settled == len(t.buf) {
			t.dropping, t.dropFrom = sp.open, t.base+sp.start
			t.trim()
			return nil
		}
	}
	t.onlyTail, t.named, t.brief, t.hinted = found.hold == found.tail, found.pinned, found.brief, hold < found.hold
	if err := t.pass(hold); err != nil {
		return err
	}
	t.trim()
	return nil
}

// take records a finding and replaces it where it has to be.
func (t *stream) take(sp *span) error {
	f := t.scanner.finding(sp, t.buf, t.base, t.location)
	if t.form != "" && f.Form == "" {
		f.Form = t.form
	}
	if t.found.add(&f) {
		t.found.list[len(t.found.list)-1].Preview = sp.preview(t.buf)
	}
	if !f.Redacts() {
		return nil
	}
	if err := t.pass(sp.start); err != nil {
		return err
	}
	t.settled = sp.end
	return t.sink.replace(sp.end-sp.start, sp.replacement())
}

func (t *stream) pass(to int) error {
	if to <= t.settled {
		return nil
	}
	p := t.buf[t.settled:to]
	t.settled = to
	return t.sink.pass(p)
}

// drop takes away what belongs to a secret that is replaced already.
func (t *stream) drop(final bool) error {
	if t.dropping == closed {
		return nil
	}
	from := t.settled
	end, done := from, false
	switch t.dropping {
	case openRun:
		for end < len(t.buf) && goesOnRun(t.buf[end]) {
			end++
		}
		done = end < len(t.buf)
	case openKey:
		// The end marker may have begun before what is undecided.
		end, done = keyBody(t.buf, max(0, from-keyCarry, t.dropFrom-t.base))
		end = max(end, from)
	}
	if done || final {
		t.dropping = closed
	}
	t.settled = end
	t.found.lengthen(t.base + end)
	if err := t.sink.replace(end-from, ""); err != nil {
		return err
	}
	t.trim()
	return nil
}

// trim forgets what is too far left to matter.
func (t *stream) trim() {
	if cut := t.settled - lookBehind; cut > 0 {
		t.buf = slices.Delete(t.buf, 0, cut)
		t.base += cut
		t.settled -= cut
	}
}

// flush hands on what is undecided if it reads as ordinary text.
func (t *stream) flush() error {
	if t.dropping != closed || t.named || t.hinted || !t.onlyTail && !t.brief || t.settled == len(t.buf) || !t.scanner.engine.ordinary(t.buf) {
		return nil
	}
	return t.pass(len(t.buf))
}

func (t *stream) close() error {
	err := t.advance(true)
	t.giveBack()
	return err
}

// ordinary says whether the run at the end of p may go although it may go on: it
// is no long word, or one that reads as words do and that a full stop has ended,
// begins no public prefix and holds no escape.
func (e *engine) ordinary(p []byte) bool {
	b := heldTail(p)
	if b > 0 && p[b-1] == ' ' && (followsWord(p[:b-1], "bearer") || followsWord(p[:b-1], "basic")) {
		return false
	}
	run := narrow(p[b:])
	for i := range run {
		if (i == 0 || !isAlnum(run[i-1]) || i > 1 && run[i-2] == '\\') && e.prefixes.begun(run[i:]) {
			return false
		}
		if run[i] == '\\' && (i+1 == len(run) || run[i+1] == 'u' || run[i+1] == 'x') || run[i] == '%' && i+1 < len(run) && isHex(run[i+1]) {
			return false
		}
	}
	if len(run) < longWord {
		return !e.prefixes.within(run)
	}
	word := run
	for len(word) > 0 && isStop(word[len(word)-1]) {
		word = word[:len(word)-1]
	}
	if len(word) == len(run) {
		return false
	}
	for _, c := range word {
		if !isLetter(c) {
			return false
		}
	}
	return !gibberish(word) && !mixedCase(word)
}

// mixedCase says whether capitals follow on small letters in word more than once.
func mixedCase(word []byte) bool {
	n := 0
	for i := 1; i < len(word); i++ {
		if isLower(word[i-1]) && !isLower(word[i]) {
			n++
		}
	}
	return n >= 2
}

func isStop(c byte) bool { return c == '.' || c == ':' || c == ';' || c == '!' || c == '?' }
