package scanner

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

const (
	maxEvent    = 16 << 20 // bytes of one event
	maxQueue    = 4 << 20  // bytes of events that wait for a text to go on
	maxChannels = 256      // texts that grow at the same time
)

// eventStream redacts server-sent events. Each event is redacted in itself, and
// the text that the deltas of several add up to is redacted as one: per choice,
// content block, tool call and field. An event leaves when the text that it adds
// is decided on and those before it have left; one that needs no change leaves
// byte for byte.
//
// Where a text stops in a long word and the stream goes on elsewhere for more
// than maxQueue bytes, the text is taken to have ended.
type eventStream struct {
	scanner  *Scanner
	dst      io.Writer
	location string
	partial  []byte // the event that has not ended yet
	seen     int    // bytes of partial that hold no end
	queue    []*event
	queued   int // bytes in queue
	channels map[string]*channel
	found    findings
}

// event is one event as it came, with the texts that it adds to.
type event struct {
	raw     []byte
	deltas  []delta
	waiting int // deltas that are not decided on
}

// delta is a string in an event that adds to a text.
type delta struct {
	channel    string
	start, end int    // of the string in the event, without its quotes
	text       []byte // what goes out, where changed
	changed    bool
	left       int // bytes of it that are not decided on
}

// channel is a text that grows by deltas.
type channel struct {
	text  *stream
	parts []part // those not decided on, in order
}

type part struct {
	event *event
	index int
}

func newEventStream(s *Scanner, dst io.Writer, location string) *eventStream {
	return &eventStream{scanner: s, dst: dst, location: location, channels: map[string]*channel{}}
}

func (e *eventStream) write(p []byte) error {
	e.partial = append(e.partial, p...)
	from := 0
	for {
		n := eventEnd(e.partial, max(from, e.seen-3))
		if n < 0 {
			break
		}
		if err := e.take(bytes.Clone(e.partial[from:n])); err != nil {
			return err
		}
		from, e.seen = n, n
	}
	if from > 0 {
		e.partial = append(e.partial[:0], e.partial[from:]...)
	}
	e.seen = len(e.partial)
	if len(e.partial) > maxEvent {
		return ErrEventTooLong
	}
	return nil
}

// eventEnd is the end of the blank line in p that ends an event, or -1.
func eventEnd(p []byte, from int) int {
	for i := from; i < len(p); i++ {
		k := bytes.IndexAny(p[i:], "\r\n")
		if k < 0 {
			return -1
		}
		i += k
		for _, blank := range []string{"\n\n", "\r\n\r\n", "\n\r\n", "\r\r"} {
			if bytes.HasPrefix(p[i:], []byte(blank)) {
				return i + len(blank)
			}
		}
	}
	return -1
}

// take reads one event and hands its deltas to their channels.
func (e *eventStream) take(raw []byte) error {
	ev := &event{raw: raw}
	seen := readEvent(raw)
	ev.deltas, ev.waiting = seen.deltas, len(seen.deltas)
	e.queue = append(e.queue, ev)
	e.queued += len(raw)
	for i := range ev.deltas {
		if err := e.feed(ev, i); err != nil {
			return err
		}
	}
	if seen.ended || len(e.channels) > maxChannels || e.queued > maxQueue {
		seen.closed = append(seen.closed, "")
	}
	for _, scope := range seen.closed {
		if err := e.finish(scope); err != nil {
			return err
		}
	}
	return e.leave()
}

func (e *eventStream) feed(ev *event, i int) error {
	d := &ev.deltas[i]
	var text string
	if err := json.Unmarshal(ev.raw[d.start-1:d.end+1], &text); err != nil || text == "" {
		ev.waiting--
		return nil
	}
	c := e.channels[d.channel]
	if c == nil {
		c = &channel{}
		c.text = &stream{scanner: e.scanner, sink: c, location: e.location, form: "delta"}
		e.channels[d.channel] = c
	}
	d.left = len(text)
	c.parts = append(c.parts, part{ev, i})
	if err := c.text.write([]byte(text)); err != nil {
		return err
	}
	if err := c.text.flush(); err != nil {
		return err
	}
	e.collect(c)
	return nil
}

// finish ends the texts whose channel names scope; "" ends all.
func (e *eventStream) finish(scope string) error {
	for name, c := range e.channels {
		if !strings.Contains(name, scope) {
			continue
		}
		if err := c.text.close(); err != nil {
			return err
		}
		e.collect(c)
		delete(e.channels, name)
	}
	return nil
}

// collect takes a channel's findings, unless the last of them still grows.
func (e *eventStream) collect(c *channel) {
	if c.text.dropping != closed {
		return
	}
	for _, f := range c.text.found.list {
		e.found.add(f)
	}
	c.text.found = findings{}
}

// leave writes the events at the head of the queue that nothing holds back.
func (e *eventStream) leave() error {
	for len(e.queue) > 0 && e.queue[0].waiting == 0 {
		ev := e.queue[0]
		e.queue[0] = nil
		e.queue, e.queued = e.queue[1:], e.queued-len(ev.raw)
		clean, found := e.scanner.Sanitize(ev.rewritten())
		for _, f := range found {
			f.Location = e.location
			e.found.add(f)
		}
		if _, err := e.dst.Write(clean); err != nil {
			return err
		}
	}
	return nil
}

// close redacts what is left, the event that has no end among it.
func (e *eventStream) close() error {
	if len(e.partial) > 0 {
		if err := e.take(bytes.Clone(e.partial)); err != nil {
			return err
		}
		e.partial = nil
	}
	if err := e.finish(""); err != nil {
		return err
	}
	return e.leave()
}

func (e *eventStream) findings() []Finding { return e.found.list }

// rewritten is the event with the texts that were changed in place of its own.
func (ev *event) rewritten() []byte {
	out, at := []byte(nil), 0
	for _, d := range ev.deltas {
		if d.changed {
			out = append(out, ev.raw[at:d.start]...)
			out = appendJSONText(out, d.text)
			at = d.end
		}
	}
	if at == 0 {
		return ev.raw
	}
	return append(out, ev.raw[at:]...)
}

// appendJSONText appends text as the inside of a JSON string.
func appendJSONText(dst, text []byte) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(string(text)); err != nil {
		return dst
	}
	quoted := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	return append(dst, quoted[1:len(quoted)-1]...)
}

// pass hands text back to the deltas that it came from.
func (c *channel) pass(p []byte) error {
	for len(p) > 0 {
		n := c.consume(len(p), p)
		p = p[n:]
	}
	return nil
}

// replace puts with where the first of n bytes stood and takes the rest away.
func (c *channel) replace(n int, with string) error {
	if n > 0 && len(c.parts) > 0 {
		d := c.first()
		d.text = append(d.text, with...)
	}
	for n > 0 {
		n -= c.consume(n, nil)
	}
	return nil
}

func (c *channel) first() *delta { return &c.parts[0].event.deltas[c.parts[0].index] }

// consume decides on up to n bytes of the first part: they go out as p has them,
// or not at all where p is nil.
func (c *channel) consume(n int, p []byte) int {
	d := c.first()
	n = min(n, d.left)
	if p != nil {
		d.text = append(d.text, p[:n]...)
	} else {
		d.changed = true
	}
	if d.left -= n; d.left == 0 {
		c.parts[0].event.waiting--
		c.parts = c.parts[1:]
	}
	return n
}
