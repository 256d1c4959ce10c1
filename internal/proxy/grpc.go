package proxy

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/scanner"
)

// grpcCodings are those of messages that can be scanned.
var grpcCodings = []string{"identity", "gzip", "deflate"}

// remoteCall is a gRPC call, whose messages are scanned one by one on their way to
// the provider. The transport reads it, on a goroutine of its own.
type remoteCall struct {
	fault *refusal // why it cannot be served; nil: it can

	proxy    *Proxy
	call     *call
	messages *messageReader
	blocked  func([]scanner.Finding)
	left     []byte // of the message that goes out; the reader's
	ended    error  // nothing follows; the reader's

	mu    sync.Mutex // guards what follows
	over  bool       // the call has ended, and nothing counts any more
	no    *refusal   // why the call was ended here
	seen  []scanner.Finding
	sent  int64
	bytes int64
}

// isGRPC knows gRPC over HTTP/2; gRPC-Web is another protocol.
func isGRPC(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/grpc" || strings.HasPrefix(media, "application/grpc+")
}

// takeGRPC notes that a call is gRPC's.
func (c *call) takeGRPC(r *http.Request) {
	if !isGRPC(r.Header) {
		return
	}
	c.stream, c.remote = grpc, &remoteCall{call: c}
	coding := c.header.Get("Grpc-Encoding")
	switch {
	case r.ProtoMajor != 2 || r.Method != http.MethodPost:
		c.remote.fault = refuse(codeBadRequest, "gRPC is POST over HTTP/2; speak it to this keeper, too")
	case len(c.header["Content-Type"]) > 1 || len(c.header["Grpc-Encoding"]) > 1 || len(c.header["Content-Encoding"]) > 0:
		c.remote.fault = refuse(codeBadRequest, "gRPC has one content-type, one grpc-encoding and no content-encoding")
	case coding != "" && !slices.Contains(grpcCodings, coding):
		c.remote.fault = refuse(codeUndecodable, "the messages' grpc-encoding cannot be decoded, so they cannot be scanned; use gzip, deflate or identity")
	}
	if accepted := listed(c.header["Grpc-Accept-Encoding"]); len(accepted) > 0 {
		kept := slices.DeleteFunc(accepted, func(one string) bool { return !slices.Contains(grpcCodings, one) })
		c.header.Set("Grpc-Accept-Encoding", strings.Join(append(kept, "identity"), ","))
	}
}

// begin makes the body of a request of the messages that may go.
func (m *remoteCall) begin(p *Proxy, req *http.Request, blocked func([]scanner.Finding)) {
	m.proxy, m.blocked = p, blocked
	m.messages = newMessageReader(p.scanner, m.call.body, m.call.header.Get("Grpc-Encoding"), "message", p.maxMessage)
	req.Proto, req.ProtoMajor, req.ProtoMinor = "HTTP/2.0", 2, 0
	req.Body, req.ContentLength = m, -1
}

// Read gives what may go to the provider: whole messages in which no secret is.
func (m *remoteCall) Read(p []byte) (n int, err error) {
	defer func() { // on the transport's goroutine, a panic would end keeper
		if value := recover(); value != nil {
			m.stop(m.proxy.panicked(m.call, value))
			n, err = 0, m.ended
		}
	}()
	for len(m.left) == 0 {
		if m.ended != nil {
			return 0, m.ended
		}
		m.take()
	}
	n = copy(p, m.left)
	m.left = m.left[n:]
	return n, nil
}

// take reads and judges the next message.
func (m *remoteCall) take() {
	frame, found, err := m.messages.next()
	no := blocking(found)
	switch {
	case err == io.EOF:
		m.ended = io.EOF
		return
	case err != nil:
		m.stop(messageFault(err))
		return
	case !m.saw(found, frame, no == nil):
		m.stop(nil)
		return
	case no != nil:
		m.blocked(found)
		m.stop(no)
		return
	}
	m.left = frame
}

// saw notes a message, and says whether the call still counts.
func (m *remoteCall) saw(found []scanner.Finding, frame []byte, goes bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return false
	}
	m.seen = scanner.Gravest(append(m.seen, found...), maxRecorded)
	if goes {
		m.sent++
		m.bytes += int64(len(frame) - messageHead)
	}
	return true
}

// stop ends the body, so that the transport breaks the call off.
func (m *remoteCall) stop(no *refusal) {
	m.ended = errMalformed
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.no == nil {
		m.no = no
	}
}

// messageFault is the refusal of a message that cannot be read; nil where the agent
// itself broke off.
func messageFault(err error) *refusal {
	switch {
	case errors.Is(err, errMessageTooLarge):
		return refuse(codeTooLarge, "a message is over this keeper's limit")
	case errors.Is(err, errMessageFlag):
		return refuse(codeBadRequest, "a message is compressed though no grpc-encoding was announced, or has an unknown flag")
	case errors.Is(err, errMessageBroken):
		return refuse(codeUndecodable, "a message broke off or is not what grpc-encoding says, so it cannot be scanned")
	}
	return nil
}

// Close ends the body. It does not wait for a Read that waits for the agent, whose
// own end comes with the call's.
func (m *remoteCall) Close() error { return nil }

// refusal is why the call was ended on the agent's side, nil where it was not.
func (m *remoteCall) refusal() *refusal {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.no
}

// account adds to an answer what the agent has sent.
func (m *remoteCall) account(a *answer) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	if a.traffic == nil {
		a.traffic = &audit.Traffic{}
	}
	a.traffic.MessagesSent, a.traffic.RequestBytes = m.sent, m.bytes
	a.seen = m.seen
}

// remote hands the messages of a gRPC answer on as they come, each once it was
// scanned, and then the trailers.
func (d *delivery) remote() answer {
	d.answer.traffic = &audit.Traffic{}
	if len(d.resp.Header["Grpc-Status"]) > 0 { // an answer of trailers alone
		d.head()
		return d.complete()
	}
	d.head()
	rc := http.NewResponseController(d.to)
	if err := rc.Flush(); err != nil {
		d.failed = err
		return d.endRemote(err)
	}
	src := bufio.NewReaderSize(d.resp.Body, copyBytes)
	messages := newMessageReader(d.proxy.scanner, src, d.resp.Header.Get("Grpc-Encoding"), "answer", d.proxy.maxMessage)
	for {
		frame, found, err := messages.next()
		d.note(found)
		switch {
		case err == io.EOF:
			d.trailers()
			return d.complete()
		case err == nil && slices.ContainsFunc(found, scanner.Finding.Redacts):
			err = scanner.ErrCut
		}
		if err == nil {
			_, err = d.Write(frame)
		}
		if err == nil && src.Buffered() < messageHead {
			if err = rc.Flush(); err != nil {
				d.failed = err
			}
		}
		if err != nil {
			return d.endRemote(err)
		}
		d.answer.traffic.MessagesReceived++
	}
}

// endRemote ends an answer by keeper's own status, which no client takes for success.
func (d *delivery) endRemote(err error) answer {
	code, sentence := d.reason(err)
	switch no := d.call.remote.refusal(); {
	case d.ctx.Err() != nil || d.failed != nil:
	case no != nil:
		code, sentence = no.code, no.message
	case errors.Is(err, errMessageTooLarge):
		code, sentence = codeRedactionFails, "a message of the answer is over this keeper's limit"
	}
	d.answer.outcome, d.answer.code = outcomeOf(code), code
	out := d.to.Header()
	no := refuse(code, sentence)
	out.Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(grpcStatus(code)))
	out.Set(http.TrailerPrefix+"Grpc-Message", grpcMessage(no.sentence()))
	out.Set(http.TrailerPrefix+"Keeper-Code", code)
	return d.answer
}

// grpcStatuses are google.rpc.Code's numbers.
var grpcStatuses = map[string]int{
	"INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8,
	"INTERNAL": 13, "UNAVAILABLE": 14, "UNAUTHENTICATED": 16,
}

// grpcStatus is what a code means to gRPC.
func grpcStatus(code string) int {
	switch code {
	case codeTooLarge:
		return 8 // as its own libraries have it
	case codeRedactionFails:
		return 10 // ABORTED: it is not to be tried again as it was
	case codeUndecodable:
		return 12 // UNIMPLEMENTED: of an unknown encoding
	}
	if n, known := grpcStatuses[kindOf(code).google]; known {
		return n
	}
	return 13
}

// grpcMessage is percent-encoded, as gRPC wants it.
func grpcMessage(text string) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return out.String()
}

// grpcReply refuses a gRPC call: with success as HTTP has it, and the reason in
// trailers, which here are the headers.
func (p *Proxy) grpcReply(w http.ResponseWriter, _ *call, r *refusal) shaped {
	h := w.Header()
	h.Set("Grpc-Status", strconv.Itoa(grpcStatus(r.code)))
	h.Set("Grpc-Message", grpcMessage(r.sentence()))
	return shaped{http.StatusOK, "application/grpc", nil}
}
