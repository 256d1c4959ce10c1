package proxy

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	keptMessage = 64 << 10 // bytes of a buffer that is kept for the next message
	maxReason   = ws.MaxControlFramePayloadSize - 2
	maxPings    = 16 // that may wait for an answer
)

// frameFault is why a side's frames cannot be read on, and the code to close with
// (RFC 6455, 7.4.1).
type frameFault struct {
	code ws.StatusCode
	what string // never a value from the frame
}

func (f *frameFault) Error() string { return f.what }

// side is one of the two ends of a WebSocket. One goroutine reads from it; any may
// write to it.
type side struct {
	agent bool // its frames are masked; those that go to the provider are
	in    *bufio.Reader
	out   io.Writer
	limit int64        // bytes of a message
	heard atomic.Int64 // bytes that came in

	partial bytes.Buffer // of the message that has begun
	kind    ws.OpCode    // of that; zero where none has
	handed  bool         // partial was handed out
	control [ws.MaxControlFramePayloadSize]byte

	mu     sync.Mutex // guards what follows, and out
	frame  []byte     // as it goes out
	closed bool       // the last frame has gone out, or writing failed
	pings  []ping     // that wait for their pongs, oldest first
	last   uint64     // number of the last ping
}

// ping is one that keeper sent, for the other side or for itself. Payloads of pings
// never pass: a number stands for each, so that they carry nothing unseen.
type ping struct {
	number  uint64
	payload []byte // of the other side's; nil of keeper's own
}

// heardReader counts what comes in.
type heardReader struct {
	io.Reader
	n *atomic.Int64
}

func (h heardReader) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	h.n.Add(int64(n))
	return n, err
}

func newSide(agent bool, in io.Reader, out io.Writer, limit int64) *side {
	s := &side{agent: agent, out: out, limit: limit}
	s.in = bufio.NewReader(heardReader{in, &s.heard})
	return s
}

// next returns a whole message, of the fragments that it came in, or a control
// frame. The payload is valid until the next call. A *frameFault says that the side
// breaks the protocol.
func (s *side) next() (ws.OpCode, []byte, error) {
	if s.handed {
		s.handed, s.kind = false, 0
		if s.partial.Reset(); s.partial.Cap() > keptMessage {
			s.partial = bytes.Buffer{}
		}
	}
	for {
		h, err := s.header()
		if err != nil {
			return 0, nil, err
		}
		if h.OpCode.IsControl() {
			payload := s.control[:h.Length]
			_, err := io.ReadFull(s.in, payload)
			unmask(payload, h)
			return h.OpCode, payload, err
		}
		if err := s.add(h); err != nil {
			return 0, nil, err
		}
		if !h.Fin {
			continue
		}
		s.handed = true
		if s.kind == ws.OpText && !utf8.Valid(s.partial.Bytes()) {
			return 0, nil, &frameFault{ws.StatusInvalidFramePayloadData, "a text message is not valid UTF-8"}
		}
		return s.kind, s.partial.Bytes(), nil
	}
}

// header reads a frame's header, and checks it against RFC 6455, 5.
func (s *side) header() (ws.Header, error) {
	h, err := ws.ReadHeader(s.in)
	if err == ws.ErrHeaderLengthMSB {
		return h, &frameFault{ws.StatusProtocolError, "a frame's length is malformed"}
	}
	if err != nil {
		return h, err
	}
	state := ws.StateClientSide
	if s.agent {
		state = ws.StateServerSide
	}
	if s.kind != 0 {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, &frameFault{ws.StatusProtocolError, err.Error()}
	}
	if !h.OpCode.IsControl() && h.Length > s.limit-int64(s.partial.Len()) {
		return h, &frameFault{ws.StatusMessageTooBig, fmt.Sprintf("a message is over this keeper's limit of %d bytes", s.limit)}
	}
	return h, nil
}

// add takes a fragment in. Memory grows by what comes, not by what is announced.
func (s *side) add(h ws.Header) error {
	if s.kind == 0 {
		s.kind = h.OpCode
	}
	at := s.partial.Len()
	if _, err := io.CopyN(&s.partial, s.in, h.Length); err != nil {
		return err
	}
	unmask(s.partial.Bytes()[at:], h)
	return nil
}

func unmask(payload []byte, h ws.Header) {
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
}

// write sends one frame. After the last one, or where writing has failed, it sends
// nothing any more.
func (s *side) write(op ws.OpCode, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(op, payload)
}

// send is write for who holds mu.
func (s *side) send(op ws.OpCode, payload []byte) error {
	if s.closed {
		return nil
	}
	h := ws.Header{Fin: true, OpCode: op, Length: int64(len(payload)), Masked: !s.agent}
	if h.Masked {
		rand.Read(h.Mask[:])
	}
	out := bytes.NewBuffer(s.frame[:0])
	if err := ws.WriteHeader(out, h); err != nil {
		return fmt.Errorf("making a frame: %w", err)
	}
	at := out.Len()
	out.Write(payload)
	unmask(out.Bytes()[at:], h)
	if s.frame = out.Bytes(); cap(s.frame) > keptMessage {
		s.frame = nil
	}
	_, err := s.out.Write(out.Bytes())
	s.closed = err != nil || op == ws.OpClose
	return err
}

// close sends the last frame, with no code where it is zero.
func (s *side) close(code ws.StatusCode, reason string) error {
	var payload []byte
	if code != 0 {
		payload = append(binary.BigEndian.AppendUint16(nil, uint16(code)), cutText(reason, maxReason)...)
	}
	return s.write(ws.OpClose, payload)
}

// cutText is text up to n bytes, without half a character at its end.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// ping asks the side for a sign of life. A side that is being written to, which
// may take long, is not asked by keeper itself.
func (s *side) ping(payload []byte) error {
	if payload != nil {
		s.mu.Lock()
	} else if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	s.last++
	s.pings = append(s.pings, ping{s.last, payload})
	if len(s.pings) > maxPings {
		s.pings = append(s.pings[:0], s.pings[1:]...)
	}
	return s.send(ws.OpPing, binary.BigEndian.AppendUint64(nil, s.last))
}

// ponged returns the payload of the other side's ping that a pong answers. Those
// before it need no answer any more (RFC 6455, 5.5.3).
func (s *side) ponged(payload []byte) (of []byte, other bool) {
	if len(payload) != 8 {
		return nil, false
	}
	number := binary.BigEndian.Uint64(payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.pings {
		if p.number == number {
			s.pings = append(s.pings[:0], s.pings[i+1:]...)
			return p.payload, p.payload != nil
		}
	}
	return nil, false
}

// farewell reads what a close frame says.
func farewell(payload []byte) (code ws.StatusCode, reason string, err error) {
	if len(payload) == 0 {
		return 0, "", nil
	}
	code, reason = ws.ParseCloseFrameData(payload)
	switch {
	case len(payload) == 1 || !mayClose(code):
		return 0, "", &frameFault{ws.StatusProtocolError, "a close code may not be sent"}
	case !utf8.ValidString(reason):
		return 0, "", &frameFault{ws.StatusInvalidFramePayloadData, "a close reason is not valid UTF-8"}
	}
	return code, reason, nil
}

// mayClose says whether a code may stand in a close frame: those that IANA has
// registered for it, and those of applications.
func mayClose(code ws.StatusCode) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}
