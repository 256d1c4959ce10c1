package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/scanner"
)

const (
	// envelopeBytes bounds an envelope, which is read before its sender is
	// known.
	envelopeBytes = 4 << 20
	// unprovenBytes is the memory that is laid out for a body before any of it
	// has come.
	unprovenBytes = 64 << 10
	// collectedBytes bounds an answer that goes back in an envelope.
	collectedBytes = 64 << 20
)

// letter is the body of an envelope caller.
type letter struct {
	Token       string            `json:"token"`
	Method      string            `json:"method"`
	Headers     map[string]string `json:"headers"`
	RequestBody json.RawMessage   `json:"requestBody"`
}

// envelopeTypes are the content types of an envelope: its own, and what simple
// clients such as `curl -d` call everything.
var envelopeTypes = []string{"application/json", "application/x-www-form-urlencoded", "text/plain", ""}

// mayBeEnvelope reports whether a request that bears no token anywhere else
// could have it in its body.
func mayBeEnvelope(r *http.Request) bool {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return r.Method == http.MethodPost && slices.Contains(envelopeTypes, media) && r.Header.Get("Content-Encoding") == ""
}

// serveEnvelope serves a caller who sends token and request in one JSON
// object, and gets status and body in one. It is false, and nothing was
// answered, where the body is no envelope: a transparent caller's.
func (p *Proxy) serveEnvelope(ctx context.Context, cut context.CancelCauseFunc, w http.ResponseWriter, c *call) bool {
	text, err := p.readUnproven(w, c)
	if err != nil || len(text) > envelopeBytes {
		no := refuse(codeTooLarge, "a call without a token in its headers is read up to 4 MiB; send the token in a header")
		if err != nil {
			no = refuse(codeBadRequest, "the request body could not be read to its end")
		}
		p.writeRefusal(w, c, p.refused(ctx, c, no))
		return true
	}
	if !looksLikeEnvelope(text) {
		c.body, c.declared = bytes.NewReader(text), int64(len(text))
		return false
	}
	c.mode = envelope
	if no := c.open(text); no != nil {
		p.writeEnvelopeRefusal(w, c, p.refused(ctx, c, no))
		return true
	}
	answer := newCollector(collectedBytes)
	result := p.run(ctx, cut, answer, c)
	closing(ctx, w, c)
	switch {
	case result.refusal != nil:
		p.writeEnvelopeRefusal(w, c, result.refusal)
	case result.cut:
		p.writeEnvelopeRefusal(w, c, refuse(codeInvalid, "the provider's answer broke off, could not be redacted, or is over 64 MiB"))
	default:
		answer.write(w, result.findings)
	}
	return true
}

// readUnproven reads a body of at most envelopeBytes, or one byte more where it
// is longer. Its sender is not known yet: what he announces buys him no memory,
// and he cannot hold the call open.
func (p *Proxy) readUnproven(w http.ResponseWriter, c *call) ([]byte, error) {
	connection := http.NewResponseController(w)
	if err := connection.SetReadDeadline(time.Now().Add(p.bodyWait)); err != nil {
		return nil, fmt.Errorf("bounding the time of a request body: %w", err)
	}
	text, err := readUpTo(c.body, envelopeBytes+1, min(c.declared, unprovenBytes))
	if err != nil {
		c.begun = true  // and ended
		return nil, err // the bound stays: before it answers, the server waits for the rest of the body
	}
	return text, connection.SetReadDeadline(time.Time{})
}

// looksLikeEnvelope reports whether text is a JSON object with nothing but an
// envelope's fields, or with a token among others.
func looksLikeEnvelope(text []byte) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return false
	}
	if _, found := fields["token"]; found {
		return true
	}
	for name := range fields {
		if name != "method" && name != "headers" && name != "requestBody" {
			return false
		}
	}
	return true
}

// open makes the call that the letter asks for.
func (c *call) open(text []byte) *refusal {
	var l letter
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return refuse(codeBadRequest, "the body must be {token, method?, headers?, requestBody?}: "+fieldOf(err))
	}
	if l.Token == "" {
		return refuse(codeTokenMissing, "Authentication token required")
	}
	c.taken.token(l.Token)
	c.method = l.method()
	header := http.Header{}
	for name, value := range l.Headers {
		if !validHeader(name, value) {
			return refuse(codeBadRequest, "headers: a name or a value is not one that HTTP allows")
		}
		header.Add(name, value)
	}
	c.taken.takeHeaders(header)
	outgoing(header)
	c.header = header
	c.setBody(l.RequestBody)
	c.trailer = func() http.Header { return nil }
	return nil
}

// method is POST where the letter names none. The methods that everyone knows may
// be in any case. Another word stays as it was sent, so that a key in it is found.
func (l letter) method() string {
	if l.Method == "" {
		return http.MethodPost
	}
	if known := strings.ToUpper(l.Method); slices.Contains(knownMethods, known) {
		return known
	}
	return l.Method
}

var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// setBody takes the letter's body: JSON as it stands, or, where the headers say
// that it is something else, the text of a string.
func (c *call) setBody(raw json.RawMessage) {
	body := []byte(raw)
	media, _, _ := mime.ParseMediaType(c.header.Get("Content-Type"))
	var text string
	if media != "" && !strings.HasSuffix(media, "json") && json.Unmarshal(raw, &text) == nil {
		body = []byte(text)
	}
	if bytes.Equal(body, []byte("null")) {
		body = nil
	}
	if len(body) > 0 && media == "" {
		c.header.Set("Content-Type", "application/json")
	}
	c.body, c.declared = bytes.NewReader(body), int64(len(body))
}

// fieldOf names the field that could not be decoded, and nothing of its value.
func fieldOf(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("%s must be a %s", wrong.Field, wrong.Type)
	}
	if _, name, found := strings.Cut(err.Error(), "unknown field "); found && len(name) < 64 {
		return "unknown field " + name
	}
	return "it is not well-formed JSON"
}

func validHeader(name, value string) bool {
	for _, r := range name {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) {
			return false
		}
	}
	return name != "" && !strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && r < 0x80 && unicode.IsControl(r) })
}

// envelopeRefusal is a refusal as an envelope caller gets it.
type envelopeRefusal struct {
	Error        string         `json:"error"`
	Code         string         `json:"code"`
	RequestID    string         `json:"requestId"`
	Docs         string         `json:"documentationUrl"`
	ScanFindings []shownFinding `json:"scanFindings,omitempty"`
}

func (p *Proxy) writeEnvelopeRefusal(w http.ResponseWriter, c *call, r *refusal) {
	sentence := r.sentence()
	if r.code == codeTokenMissing {
		sentence = "Authentication token required"
	}
	c.ended(r)
	refusalHeaders(w.Header(), r)
	writeJSON(w, kindOf(r.code).status, envelopeRefusal{sentence, r.code, c.id, p.page(c, r), shownFindings(r.findings)})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"keeper: the answer could not be encoded","code":"internal"}`)
	}
	writeBody(w, status, "application/json", body)
}

// errTooLong says that an answer is too long for an envelope.
var errTooLong = errors.New("answer is too long for an envelope")

// collector is an http.ResponseWriter that keeps the answer for an envelope.
type collector struct {
	header http.Header
	status int
	body   bytes.Buffer
	limit  int
}

func newCollector(limit int) *collector { return &collector{header: http.Header{}, limit: limit} }

func (a *collector) Header() http.Header { return a.header }

func (a *collector) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.status = status
	}
}

// Flush does nothing: an envelope's answer goes out as a whole.
func (a *collector) Flush() {}

func (a *collector) Write(p []byte) (int, error) {
	if a.body.Len()+len(p) > a.limit {
		return 0, errTooLong
	}
	return a.body.Write(p)
}

// reply is what an envelope caller gets.
type reply struct {
	Status   int            `json:"status"`
	Body     any            `json:"body"`
	Findings []shownFinding `json:"responseScanFindings"`
}

// write answers with the provider's status and its JSON, else its text, else
// its bytes in base64.
func (a *collector) write(w http.ResponseWriter, findings []scanner.Finding) {
	answer := reply{Status: a.status, Findings: shownFindings(findings)}
	body := a.body.Bytes()
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	switch {
	case strings.HasSuffix(media, "json") && json.Valid(body):
		answer.Body = json.RawMessage(body)
	case utf8.Valid(body):
		answer.Body = string(body)
	default:
		answer.Body = map[string]string{"base64": base64.StdEncoding.EncodeToString(body)}
	}
	writeJSON(w, http.StatusOK, answer)
}
