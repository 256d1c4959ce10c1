package proxy

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/superinstance/keeper/internal/scanner"
)

const (
	// shortPause is after how long a silence of the provider's a message leaves that
	// waits for its text to go on; longPause that for a delta, which others follow.
	// Neither depends on what the vault holds.
	shortPause = 100 * time.Millisecond
	longPause  = 2 * time.Second
	maxWaiting = 4 << 20 // bytes of messages that wait for one before them
)

// downward redacts messages on their way to the agent, and keeps them in order.
type downward struct {
	to     *side
	failed func(*ending)
	gone   *ending // the agent is

	mu       sync.Mutex // guards what follows
	redactor *scanner.Redactor
	binary   *scanner.MessageScan
	queue    []waiting // what has not left; the first of them is the redactor's
	bytes    int64     // that have left
	messages int64
	waits    int // bytes in queue
	timer    *time.Timer
	long     bool // the timer's next pause is the long one
	ended    bool
	found    []scanner.Finding
}

// waiting is a message that has not left. Of text the redactor has the payload.
type waiting struct {
	op      ws.OpCode
	payload []byte
	ready   bool
	since   time.Time
}

func (d *downward) begin(s *scanner.Scanner, to *side, failed func(*ending), gone *ending) {
	d.to, d.failed, d.gone = to, failed, gone
	d.redactor = s.NewRedactor(redacted{d}, scanner.RedactOptions{Messages: true, Location: "answer"})
	d.binary = s.NewMessageScan("answer")
	d.timer = time.AfterFunc(time.Hour, d.pause)
	d.timer.Stop()
}

// take brings one message on its way.
func (d *downward) take(op ws.OpCode, payload []byte) *ending {
	d.mu.Lock()
	defer d.mu.Unlock()
	if op == ws.OpText && len(payload) > 0 {
		return d.text(payload)
	}
	if op == ws.OpBinary {
		found := d.binary.Binary(payload)
		d.note(found)
		if slices.ContainsFunc(found, scanner.Finding.Redacts) {
			return &ending{
				code: codeRedactionFails, sentence: "a binary message of the provider's holds a secret and cannot be rewritten",
				agent: ws.StatusPolicyViolation, provider: ws.StatusGoingAway,
			}
		}
	}
	if len(d.queue) == 0 {
		return d.leave(op, payload)
	}
	d.add(waiting{op, bytes.Clone(payload), true, time.Now()}, len(payload))
	if d.waits <= maxWaiting {
		return nil
	}
	return d.check(d.redactor.Pause(true))
}

func (d *downward) text(payload []byte) *ending {
	d.add(waiting{op: ws.OpText, since: time.Now()}, len(payload))
	if _, err := d.redactor.Write(payload); err != nil {
		return d.check(err)
	}
	if len(d.queue) == 0 {
		d.timer.Stop()
		return nil
	}
	if time.Since(d.queue[0].since) > longPause || d.waits > maxWaiting {
		if err := d.redactor.Pause(true); err != nil {
			return d.check(err)
		}
	}
	d.long = false
	d.timer.Reset(shortPause)
	return nil
}

func (d *downward) add(w waiting, n int) {
	d.queue = append(d.queue, w)
	d.waits += n
}

// check tells the redactor's errors: the agent cannot be written to, or what came
// cannot be redacted.
func (d *downward) check(err error) *ending {
	switch {
	case err == nil:
		return nil
	case err == scanner.ErrEventTooLong:
		return &ending{code: codeRedactionFails, sentence: "a message of the provider's is too long to redact", agent: ws.StatusMessageTooBig, provider: ws.StatusGoingAway}
	}
	return d.gone
}

// pause lets go what has waited in silence.
func (d *downward) pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || len(d.queue) == 0 {
		return
	}
	if e := d.check(d.redactor.Pause(d.long)); e != nil {
		d.failed(e)
		return
	}
	if len(d.queue) > 0 && !d.long {
		d.long = true
		d.timer.Reset(longPause)
	}
}

// redacted is where the redactor writes each message, in order.
type redacted struct{ *downward }

func (r redacted) Write(p []byte) (int, error) {
	d := r.downward
	if e := d.leave(ws.OpText, p); e != nil {
		return 0, errMalformed
	}
	d.pop()
	for len(d.queue) > 0 && d.queue[0].ready {
		if e := d.leave(d.queue[0].op, d.queue[0].payload); e != nil {
			return 0, errMalformed
		}
		d.pop()
	}
	return len(p), nil
}

func (d *downward) pop() {
	d.queue[0] = waiting{}
	if d.queue = d.queue[1:]; len(d.queue) == 0 {
		d.queue, d.waits = nil, 0
	}
}

func (d *downward) leave(op ws.OpCode, payload []byte) *ending {
	if err := d.to.write(op, payload); err != nil {
		return d.gone
	}
	d.bytes += int64(len(payload))
	d.messages++
	return nil
}

// finish sends all that is left.
func (d *downward) finish() *ending {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer.Stop()
	d.ended = true
	return d.check(d.redactor.Close())
}

// stop lets nothing leave any more by itself.
func (d *downward) stop() {
	d.timer.Stop()
}

func (d *downward) saw(found []scanner.Finding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(found)
}

func (d *downward) note(found []scanner.Finding) {
	if len(found) > 0 {
		d.found = scanner.Gravest(append(d.found, found...), maxRecorded)
	}
}

// findings are all that were made; its caller holds mu.
func (d *downward) findings() []scanner.Finding {
	return append(d.found, d.redactor.Findings()...)
}
