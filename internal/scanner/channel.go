package scanner

import (
	"bytes"
	"hash/maphash"
)

const (
	maxChannels = 256     // texts that grow at the same time
	keptBuffer  = 8 << 10 // bytes of a channel's buffer that its successor gets
)

// channel is a text that grows by deltas.
type channel struct {
	events    *eventStream
	member    *node
	key       uint64
	selectors selectors
	text      stream
	parts     []part // those that are not decided on, in order
	judged    int    // findings that are described
	used      uint64 // the last event that it grew by
	grew      int    // bytes of its last delta

	last  uint64 // the hash of its last delta
	times int    // how often that came in a row
	mixed bool   // the text is more than that
}

// part is a delta of a channel's text.
type part struct {
	event *event
	delta int
	at    int // bytes of it that are decided on
	left  int // bytes of it that are not
	start int // of it in the text
}

// channel finds the text of m that has the key, or begins it.
func (e *eventStream) channel(m *node, key uint64, of *selectors) *channel {
	for _, c := range m.channels {
		if c.key == key {
			return c
		}
	}
	var c *channel
	if n := len(e.spare); n > 0 {
		c, e.spare = e.spare[n-1], e.spare[:n-1]
	} else {
		c = &channel{}
	}
	*c = channel{events: e, member: m, key: key, parts: c.parts[:0], text: c.text}
	if of != nil {
		c.selectors = *of
	}
	c.begin()
	if m.channels == nil {
		m.channels = m.first[:0]
	}
	m.channels = append(m.channels, c)
	e.live = append(e.live, c)
	return c
}

// latest is the channel that grew last; nil where there is none.
func latest(list []*channel) (last *channel) {
	for _, c := range list {
		if last == nil || c.used > last.used {
			last = c
		}
	}
	return last
}

// begin begins the text anew.
func (c *channel) begin() {
	buf := c.text.buf[:0]
	if cap(buf) > keptBuffer {
		buf = nil
	}
	c.text = stream{scanner: c.events.scanner, sink: c, location: c.events.location, buf: buf}
	c.judged, c.mixed = 0, false
}

// end decides on what is left of the text.
func (c *channel) end() error {
	if c.text.settled == len(c.text.buf) && c.text.dropping == closed {
		c.text.giveBack()
	} else if err := c.text.close(); err != nil {
		return err
	}
	c.collect()
	return nil
}

// add adds a delta to the text.
func (c *channel) add(ev *event, delta int, text []byte) error {
	c.used, c.grew = c.events.clock, len(text)
	if len(c.parts) == 0 && c.text.quick(text, c.events.openings) {
		return nil
	}
	c.events.plainly = false
	c.text.trim()
	c.parts = append(c.parts, part{event: ev, delta: delta, left: len(text), start: c.text.base + len(c.text.buf)})
	ev.waiting++
	if err := c.text.write(text); err != nil {
		return err
	}
	if done, err := c.text.quickFlush(c.events.openings); err != nil {
		return err
	} else if !done && c.mayFlush(text) {
		if err := c.text.flush(); err != nil {
			return err
		}
	}
	c.collect()
	return nil
}

// maxOrdinary is the length of the longest word that leaves at a full stop.
const maxOrdinary = 64

// mayFlush says whether what is held may be ordinary text: it is short, or a full
// stop has ended it. It spares looking at a long run again with each delta.
func (c *channel) mayFlush(text []byte) bool {
	held := len(c.text.buf) - c.text.settled
	return held < longWord || c.text.brief || held <= maxOrdinary && isStop(text[len(text)-1])
}

// label is what a delta of an uncertain text may be in place of a piece of it.
type label uint8

const (
	noLabel label = iota
	mayLabel
	isLabel
)

// label says whether text only repeats the delta before, as the name does of what
// the event is of. A secret may hold one character many times over, but does not
// say 12 others again, nor begins with the same 4 twice.
func (c *channel) label(text []byte) label {
	if c.text.base+len(c.text.buf) == 0 && stamp(text) {
		return isLabel // and no piece of a text that has begun
	}
	h := maphash.Bytes(c.events.walker.structure.seed, text)
	if c.times == 0 || h != c.last {
		c.mixed = c.mixed || c.times > 0
		c.last, c.times = h, 1
		return noLabel
	}
	c.times++
	n := len(text) * c.times
	if single := bytes.Count(text, text[:1]) == len(text); !single && n >= 12 || n >= 40 {
		return isLabel
	} else if c.mixed {
		return noLabel
	} else if len(text) >= 4 && !single {
		return isLabel
	}
	return mayLabel
}

// release lets go what is held of a text that is the same few characters again
// and again, which would say nothing of a secret.
func (c *channel) release() error {
	if c.text.dropping != closed {
		return nil
	}
	return c.text.pass(len(c.text.buf))
}

// restart ends the text and begins it anew.
func (c *channel) restart() error {
	if c.text.base+len(c.text.buf) == 0 {
		return nil
	}
	if err := c.end(); err != nil {
		return err
	}
	c.begin()
	return nil
}

// collect takes the text's findings, unless the last of them still grows.
func (c *channel) collect() {
	if len(c.text.found.list) == 0 || c.text.dropping != closed {
		return
	}
	c.judge()
	for i := range c.text.found.list {
		c.events.found.add(&c.text.found.list[i])
	}
	c.text.found, c.judged = findings{}, 0
}

// judge says of the new findings where they stand, before the deltas are forgotten
// that they stand in.
func (c *channel) judge() {
	list := c.text.found.list
	for ; c.judged < len(list); c.judged++ {
		f := &list[c.judged]
		for _, p := range c.parts {
			if p.start+p.at+p.left <= f.Start {
				continue
			}
			f.Location = c.events.locationOf(p.event, p.event.deltas[p.delta].start, f.End-f.Start)
			if f.Form == "" && (p.start > f.Start || p.start+p.at+p.left < f.End) {
				f.Form = "delta"
			}
			break
		}
	}
}

// pass lets the next bytes of the text stay in the deltas that they came from.
func (c *channel) pass(p []byte) error {
	c.judge()
	c.decide(len(p), nil)
	return nil
}

// replace puts with where the first of n bytes stood and takes the rest away.
func (c *channel) replace(n int, with string) error {
	c.judge()
	c.decide(n, &with)
	return nil
}

// decide decides on the next n bytes: they stay where they are, or give way.
func (c *channel) decide(n int, with *string) {
	done := 0
	for n > 0 && done < len(c.parts) {
		p := &c.parts[done]
		k := min(n, p.left)
		if with != nil {
			p.event.cuts = append(p.event.cuts, cut{delta: p.delta, from: p.at, to: p.at + k, with: *with})
			*with = ""
		}
		p.at, p.left, n = p.at+k, p.left-k, n-k
		if p.left > 0 {
			break
		}
		p.event.waiting--
		done++
	}
	if done > 0 {
		c.parts = c.parts[:copy(c.parts, c.parts[done:])]
	}
}

// finish ends the texts that have all of the selectors.
func (e *eventStream) finish(of *selectors) error {
	kept := e.live[:0]
	for i, c := range e.live {
		if of != nil && !of.within(&c.selectors) {
			kept = append(kept, c)
			continue
		}
		if err := e.drop(c); err != nil {
			e.live = append(kept, e.live[i+1:]...)
			return err
		}
	}
	clear(e.live[len(kept):])
	e.live = kept
	return nil
}

// drop ends a text and forgets it.
func (e *eventStream) drop(c *channel) error {
	for i, other := range c.member.channels {
		if other == c {
			c.member.channels = append(c.member.channels[:i], c.member.channels[i+1:]...)
			break
		}
	}
	err := c.end()
	if len(e.spare) < maxChannels {
		e.spare = append(e.spare, c)
	}
	return err
}

// thin ends the texts that have not grown for longest, so that at most
// maxChannels do.
func (e *eventStream) thin() error {
	for len(e.live) > maxChannels {
		oldest := 0
		for i, c := range e.live {
			if c.used < e.live[oldest].used {
				oldest = i
			}
		}
		c := e.live[oldest]
		e.live = append(e.live[:oldest], e.live[oldest+1:]...)
		if err := e.drop(c); err != nil {
			return err
		}
	}
	return nil
}
