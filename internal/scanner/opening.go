package scanner

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

const (
	maxOpening   = 256     // bytes that may tell what a stream is
	maxFirstLine = 4 << 10 // and of a first line that may be the first of many
)

// opening is the beginning of a stream whose content type leaves open whether it
// is one of events: a JSON array may be a model's answer by pieces, and servers
// that name no type for their events have them sent as plain text.
type opening struct {
	guesses []guess
	text    textFlow
	events  func(framer) *eventStream
	held    []byte
}

// guess is a way to frame events, and how streams of it begin.
type guess struct {
	like   func(p []byte) (is, sure bool) // sure is final: more of the stream changes nothing
	most   int                            // bytes that like may see
	firm   bool                           // what begins so is no text, however it goes on
	frames func() framer
}

var (
	arrayGuess = guess{arrayOpening, maxOpening, true, func() framer { return &arrayFrames{} }}
	codedGuess = guess{lineOpening, maxOpening, true, func() framer { return lineFrames{coded: true} }}
	fieldGuess = guess{fieldOpening, maxOpening, false, func() framer { return &fieldFrames{} }}
	linesGuess = guess{objectOpening, maxFirstLine, false, func() framer { return objectFrames{} }}

	jsonGuesses  = []guess{arrayGuess, {soleOpening, maxFirstLine, false, linesGuess.frames}}
	plainGuesses = []guess{codedGuess, fieldGuess, linesGuess}
	otherGuesses = []guess{fieldGuess, linesGuess}
)

// choose takes more of the stream. It returns the flow and what that has to take,
// or no flow while the beginning is ambiguous.
func (o *opening) choose(p []byte, final bool) ([]byte, flow) {
	if len(o.held) > 0 {
		p = append(o.held, p...)
	}
	open := false
	for _, g := range o.guesses {
		is, sure := g.like(p[:min(len(p), g.most)])
		if is && sure {
			o.held = nil
			return p, o.flow(g)
		}
		open = open || !sure && len(p) < g.most
	}
	if open && !final {
		o.held = append(o.held[:0:0], p...)
		return nil, nil
	}
	o.held = nil
	return p, o.text
}

func (o *opening) flow(g guess) flow {
	events := o.events(g.frames())
	if g.firm {
		return events
	}
	return &guessFlow{events: events, text: o.text}
}

// errStray is for a stream that goes on as no stream of its kind does.
var errStray = errors.New("no event of the stream")

// stray is the end of what is no event.
const stray = -2

// guessFlow is a stream that begins as one of events. From the first event that is
// none, or is too long, all of it is one text.
type guessFlow struct {
	events *eventStream
	text   textFlow
	taken  int  // bytes that were written to events
	failed bool // the rest is text
}

func (g *guessFlow) write(p []byte) error {
	if g.failed {
		return g.text.write(p)
	}
	g.taken += len(p)
	err := g.events.write(p)
	if !errors.Is(err, errStray) && !errors.Is(err, ErrEventTooLong) {
		return err
	}
	rest := g.events.partial
	g.events.partial = nil
	if err := g.events.close(); err != nil {
		return err
	}
	g.failed = true
	g.text.base, g.text.found = g.taken-len(rest), g.events.found
	return g.text.write(rest)
}

func (g *guessFlow) flush() error { return g.current().flush() }

func (g *guessFlow) close() error { return g.current().close() }

func (g *guessFlow) findings() []Finding { return g.current().findings() }

func (g *guessFlow) current() flow {
	if g.failed {
		return g.text
	}
	return g.events
}

// answerMembers are what the elements of an array begin with that is a model's
// answer by pieces.
var answerMembers = []string{"candidates", "choices", "usageMetadata", "promptFeedback", "modelVersion", "responseId"}

// arrayOpening says whether p begins an array of such elements, and whether that
// is sure.
func arrayOpening(p []byte) (is, sure bool) {
	for _, c := range []byte(`[{"`) {
		p = bytes.TrimLeft(p, " \t\r\n")
		if len(p) == 0 {
			return false, false
		}
		if p[0] != c {
			return false, true
		}
		p = p[1:]
	}
	name, _, whole := bytes.Cut(p, []byte(`"`))
	return whole && slices.Contains(answerMembers, string(name)), whole
}

// lineOpening says whether p begins with a line's code and JSON.
func lineOpening(p []byte) (is, sure bool) {
	if len(p) > 0 && !lineCode(p[0]) || len(p) > 1 && p[1] != ':' {
		return false, true
	}
	if len(p) < 3 {
		return false, false
	}
	return p[2] == '"' || p[2] == '{' || p[2] == '[', true
}

// lineCode says whether c is the code of a kind of line.
func lineCode(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'k' }

// eventFields are what the lines of server-sent events begin with; one that begins
// with a colon is a comment.
var eventFields = [][]byte{[]byte("data:"), []byte("event:"), []byte("id:"), []byte("retry:"), []byte(":")}

// fieldOpening says whether p begins with a field of a server-sent event.
func fieldOpening(p []byte) (is, sure bool) {
	if len(p) < len(byteOrderMark) && bytes.HasPrefix(byteOrderMark, p) {
		return false, false
	}
	p = bytes.TrimPrefix(p, byteOrderMark)
	sure = true
	for _, field := range eventFields {
		if bytes.HasPrefix(p, field) {
			return true, true
		}
		sure = sure && !bytes.HasPrefix(field, p)
	}
	return false, sure
}

// objectOpening says whether p begins with a line that is one whole JSON object with
// a string in it. One without adds to no text, and leaves as soon as it is whole.
func objectOpening(p []byte) (is, sure bool) {
	if len(p) > 0 && p[0] != '{' {
		return false, true
	}
	line, _, ended := bytes.Cut(p, []byte{'\n'})
	line = bytes.TrimRight(line, " \t\r")
	if !bytes.HasSuffix(line, []byte("}")) || !json.Valid(line) {
		return false, ended
	}
	if !holdsString(line) {
		return false, true
	}
	return ended, ended
}

// holdsString says whether a member of JSON has a string for its value.
func holdsString(p []byte) bool {
	for {
		_, value, found := bytes.Cut(p, []byte{':'})
		if !found {
			return false
		}
		p = bytes.TrimLeft(value, " \t")
		if bytes.HasPrefix(p, []byte{'"'}) || bytes.HasPrefix(p, []byte(`["`)) {
			return true
		}
	}
}

// soleOpening is objectOpening for a stream that says to be one JSON text. One that
// begins with an answer's candidates is: where they come by pieces they are
// elements of an array.
func soleOpening(p []byte) (is, sure bool) {
	if bytes.HasPrefix(p, []byte(`{"candidates"`)) {
		return false, true
	}
	return objectOpening(p)
}
