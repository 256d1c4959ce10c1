package scanner

// carried is how many bytes of a message are read together with the one after it.
const carried = lookBehind

// MessageScan looks for credentials in a sequence of messages, such as those of a
// WebSocket, each of which is to be judged before it is sent on. A message is
// searched in itself; together with the end of the one before it; and, where it is
// JSON or text, in the text that it goes on, as a [Redactor] of messages has it. It
// holds nothing back, so the pieces of a secret that came before the one which makes
// it known have left. It is not safe for concurrent use.
type MessageScan struct {
	scanner  *Scanner
	location string
	events   *eventStream
	told     int    // findings of events that were returned
	tail     []byte // of what came before
}

// NewMessageScan starts the scan of one sequence. The location is that of all
// findings; one in JSON is continued by its path.
func (s *Scanner) NewMessageScan(location string) *MessageScan {
	return &MessageScan{scanner: s, location: location, events: newEventStream(s, discard{}, location, messageFrames{})}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Text returns what is found with the next message, of JSON or text. The error is
// [ErrEventTooLong], for one that is longer than can be searched.
func (m *MessageScan) Text(p []byte) ([]Finding, error) {
	found := m.across(p)
	if err := m.events.write(p); err != nil {
		return nil, err
	}
	found = append(found, m.grown()...)
	if err := m.events.pause(true); err != nil {
		return nil, err
	}
	list := m.events.found.list
	found = append(found, list[m.told:]...)
	m.told = len(list)
	return found, nil
}

// Binary returns what is found with the next message, of bytes of any kind.
func (m *MessageScan) Binary(p []byte) []Finding {
	return append(m.scanner.Scan(p, m.location), m.across(p)...)
}

// across returns what begins in the messages before and ends in p.
func (m *MessageScan) across(p []byte) (found []Finding) {
	at := len(m.tail)
	m.tail = append(m.tail, p[:min(carried, len(p))]...)
	if at > 0 {
		for _, f := range m.scanner.Scan(m.tail, m.location) {
			if f.Start < at && f.End > at {
				f.Form = "split"
				found = append(found, f)
			}
		}
	}
	if len(p) > carried {
		m.tail = append(m.tail[:0], p[len(p)-carried:]...)
	} else if more := len(m.tail) - carried; more > 0 {
		m.tail = m.tail[:copy(m.tail, m.tail[more:])]
	}
	return found
}

// grown returns what stands at the end of the texts that grew, which may go on.
func (m *MessageScan) grown() (found []Finding) {
	for _, c := range m.events.live {
		if c.used != m.events.clock {
			continue
		}
		at := max(0, len(c.text.buf)-c.grew)
		for _, f := range m.scanner.Scan(c.text.buf, m.location) {
			if f.Start < at && f.End > at {
				f.Form = "split"
				found = append(found, f)
			}
		}
	}
	return found
}

// Pause says that no message has come for a while. Those leave that wait for a text
// to go on: all, or those alone whose text is no delta of a known dialect, after
// which another message is sure to come. If a secret goes on after all, the rest of
// it is still replaced.
func (r *Redactor) Pause(all bool) error {
	if e, is := r.flow.(*eventStream); is && r.err == nil {
		r.err = e.pause(all)
	}
	return r.err
}

func (e *eventStream) pause(all bool) error {
	for _, c := range e.live {
		if !all && c.member.flags&memberText != 0 {
			continue
		}
		if err := c.release(); err != nil {
			return err
		}
	}
	if err := e.leave(); err != nil {
		return err
	}
	return e.empty()
}
