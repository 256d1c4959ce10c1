package proxy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	// wholeBytes is up to which announced length an answer is redacted as a
	// whole, so that it keeps an exact Content-Length.
	wholeBytes = 256 << 10
	copyBytes  = 32 << 10
)

// answer is what became of the provider's answer.
type answer struct {
	outcome  string // as the log has it
	code     string // why it is not complete
	status   int
	bytes    int64
	events   bool // it is a stream of them
	findings []scanner.Finding
	seen     []scanner.Finding // in what the agent sent after the decision
	traffic  *audit.Traffic    // of a call whose messages streamed
	refusal  *refusal          // instead of it; nothing was sent yet
	cut      bool              // it broke off
	told     bool              // and an error event was sent to say so
}

// respond brings the provider's answer to the caller: headers, body and
// trailers, decoded, and redacted as they stream.
func (p *Proxy) respond(ctx context.Context, w http.ResponseWriter, c *call, resp *http.Response) answer {
	d := &delivery{proxy: p, ctx: ctx, to: w, call: c, resp: resp}
	d.answer.status = resp.StatusCode
	d.answer.events = media(resp.Header) == "text/event-stream" || d.framed()
	if c.meter != nil {
		c.meter.Head(resp.Header)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && c.upgrade != nil {
		return d.speak()
	}
	if resp.StatusCode < http.StatusOK {
		return d.refuse(codeInvalid, "the provider's answer has no final status, or switched protocols unasked")
	}
	resp.Body = c.watch.FromProvider(resp.Body)
	coding := strings.Join(resp.Header.Values("Content-Encoding"), ",") // though Connection name it
	fromProvider(resp.Header)
	d.note(p.scanner.RedactHeader(resp.Header))
	if c.remote != nil && isGRPC(resp.Header) {
		if encoded(coding) {
			return d.refuse(codeInvalid, "the provider's answer is encoded as a whole, which gRPC is not")
		}
		return d.remote()
	}
	if !hasBody(c.method, resp.StatusCode) {
		d.head()
		return d.complete()
	}
	src, err := scanner.NewDecoder(coding, resp.Body)
	if err != nil {
		return d.refuse(codeInvalid, "the provider's answer is encoded in a way that cannot be decoded, so it cannot be scanned")
	}
	defer src.Close()
	if encoded(coding) {
		resp.Header.Del("Content-Encoding")
		resp.Header.Del("Content-Length")
		resp.ContentLength = -1
	}
	if resp.ContentLength >= 0 && resp.ContentLength <= wholeBytes && len(resp.Trailer) == 0 {
		return d.whole(src)
	}
	resp.Header.Del("Content-Length")
	return d.stream(src)
}

func hasBody(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

func encoded(coding string) bool {
	coding = strings.TrimSpace(coding)
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// delivery is one answer on its way to the caller.
type delivery struct {
	proxy  *Proxy
	ctx    context.Context // of the call, which ends when the answer has been delivered
	to     http.ResponseWriter
	call   *call
	resp   *http.Response
	failed error // the caller could not be written to
	answer answer

	streams bool // it goes on as it comes
}

func (d *delivery) note(fs []scanner.Finding) {
	d.answer.findings = append(d.answer.findings, fs...)
}

// head sends status and headers.
func (d *delivery) head() {
	out := d.to.Header()
	for name, values := range d.resp.Header {
		out[name] = values
	}
	d.to.WriteHeader(d.resp.StatusCode)
}

// Write is where redacted bytes arrive.
func (d *delivery) Write(p []byte) (int, error) {
	begun := time.Now()
	n, err := d.to.Write(p)
	d.call.watch.Agent(begun)
	if d.streams && n > 0 {
		d.call.watch.FirstByte()
	}
	d.answer.bytes += int64(n)
	if d.call.meter != nil {
		d.call.meter.Write(p[:n])
	}
	if err != nil {
		d.failed = err
	}
	return n, err
}

func (d *delivery) options() scanner.RedactOptions {
	return scanner.RedactOptions{
		ContentType: d.resp.Header.Get("Content-Type"), Location: "body", Cut: d.call.route.Integrity || d.framed(),
	}
}

// whole redacts a short answer before any of it is sent.
func (d *delivery) whole(src io.Reader) answer {
	var clean bytes.Buffer
	clean.Grow(int(d.resp.ContentLength) + bytes.MinRead)
	redactor := d.proxy.scanner.NewRedactor(&clean, d.options())
	buf := d.proxy.buffers.Get().(*[]byte)
	defer d.proxy.buffers.Put(buf)
	_, err := io.CopyBuffer(writerOnly{redactor}, readerOnly{src}, *buf)
	if err == nil {
		err = redactor.Close()
	}
	d.note(redactor.Findings())
	if err != nil {
		code, sentence := d.reason(err)
		return d.refuse(code, sentence)
	}
	d.resp.Header.Set("Content-Length", strconv.Itoa(clean.Len()))
	d.head()
	d.Write(clean.Bytes())
	if d.failed != nil {
		return d.broken(d.failed)
	}
	return d.complete()
}

// stream hands an answer on as it comes, each piece as soon as it is known to
// be clean.
func (d *delivery) stream(src io.Reader) answer {
	d.head()
	d.streams = true
	in, redactor, end := d.redactor()
	err := d.copy(in, src)
	if err == nil {
		err = end()
	}
	d.note(redactor.Findings())
	if err != nil {
		return d.broken(err)
	}
	d.trailers()
	return d.complete()
}

// redactor returns one that writes to the caller, what is to be written to it, and
// what ends both. Frames go to it one by one, and go from it whole.
func (d *delivery) redactor() (in io.Writer, r *scanner.Redactor, end func() error) {
	if !d.framed() {
		r = d.proxy.scanner.NewRedactor(d, d.options())
		return r, r, r.Close
	}
	out := &frames{to: d}
	r = d.proxy.scanner.NewRedactor(out, d.options())
	first := &frames{to: flushed{r}}
	return first, r, func() error { return cmp.Or(first.end(), r.Close(), out.end()) }
}

func (d *delivery) copy(redactor io.Writer, src io.Reader) error {
	rc := http.NewResponseController(d.to)
	if err := rc.Flush(); err != nil { // the caller sees at once that it was answered
		d.failed = err
		return err
	}
	buf := d.proxy.buffers.Get().(*[]byte)
	defer d.proxy.buffers.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			before := d.answer.bytes
			if _, werr := redactor.Write((*buf)[:n]); werr != nil {
				return werr
			}
			if d.answer.bytes > before {
				begun := time.Now()
				ferr := rc.Flush()
				d.call.watch.Agent(begun)
				if ferr != nil {
					d.failed = ferr
					return ferr
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// trailers sends what came after the body, announced or not.
func (d *delivery) trailers() {
	fromProvider(d.resp.Trailer)
	dropAll(d.resp.Trailer, framing)
	d.note(d.proxy.scanner.RedactHeader(d.resp.Trailer))
	out := d.to.Header()
	for name, values := range d.resp.Trailer {
		out[http.TrailerPrefix+name] = values
	}
}

func (d *delivery) complete() answer {
	d.answer.outcome = "complete"
	return d.answer
}

// refuse answers in the provider's place; nothing was sent yet.
func (d *delivery) refuse(code, sentence string) answer {
	d.answer.outcome, d.answer.code = outcomeOf(code), code
	d.answer.refusal = refuse(code, sentence)
	return d.answer
}

// broken ends an answer that has begun: by an error event where it is an event
// stream, and never cleanly.
func (d *delivery) broken(err error) answer {
	code, sentence := d.reason(err)
	d.answer.outcome, d.answer.code, d.answer.cut = outcomeOf(code), code, true
	if last := d.lastEvent(refuse(code, sentence)); d.failed == nil && last != nil {
		d.Write(last)
		// The connection is aborted next; what was written should be out by then.
		_ = http.NewResponseController(d.to).Flush()
		d.answer.told = d.failed == nil
	}
	return d.answer
}

// reason tells why an answer ended early, without quoting the error, which may
// hold what the provider sent.
func (d *delivery) reason(err error) (code, sentence string) {
	switch {
	case d.ctx.Err() != nil:
		code := d.proxy.interruption(d.ctx)
		return code, interruptions[code]
	case errors.Is(d.failed, errTooLong):
		return codeInvalid, "the provider's answer is too long for an envelope"
	case d.failed != nil:
		return codeAgentGone, interruptions[codeAgentGone]
	case errors.Is(err, scanner.ErrCut):
		return codeRedactionFails, "the answer holds a secret and may not be rewritten, so it was cut off"
	}
	return codeInvalid, "the provider's answer broke off or could not be decoded"
}

// lastEvent says that the answer was cut; nil where it is no stream of events.
func (d *delivery) lastEvent(r *refusal) []byte {
	switch media(d.resp.Header) {
	case "text/event-stream":
		return d.proxy.errorEvent(d.call, r)
	case awsEventStream:
		return errorFrame(awsCode(kindOf(r.code).status)+"Exception", r.sentence())
	}
	return nil
}

// framed reports whether the answer's frames bear checksums.
func (d *delivery) framed() bool { return media(d.resp.Header) == awsEventStream }

func media(h http.Header) string {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media
}

// finish records the outcome.
func (p *Proxy) finish(ctx context.Context, c *call, receipt audit.Receipt, a answer, start time.Time) {
	c.watch.End()
	redacted := false
	for _, f := range a.findings {
		redacted = redacted || f.Redacts()
	}
	err := p.audit.Finish(ctx, receipt, audit.Outcome{
		Outcome: a.outcome, Code: a.code, Status: a.status, ResponseBytes: a.bytes,
		DurationMS: time.Since(start).Milliseconds(), Findings: p.recorded(slices.Concat(a.seen, a.findings)), Redacted: redacted,
		Traffic: a.traffic, CredentialRefused: c.refused,
	})
	c.verdict = verdict{a.outcome, a.code, a.status, a.bytes}
	p.found(requests, a.seen)
	p.found(answers, a.findings)
	if err != nil {
		p.logger.Error("recording an outcome", "requestId", c.id, "error", err)
	}
}
