package fake

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const (
	trailerName = "X-Fake-Trailer"
	leakHeader  = "X-Fake-Leak"
)

// answer is one answer in the making.
type answer struct {
	w   http.ResponseWriter
	r   *http.Request
	p   *Provider
	rec *Request
	s   scenario

	payload []byte // the body, out of the chunks that an upload to S3 may have

	out    encoder // nil until the headers are out
	events int
}

// encoder is a body's encoding, which can be flushed between events.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// serve answers an authorized request: what the scenario asks for instead of
// an answer, else the vendor's own.
func (a *answer) serve() {
	if a.s.has("hints") {
		a.w.Header().Set("Link", "</style.css>; rel=preload")
		a.w.WriteHeader(http.StatusEarlyHints)
		a.w.Header().Del("Link")
	}
	switch {
	case a.s["hang"] == "0":
		<-a.r.Context().Done()
	case a.s.has("error"):
		a.fail(a.s.number("error", http.StatusInternalServerError))
	case a.s.has("redirect"):
		a.w.Header().Set("Location", a.s["redirect"])
		a.plain(http.StatusFound, "text/plain", nil)
	case a.s.has("bytes"):
		kind, body := Fill(a.s["fill"], a.s.number("bytes", 0))
		a.plain(a.status(), kind, body)
	case a.s["echo"] == "headers":
		a.json(a.status(), map[string]any{"method": a.r.Method, "path": a.rec.Path, "query": a.rec.RawQuery, "headers": a.r.Header})
	case a.s["echo"] == "body":
		a.plain(a.status(), a.r.Header.Get("Content-Type"), a.rec.Body)
	default:
		a.vendor()
	}
}

func (a *answer) vendor() {
	switch a.rec.Vendor {
	case "openai":
		a.openai()
	case "anthropic":
		a.anthropic()
	case "gemini":
		a.gemini()
	case "github":
		a.github()
	case "stripe":
		a.stripe()
	case "slack":
		a.slack()
	case "aws-bedrock":
		a.bedrock()
	case "aws-s3":
		a.s3()
	case "mcp":
		a.mcp()
	default:
		a.json(a.status(), map[string]any{"ok": true, "method": a.r.Method, "path": a.rec.Path, "text": a.text()})
	}
}

func (a *answer) status() int { return a.s.number("status", http.StatusOK) }

// secret is what this answer leaks, in its form.
func (a *answer) secret() string {
	return InForm(a.s["form"], a.p.secretNamed(a.s["secret"], a.rec.Vendor))
}

// text is what the vendor's model, issue or customer says.
func (a *answer) text() string { return strings.Join(a.pieces(), "") }

// pieces are the deltas that a stream sends text in.
func (a *answer) pieces() []string {
	words := []string{"Hello", " from", " the", " fake", " API."}
	if a.s["echo"] == "text" {
		words = runs(string(a.rec.Body), 11)
	}
	var pieces []string
	for i := range a.s.number("chunks", len(words)) {
		pieces = append(pieces, words[i%len(words)])
	}
	half := len(pieces) / 2
	switch {
	case a.s.leaks("text"):
		pieces = append(pieces[:half:half], append([]string{" the key is " + a.secret() + " indeed"}, pieces[half:]...)...)
	case a.s.leaks("split"):
		said := append(append([]string{" the key is "}, runs(a.secret(), 7)...), " indeed")
		pieces = append(pieces[:half:half], append(said, pieces[half:]...)...)
	}
	return pieces
}

// runs cuts text into pieces of size bytes.
func runs(text string, size int) []string {
	var pieces []string
	for len(text) > size {
		pieces, text = append(pieces, text[:size]), text[size:]
	}
	return append(pieces, text)
}

func (a *answer) json(status int, v any) {
	body, err := marshal(v)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a.plain(status, "application/json", body)
}

// marshal writes JSON as the vendors do, without escaping HTML.
func marshal(v any) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}

// plain answers with a whole body.
func (a *answer) plain(status int, contentType string, body []byte) {
	if !a.s.has("encoding") && !a.s.has("trailers") && !a.s.leaks("trailer") && !a.s.has("abort") {
		a.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	a.begin(status, contentType)
	if bodyless(status) || a.r.Method == http.MethodHead {
		return
	}
	if cut := a.s.number("abort", -1); cut >= 0 && cut < len(body) {
		a.write(body[:cut])
		panic(http.ErrAbortHandler)
	}
	a.write(body)
	a.end()
}

// begin sends the headers.
func (a *answer) begin(status int, contentType string) {
	h := a.w.Header()
	if contentType != "" && !bodyless(status) {
		h.Set("Content-Type", contentType)
	}
	a.label(h)
	if a.s.leaks("header") {
		h.Set(leakHeader, "the key is "+a.secret())
	}
	if a.s.has("trailers") || a.s.leaks("trailer") {
		h.Set("Trailer", trailerName)
	}
	if name := a.s["encoding"]; name != "" && !bodyless(status) {
		h.Set("Content-Encoding", contentEncoding(name))
		h.Del("Content-Length")
	}
	if bodyless(status) {
		h.Del("Content-Length")
	}
	a.w.WriteHeader(status)
	a.out = newEncoder(a.s["encoding"], a.w)
}

// label sets the headers by which the vendors number their answers.
func (a *answer) label(h http.Header) {
	id := "req_" + random(base62, 24)
	switch a.rec.Vendor {
	case "openai":
		h.Set("X-Request-Id", id)
		h.Set("Openai-Processing-Ms", "12")
	case "anthropic":
		h.Set("Request-Id", id)
	case "github":
		h.Set("X-Github-Request-Id", id)
		h.Set("X-Ratelimit-Remaining", "4999")
	case "stripe":
		h.Set("Request-Id", id)
	case "aws-bedrock":
		h.Set("X-Amzn-Requestid", id)
	case "aws-s3":
		h.Set("X-Amz-Request-Id", id)
	}
}

// event sends one event of a stream, once its gate lets it.
func (a *answer) event(frame string) {
	if a.out == nil {
		a.begin(http.StatusOK, "text/event-stream")
		a.flush()
	}
	if a.s.has("gate") && !a.p.Gate(a.s["gate"]).wait(a.r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if a.events == a.s.number("abort", -1) {
		panic(http.ErrAbortHandler)
	}
	if a.events == a.s.number("hang", -1) {
		<-a.r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	a.events++
	a.write([]byte(frame))
	a.flush()
}

// data sends v as an event: named where the vendor names its events, with the
// vendor's line ends.
func (a *answer) data(name string, v any, newline string) {
	body, err := marshal(v)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	frame := "data: " + string(body) + newline + newline
	if name != "" {
		frame = "event: " + name + newline + frame
	}
	a.event(frame)
}

func (a *answer) write(p []byte) {
	if _, err := a.out.Write(p); err != nil {
		panic(http.ErrAbortHandler) // the caller is gone
	}
}

func (a *answer) flush() {
	if err := a.out.Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
	if err := http.NewResponseController(a.w).Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// end finishes the body and sends the trailers.
func (a *answer) end() {
	finish := a.out.Close
	if a.s["encoding"] == "truncated" {
		finish = a.out.Flush
	}
	if err := finish(); err != nil {
		panic(http.ErrAbortHandler)
	}
	switch {
	case a.s.leaks("trailer"):
		a.w.Header().Set(trailerName, "the key is "+a.secret())
	case a.s.has("trailers"):
		a.w.Header().Set(trailerName, "arrived")
	}
}

func contentEncoding(name string) string {
	switch name {
	case "unknown":
		return "x-fake"
	case "broken", "truncated":
		return "gzip"
	}
	return name
}

func newEncoder(name string, w io.Writer) encoder {
	switch name {
	case "gzip", "truncated":
		return gzip.NewWriter(w)
	case "deflate":
		return zlib.NewWriter(w)
	case "br":
		return brotli.NewWriter(w)
	case "zstd":
		if enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)); err == nil {
			return enc
		}
		panic(http.ErrAbortHandler)
	}
	return identity{w}
}

type identity struct{ io.Writer }

func (identity) Flush() error { return nil }
func (identity) Close() error { return nil }
