package scanner

import (
	"bytes"
	"io"
)

const (
	maxEvent = 16 << 20 // bytes of one event
	maxQueue = 4 << 20  // bytes of events that wait for a text to go on
	outBytes = 32 << 10 // bytes that are written at once

	leastSecret = 8        // bytes: no secret is shorter
	idleBytes   = 64 << 10 // bytes of a buffer that is kept for the next event
)

// eventStream redacts a stream of events. Each event is redacted in itself, and
// the text that the deltas of several add up to is redacted as one: per choice,
// content block, tool call and field. An event leaves when the text that it adds
// is decided on and those before it have left; one that needs no change leaves
// byte for byte.
//
// Where a text stops in a long word and the stream goes on elsewhere for more
// than maxQueue bytes, or with more than maxChannels other texts, the text is taken
// to have ended.
type eventStream struct {
	scanner  *Scanner
	dst      io.Writer
	location string
	frames   framer
	partial  []byte // the event that has not ended yet
	seen     int    // bytes of partial that hold no end
	out      []byte // events that have left
	queue    []*event
	left     int // events of queue that have left
	queued   int // bytes in queue
	idle     []*event
	data     eventData
	joined   []byte // the lines of data
	scratch  []byte
	walker   walker
	openings *openings
	plain    node // the texts of data that is not JSON
	live     []*channel
	spare    []*channel
	clock    uint64 // events so far
	plainly  bool   // all deltas of the event are such as need no search
	alike    outline
	found    findings
}

// event is one event as it came, with the strings in it that add to texts.
type event struct {
	raw     []byte
	kept    []byte // what raw is in where the event waits
	deltas  []delta
	cuts    []cut
	plain   bool // it has one delta, which needs no search
	waiting int  // deltas that are not decided on, for each text that they add to
}

// delta is a string in an event that adds to a text.
type delta struct {
	start, end int // of the string in the event, without its quotes
	kind       deltaKind
}

type deltaKind uint8

const (
	jsonDelta  deltaKind = iota
	plainDelta           // the text itself
	breakDelta           // the line break between two lines of data
)

// cut takes bytes out of a delta's text.
type cut struct {
	delta, from, to int
	with            string // what stands in their place
}

func newEventStream(s *Scanner, dst io.Writer, location string, f framer) *eventStream {
	return &eventStream{
		scanner: s, dst: dst, location: location, frames: f,
		openings: &s.engine.prefixes.opens, walker: walker{structure: newStructure()},
	}
}

func (e *eventStream) write(p []byte) error {
	if len(e.partial) > 0 {
		e.partial = append(e.partial, p...)
		p = e.partial
	}
	rest, err := e.takeAll(p)
	e.partial = append(e.partial[:0], rest...)
	if e.seen = len(rest); len(rest) == 0 && cap(e.partial) > idleBytes {
		e.partial = nil
	}
	if err == nil && len(rest) > maxEvent {
		err = ErrEventTooLong
	}
	if werr := e.empty(); werr != nil {
		return werr
	}
	return err
}

// takeAll takes the events in p that have ended, and returns the rest.
func (e *eventStream) takeAll(p []byte) ([]byte, error) {
	for {
		n := e.frames.end(p, e.seen)
		if n == stray {
			return p, errStray
		}
		if n < 0 {
			return p, nil
		}
		if e.seen = 0; n > maxEvent {
			return p, ErrEventTooLong
		}
		if err := e.take(p[:n], false); err != nil {
			return p, err
		}
		p = p[n:]
	}
}

// take reads one event and adds its deltas to their texts.
func (e *eventStream) take(raw []byte, partial bool) error {
	ev := e.fresh(raw)
	e.clock++
	e.plainly = true
	e.queue = append(e.queue, ev)
	e.queued += len(raw)
	if err := e.read(ev, partial); err != nil {
		return err
	}
	ev.plain = e.plainly && len(ev.deltas) == 1
	if e.queued > maxQueue || e.walker.structure.full {
		if err := e.finish(nil); err != nil {
			return err
		}
	}
	if e.walker.structure.full {
		e.walker.structure.reset()
	}
	if err := e.thin(); err != nil {
		return err
	}
	if err := e.leave(); err != nil {
		return err
	}
	if e.left < len(e.queue) { // ev is the last of them
		ev.keep()
	}
	return nil
}

// fresh is an event for raw, which is only lent.
func (e *eventStream) fresh(raw []byte) *event {
	if n := len(e.idle); n > 0 {
		ev := e.idle[n-1]
		e.idle = e.idle[:n-1]
		ev.raw = raw
		return ev
	}
	return &event{raw: raw}
}

// keep makes raw the event's own.
func (ev *event) keep() {
	ev.kept = append(ev.kept[:0], ev.raw...)
	ev.raw = ev.kept
}

// read finds the event's deltas, and adds them to their texts.
func (e *eventStream) read(ev *event, partial bool) error {
	e.data = eventData{lines: e.data.lines[:0]}
	e.frames.data(ev.raw, &e.data)
	if endName(ev.raw[e.data.name.start:e.data.name.end]) {
		return e.finish(nil)
	}
	if len(e.data.lines) == 0 {
		return nil
	}
	p := e.payload(ev.raw)
	if string(bytes.TrimSpace(p)) == "[DONE]" {
		return e.finish(nil)
	}
	if e.walker.walk(p, partial) && (len(e.data.lines) == 1 || e.unbroken(p)) {
		return e.readJSON(ev, partial)
	}
	if e.data.only {
		return nil
	}
	return e.readText(ev)
}

// endName says whether an event's name alone says that all texts are complete.
func endName(name []byte) bool {
	switch string(name) {
	case "end", "done", "complete", "close":
		return true
	}
	return false
}

// readJSON adds the strings of the walked data to their texts, and ends those that
// it says are complete.
func (e *eventStream) readJSON(ev *event, partial bool) error {
	d := e.walker.dialect()
	if d != silent && (d != foreign || !e.data.only) {
		if err := e.readStrings(ev, d, partial); err != nil {
			return err
		}
	}
	if e.walker.complete(d) {
		return e.finish(nil)
	}
	if len(ev.deltas) > 0 && !partial { // some servers say of each piece that it is the last
		return nil
	}
	for i := range e.walker.ended {
		if err := e.finish(&e.walker.ended[i]); err != nil {
			return err
		}
	}
	return nil
}

// payload is the event's data as one text.
func (e *eventStream) payload(raw []byte) []byte {
	lines := e.data.lines
	if len(lines) == 1 {
		return raw[lines[0].start:lines[0].end]
	}
	e.joined = e.joined[:0]
	for i, l := range lines {
		if i > 0 {
			e.joined = append(e.joined, '\n')
		}
		e.joined = append(e.joined, raw[l.start:l.end]...)
	}
	return e.joined
}

// unbroken says whether each string that was found stands in one line.
func (e *eventStream) unbroken(p []byte) bool {
	for i := range e.walker.spots {
		if bytes.IndexByte(p[e.walker.spots[i].start:e.walker.spots[i].end], '\n') >= 0 {
			return false
		}
	}
	return true
}

// readStrings adds the strings of the walked data to their texts.
func (e *eventStream) readStrings(ev *event, d dialect, partial bool) error {
	name := e.nameHash(ev.raw)
	line, behind := 0, 0 // behind: where the line begins in the payload
	for i := range e.walker.spots {
		s := &e.walker.spots[i]
		for line+1 < len(e.data.lines) && s.start > behind+e.data.lines[line].len() {
			behind += e.data.lines[line].len() + 1
			line++
		}
		flags := s.member.flags
		if d == native && flags&memberText == 0 || d == foreign && flags&memberMaybe != 0 {
			continue
		}
		if d == foreign {
			s.selectors.strict += name
		}
		shift := e.data.lines[line].start - behind
		ev.deltas = append(ev.deltas, delta{start: s.start + shift, end: s.end + shift})
		if err := e.feed(ev, s, d, partial); err != nil {
			return err
		}
	}
	return nil
}

func (x extent) len() int { return x.end - x.start }

// nameHash tells the texts of events of different names apart.
func (e *eventStream) nameHash(raw []byte) uint64 {
	if e.data.name.len() == 0 {
		return 0
	}
	return e.walker.hash(0, raw[e.data.name.start:e.data.name.end])
}

// feed adds the last delta of ev, which is s, to its texts.
func (e *eventStream) feed(ev *event, s *spot, d dialect, partial bool) error {
	i := len(ev.deltas) - 1
	text := e.textOf(ev, i)
	if c := latest(s.member.channels); partial && c != nil { // what tells texts apart may be cut off
		return c.add(ev, i, text)
	}
	all, selected, both := s.texts(d)
	uncertain := d == foreign || s.member.flags&memberProse == 0
	if err := e.grow(e.channel(s.member, all, &s.selectors), ev, i, text, uncertain); err != nil || !both {
		return err
	}
	return e.grow(e.channel(s.member, selected, &s.selectors), ev, i, text, uncertain)
}

// grow adds a delta to a text. If that is uncertain, it may be no text but a label.
func (e *eventStream) grow(c *channel, ev *event, i int, text []byte, uncertain bool) error {
	what := noLabel
	if uncertain {
		what = c.label(text)
	}
	if what == isLabel {
		c.used, e.plainly = e.clock, false
		return c.restart()
	}
	if err := c.add(ev, i, text); err != nil || what == noLabel {
		return err
	}
	return c.release()
}

// textOf is what a delta says. It is valid until the next call.
func (e *eventStream) textOf(ev *event, i int) []byte {
	d := &ev.deltas[i]
	p := ev.raw[d.start:d.end]
	switch {
	case d.kind == breakDelta:
		return []byte{'\n'}
	case d.kind == plainDelta || bytes.IndexByte(p, '\\') < 0:
		return p
	}
	e.scratch = readJSONText(e.scratch[:0], p)
	return e.scratch
}

// readText adds data that is not JSON to the text that it goes on.
func (e *eventStream) readText(ev *event) error {
	c := e.channel(&e.plain, e.nameHash(ev.raw), nil)
	if e.data.text.len() > 0 {
		ev.deltas = append(ev.deltas, delta{e.data.text.start, e.data.text.end, plainDelta})
		return e.grow(c, ev, 0, e.textOf(ev, 0), true)
	}
	for i, l := range e.data.lines {
		if i > 0 {
			ev.deltas = append(ev.deltas, delta{l.start, l.start, breakDelta})
			if err := c.add(ev, len(ev.deltas)-1, e.textOf(ev, len(ev.deltas)-1)); err != nil {
				return err
			}
		}
		if l.len() == 0 {
			continue
		}
		ev.deltas = append(ev.deltas, delta{l.start, l.end, plainDelta})
		if err := e.grow(c, ev, len(ev.deltas)-1, e.textOf(ev, len(ev.deltas)-1), len(e.data.lines) == 1); err != nil {
			return err
		}
	}
	return nil
}

// leave puts out the events at the head of the queue that nothing holds back.
func (e *eventStream) leave() error {
	for e.left < len(e.queue) && e.queue[e.left].waiting == 0 {
		ev := e.queue[e.left]
		e.queue[e.left] = nil
		e.left++
		e.queued -= len(ev.raw)
		if err := e.put(ev); err != nil {
			return err
		}
		e.rest(ev)
	}
	if e.left == len(e.queue) {
		e.queue, e.left = e.queue[:0], 0
	} else if e.left >= 1024 && e.left*2 >= len(e.queue) {
		n := copy(e.queue, e.queue[e.left:])
		clear(e.queue[n:])
		e.queue, e.left = e.queue[:n], 0
	}
	return nil
}

// put redacts an event in itself and puts it out.
func (e *eventStream) put(ev *event) error {
	clean := ev.raw
	if (len(clean) >= leastSecret || len(ev.cuts) > 0) && (!ev.plain || !e.alike.match(ev)) {
		var found []Finding
		if clean, found = e.scanner.Sanitize(e.rewritten(ev)); len(found) > 0 {
			e.report(ev, found)
		} else if ev.plain {
			e.alike.set(ev)
		}
	}
	if _, each := e.frames.(messageFrames); each {
		_, err := e.dst.Write(clean)
		return err
	}
	e.out = append(e.out, clean...)
	if len(e.out) < outBytes {
		return nil
	}
	return e.empty()
}

// empty writes what has left.
func (e *eventStream) empty() error {
	if len(e.out) == 0 {
		return nil
	}
	_, err := e.dst.Write(e.out)
	if e.out = e.out[:0]; cap(e.out) > 2*outBytes {
		e.out = nil
	}
	return err
}

// rest keeps an event that has left for its memory.
func (e *eventStream) rest(ev *event) {
	if len(e.idle) >= maxChannels || cap(ev.kept) > idleBytes || cap(ev.deltas) > maxChannels {
		return
	}
	clear(ev.cuts)
	*ev = event{kept: ev.kept, deltas: ev.deltas[:0], cuts: ev.cuts[:0]}
	e.idle = append(e.idle, ev)
}

// close redacts what is left, the event that has no end among it.
func (e *eventStream) close() error {
	if len(e.partial) > 0 {
		if err := e.take(e.partial, true); err != nil {
			return err
		}
		e.partial = nil
	}
	if err := e.finish(nil); err != nil {
		return err
	}
	if err := e.leave(); err != nil {
		return err
	}
	return e.empty()
}

// flush has nothing to do: the events that it could let go have left.
func (e *eventStream) flush() error { return nil }

func (e *eventStream) findings() []Finding { return e.found.list }

// stamp says whether text as a whole is a UUID or a time, which each event may
// have another of.
func stamp(text []byte) bool {
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		for _, c := range text {
			if !isHex(c) && c != '-' {
				return false
			}
		}
		return true
	}
	return len(text) >= 19 && len(text) <= 40 && text[4] == '-' && text[7] == '-' && (text[10] == 'T' || text[10] == ' ') &&
		text[13] == ':' && text[16] == ':' && isDigit(text[0]) && isDigit(text[18])
}
