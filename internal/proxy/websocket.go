package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	defaultMaxMessage = 16 << 20
	defaultIdle       = 30 * time.Second
	silences          = 3 // of that length in a row, after which a side is taken for gone
	closeWait         = 5 * time.Second

	tryAgainLater ws.StatusCode = 1013 // as IANA's registry of close codes has it
)

// ending is how a WebSocket ends other than by the close frames of both sides.
type ending struct {
	code     string        // as the log has it; empty: it is complete
	sentence string        // for the agent
	agent    ws.StatusCode // to close the agent's side with; zero: it is gone
	provider ws.StatusCode // and the provider's
	gone     bool          // a side only broke off
}

// socket is a WebSocket between an agent and a provider. Messages are read whole,
// scanned and sent on, each in one frame; pings and close frames pass at once. A
// side that does not read makes the other one wait.
type socket struct {
	proxy *Proxy
	ctx   context.Context // of the call
	call  *call
	conn  net.Conn  // of the agent
	body  io.Closer // of the provider

	agent, provider *side
	scan            *scanner.MessageScan // of what the agent sends
	down            downward             // to the agent

	fails   chan *ending
	over    atomic.Bool   // nothing passes any more
	closing atomic.Bool   // a side has said that it closes
	heard   atomic.Uint32 // the first close code

	sent, sentBytes atomic.Int64
	seen            []scanner.Finding // in what the agent sent; the reader's until the end
}

// speak brings the answer that switches protocols to the agent, and then the
// messages both ways, until either side ends it.
func (d *delivery) speak() answer {
	body, writable := d.resp.Body.(io.ReadWriteCloser)
	u := d.call.upgrade
	if !writable || u == nil || !u.granted(d.resp.Header) {
		return d.refuse(codeInvalid, "the provider switched protocols in a way that was not asked for")
	}
	fromProvider(d.resp.Header)
	dropAll(d.resp.Header, slices.Concat(handshake, framing))
	d.note(d.proxy.scanner.RedactHeader(d.resp.Header))
	conn, ahead, err := http.NewResponseController(d.to).Hijack()
	if err != nil {
		d.proxy.logger.Error("taking a connection over", "requestId", d.call.id, "type", fmt.Sprintf("%T", err))
		return d.refuse(codeInternal, "the connection cannot be taken over")
	}
	defer conn.Close()
	early, _ := ahead.Reader.Peek(ahead.Reader.Buffered())
	s := d.proxy.newSocket(d, conn, body, early)
	if err := d.switched(conn); err != nil {
		d.failed = err
		d.answer.outcome, d.answer.code = outcomeOf(codeAgentGone), codeAgentGone
		return d.answer
	}
	return s.outcome(d, s.run())
}

// switched sends the head of the answer.
func (d *delivery) switched(conn net.Conn) error {
	h := d.to.Header().Clone()
	for name, values := range d.resp.Header {
		h[name] = values
	}
	d.call.upgrade.accept(h)
	head := "HTTP/1.1 101 Switching Protocols\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	if err := h.Write(conn); err != nil {
		return err
	}
	_, err := io.WriteString(conn, "\r\n")
	return err
}

// outcome is what the log has of it.
func (s *socket) outcome(d *delivery, e *ending) answer {
	a := &d.answer
	a.outcome, a.code = "complete", e.code
	if e.code != "" {
		a.outcome = outcomeOf(e.code)
	}
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	a.bytes = s.down.bytes
	d.note(s.down.findings())
	a.seen = s.seen
	a.traffic = &audit.Traffic{
		RequestBytes: s.sentBytes.Load(), MessagesSent: s.sent.Load(), MessagesReceived: s.down.messages, CloseCode: int(s.heard.Load()),
	}
	return *a
}

// run returns when neither side is read any more.
func (s *socket) run() *ending {
	done := make(chan struct{}, 2)
	go s.guarded(s.upward, done)
	go s.guarded(s.downward, done)
	stop := make(chan struct{})
	defer close(stop)
	go s.listen(stop)
	e, left := s.watch(done)
	s.down.stop()
	s.part(e)
	for ; left > 0; left-- {
		<-done
	}
	return e
}

// guarded keeps a panic over what came from ending keeper.
func (s *socket) guarded(pump func(), done chan<- struct{}) {
	defer func() {
		if value := recover(); value != nil {
			s.proxy.panicked(s.call, value)
			s.fail(&ending{code: codeInternal, sentence: "it failed at this call", agent: ws.StatusInternalServerError, provider: ws.StatusGoingAway})
		}
		done <- struct{}{}
	}()
	pump()
}

// watch waits for the end, and says how many pumps still run then.
func (s *socket) watch(done <-chan struct{}) (e *ending, left int) {
	var late <-chan time.Time
	for left = 2; left > 0; {
		select {
		case e = <-s.fails:
			if s.ctx.Err() != nil { // which is why the agent is read no more
				e = s.interrupted()
			}
			return e, left
		case <-s.ctx.Done():
			return s.interrupted(), left
		case <-late:
			return &ending{gone: true}, left // the other side does not answer the close frame
		case <-done:
			left--
			timer := time.NewTimer(closeWait)
			defer timer.Stop()
			late = timer.C
		}
	}
	select {
	case e = <-s.fails:
		return e, 0
	default:
		return &ending{}, 0
	}
}

func (s *socket) interrupted() *ending {
	code := s.proxy.interruption(s.ctx)
	e := &ending{code: code, sentence: interruptions[code], agent: ws.StatusPolicyViolation, provider: ws.StatusGoingAway}
	switch code {
	case codeStopping:
		e.agent = ws.StatusGoingAway
	case codeStore:
		e.agent = tryAgainLater
	}
	return e
}

// fail ends it; the first call counts.
func (s *socket) fail(e *ending) {
	if e.gone && s.closing.Load() {
		e = &ending{gone: true} // as it may once it has said that it closes
	}
	s.over.Store(true)
	select {
	case s.fails <- e:
	default:
	}
}

// part takes leave of both sides, in no more than cutGrace.
func (s *socket) part(e *ending) {
	s.over.Store(true)
	s.conn.SetDeadline(soon()) // a write that waits for the agent ends, too
	told := make(chan struct{})
	go func() {
		defer close(told)
		s.provider.close(e.provider, "")
	}()
	if e.agent != 0 {
		s.heard.CompareAndSwap(0, uint32(e.agent))
		s.agent.close(e.agent, "keeper: "+e.sentence)
	}
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-told:
	case <-grace.C:
	}
	s.body.Close() // a write that waits for the provider ends
	<-told
	if e.agent == 0 {
		s.conn.Close()
	}
}

// listen asks each side that is silent for a sign of life.
func (s *socket) listen(stop <-chan struct{}) {
	tick := time.NewTicker(s.proxy.idle)
	defer tick.Stop()
	sides := []*side{s.agent, s.provider}
	heard, silent := make([]int64, len(sides)), make([]int, len(sides))
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for i, one := range sides {
			if n := one.heard.Load(); n != heard[i] {
				heard[i], silent[i] = n, 0
				continue
			}
			if silent[i]++; silent[i] >= silences {
				s.fail(s.broken(one))
				return
			}
			go one.ping(nil) // which may wait for a side that does not read
		}
	}
}

// broken is the ending where a side broke off.
func (s *socket) broken(one *side) *ending {
	if one.agent {
		return &ending{code: codeAgentGone, provider: ws.StatusGoingAway, gone: true}
	}
	return &ending{code: codeInvalid, sentence: "the provider broke the connection off", agent: ws.StatusInternalServerError, gone: true}
}

// failed is the ending where a side cannot be read on.
func (s *socket) failed(one *side, err error) *ending {
	var fault *frameFault
	switch {
	case !errors.As(err, &fault):
		return s.broken(one)
	case one.agent && fault.code == ws.StatusMessageTooBig:
		return &ending{code: codeTooLarge, sentence: fault.what, agent: fault.code, provider: ws.StatusGoingAway}
	case one.agent:
		return &ending{code: codeBadRequest, sentence: fault.what, agent: fault.code, provider: ws.StatusGoingAway}
	}
	return &ending{code: codeInvalid, sentence: "the provider's messages cannot be read: " + fault.what, agent: ws.StatusInternalServerError, provider: fault.code}
}

// upward brings what the agent sends to the provider.
func (s *socket) upward() {
	for {
		op, payload, err := s.agent.next()
		if err != nil {
			s.fail(s.failed(s.agent, err))
			io.Copy(io.Discard, s.agent.in) // so that it reads the close frame before the connection is reset
			return
		}
		if s.over.Load() {
			if op == ws.OpClose {
				return
			}
			continue
		}
		switch op {
		case ws.OpClose:
			if s.closeUp(payload) {
				return
			}
		case ws.OpPing:
			err = s.provider.ping(append([]byte{}, payload...))
		case ws.OpPong:
			if of, other := s.agent.ponged(payload); other {
				err = s.provider.write(ws.OpPong, of)
			}
		default:
			err = s.message(op, payload)
		}
		if err != nil {
			s.fail(s.broken(s.provider))
		}
	}
}

// message sends one on that holds no secret.
func (s *socket) message(op ws.OpCode, payload []byte) error {
	if !s.clean(op, payload) {
		return nil
	}
	if e := s.passed(payload, false); e != nil {
		s.fail(e)
		return nil
	}
	s.sent.Add(1)
	s.sentBytes.Add(int64(len(payload)))
	return s.provider.write(op, payload)
}

// closeUp tells the provider that the agent closes, and says whether it does.
func (s *socket) closeUp(payload []byte) bool {
	code, reason, err := farewell(payload)
	if err != nil {
		s.fail(s.failed(s.agent, err))
		return true
	}
	if !s.clean(ws.OpText, []byte(reason)) {
		return true
	}
	s.heard.CompareAndSwap(0, uint32(code))
	s.closing.Store(true)
	if err := s.provider.close(code, reason); err != nil {
		s.fail(s.broken(s.provider))
	}
	return true
}

// clean says whether what the agent sent may go on. A secret in it ends the
// connection, and is in the log before the agent is told.
func (s *socket) clean(op ws.OpCode, payload []byte) bool {
	if len(payload) == 0 {
		return true
	}
	var found []scanner.Finding
	if op == ws.OpBinary {
		found = s.scan.Binary(payload)
	} else {
		var err error
		if found, err = s.scan.Text(payload); err != nil {
			s.fail(&ending{code: codeTooLarge, sentence: "a message is too long to be scanned", agent: ws.StatusMessageTooBig, provider: ws.StatusGoingAway})
			return false
		}
	}
	if len(found) == 0 {
		return true
	}
	s.seen = scanner.Gravest(append(s.seen, found...), maxRecorded)
	no := blocking(found)
	if no == nil {
		return true
	}
	s.proxy.blocked(s.ctx, s.call, found)
	s.fail(&ending{code: codeSecret, sentence: no.message, agent: ws.StatusPolicyViolation, provider: ws.StatusGoingAway})
	return false
}

// downward brings what the provider sends to the agent.
func (s *socket) downward() {
	for {
		op, payload, err := s.provider.next()
		if err != nil {
			s.fail(s.failed(s.provider, err))
			return
		}
		if s.over.Load() { // what comes now is the answer to keeper's own close frame
			return
		}
		var e *ending
		switch op {
		case ws.OpClose:
			e = s.closeDown(payload)
		case ws.OpPing:
			err = s.agent.ping(append([]byte{}, payload...))
		case ws.OpPong:
			if of, other := s.provider.ponged(payload); other {
				err = s.agent.write(ws.OpPong, of)
			}
		default:
			if e = s.down.take(op, payload); e == nil {
				e = s.passed(payload, true)
			}
		}
		if err != nil {
			e = s.broken(s.agent)
		}
		if e != nil {
			s.fail(e)
			return
		}
		if op == ws.OpClose {
			return
		}
	}
}

// closeDown tells the agent that the provider closes, after all that it has sent.
func (s *socket) closeDown(payload []byte) *ending {
	code, reason, err := farewell(payload)
	if err != nil {
		return s.failed(s.provider, err)
	}
	if e := s.down.finish(); e != nil {
		return e
	}
	clean, found := s.proxy.scanner.Sanitize([]byte(reason))
	s.down.saw(found)
	s.heard.CompareAndSwap(0, uint32(code))
	s.closing.Store(true)
	if err := s.agent.close(code, string(clean)); err != nil {
		return s.broken(s.agent)
	}
	return nil
}

func (p *Proxy) newSocket(d *delivery, conn net.Conn, body io.ReadWriteCloser, early []byte) *socket {
	s := &socket{
		proxy: p, ctx: d.ctx, call: d.call, conn: conn, body: body,
		agent:    newSide(true, io.MultiReader(bytes.NewReader(early), conn), conn, p.maxMessage),
		provider: newSide(false, body, body, p.maxMessage),
		scan:     p.scanner.NewMessageScan("message"), fails: make(chan *ending, 1),
	}
	s.down.begin(p.scanner, s.agent, func(e *ending) { s.fail(e) }, s.broken(s.agent))
	return s
}
