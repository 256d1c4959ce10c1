package scanner

import "slices"

const (
	pieceBytes = 64 << 10 // searched at once
	largePiece = 8 << 10  // from which on a buffer is borrowed
	longWord   = 8        // token characters that are held back while they may go on
)

const maxFindings = 1000

// findings are those of one input: the first maxFindings, and each later one that
// is graver than all before it, so that an input full of secrets fills no memory
// and is judged as all of them would have it.
type findings struct {
	list    []Finding
	gravest int
	left    bool // the last one was left out
}

func (l *findings) add(f Finding) {
	gravity := 0
	switch {
	case f.Blocks():
		gravity = 2
	case f.Redacts():
		gravity = 1
	}
	if l.left = len(l.list) >= maxFindings && gravity <= l.gravest; l.left {
		return
	}
	l.gravest = max(l.gravest, gravity)
	l.list = append(l.list, f)
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
	dropping open    // what is being dropped
	dropFrom int     // where that began, in the whole
	onlyTail bool    // nothing but the run at the end of buf is undecided
	named    bool    // a name says that what is undecided is secret
}

func (t *stream) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), pieceBytes)
		if err := t.add(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
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
	if t.onlyTail && t.settled < len(t.buf)-len(p) && len(t.buf)-t.settled < 2*MaxForm && allHeld(p) {
		return nil
	}
	return t.advance(false)
}

func allHeld(p []byte) bool {
	for _, c := range p {
		if !heldClass[c] {
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
	found := t.scanner.engine.search(t.buf, final)
	defer found.release()
	for _, sp := range found.spans {
		if sp.end <= t.settled {
			continue
		}
		sp = sp.from(max(sp.start, t.settled))
		if err := t.take(sp); err != nil {
			return err
		}
		if sp.open != closed && t.settled == len(t.buf) {
			t.dropping, t.dropFrom = sp.open, t.base+sp.start
			t.trim()
			return nil
		}
	}
	t.onlyTail, t.named = found.hold == found.tail(), found.pinned
	if err := t.pass(found.hold); err != nil {
		return err
	}
	t.trim()
	return nil
}

// take records a finding and replaces it where it has to be.
func (t *stream) take(sp span) error {
	f := t.scanner.finding(sp, t.buf, t.base, t.location)
	if t.form != "" && f.Form == "" {
		f.Form = t.form
	}
	t.found.add(f)
	if !f.Redacts() {
		return nil
	}
	if err := t.pass(sp.start); err != nil {
		return err
	}
	t.settled = sp.end
	return t.sink.replace(sp.end-sp.start, f.replacement())
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
	if t.dropping != closed || t.named || !t.onlyTail || t.settled == len(t.buf) || !t.scanner.engine.ordinary(t.buf) {
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
// is no long word, or a word that a full stop has ended, begins no public prefix
// and holds no escape.
func (e *engine) ordinary(p []byte) bool {
	b := len(p)
	for b > 0 && len(p)-b <= MaxForm && heldClass[p[b-1]] {
		b--
	}
	if b > 0 && p[b-1] == ' ' && (followsWord(p[:b-1], "bearer") || followsWord(p[:b-1], "basic")) {
		return false
	}
	run := p[b:]
	for i := range run {
		if (i == 0 || !isAlnum(run[i-1]) || i > 1 && run[i-2] == '\\') && e.prefixes.begun(run[i:]) {
			return false
		}
		if run[i] == '\\' && (i+1 == len(run) || run[i+1] == 'u' || run[i+1] == 'x') || run[i] == '%' && i+1 < len(run) && isHex(run[i+1]) {
			return false
		}
	}
	if len(run) < longWord {
		return true
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
	return true
}

func isStop(c byte) bool { return c == '.' || c == ':' || c == ';' || c == '!' || c == '?' }
