package scanner

import (
	"errors"
	"io"
	"mime"
	"strings"
)

// ErrEventTooLong is returned by a Redactor for an event that is longer than it
// will keep in memory. What follows cannot be redacted; the stream must be cut.
var ErrEventTooLong = errors.New("event of the stream is too long to redact")

// ErrCut is returned by a Redactor that may not rewrite what it redacts: the
// stream holds a secret, of which nothing was written, and must be cut.
var ErrCut = errors.New("stream holds a secret and may not be rewritten")

// RedactOptions say what a Redactor is to redact.
type RedactOptions struct {
	// ContentType is the response's. A stream of events is redacted in the text that
	// its deltas add up to, and each event leaves as soon as its text does: server-sent
	// events, JSON by lines, and a JSON array or lines of text that begin as those of
	// a model's answer do. JSON, text and what has no type of its own are taken for
	// the first two where they begin so.
	ContentType string
	// Messages says that each Write is one message of a sequence, such as a
	// WebSocket's, of JSON or text whatever the ContentType. Each leaves in one write.
	Messages bool
	// Location is that of the findings; "body" where empty. One that stands in JSON
	// of an event is continued by its path, as in "body.choices[0].delta.content".
	Location string
	// Cut ends the stream with ErrCut where something would be replaced: for
	// bodies whose integrity the receiver checks.
	Cut bool
}

// Redactor takes the credentials out of a stream as it flows. What it writes is
// the same whatever the stream is cut into, but where each Write is a message.
//
// It holds back what may still become a credential, by shape alone: the run of
// token characters at the end, the unfinished value of a name that says secret,
// and the beginning of a private key. All else is written at once. It needs Close.
// It is not safe for concurrent use.
type Redactor struct {
	flow    flow
	unknown *opening // what the flow is chosen by, until it is
	err     error
}

// flow is a stream of one kind.
type flow interface {
	write(p []byte) error
	flush() error
	close() error
	findings() []Finding
}

// textFlow is a stream of which all is one text.
type textFlow struct{ *stream }

func (t textFlow) findings() []Finding { return t.found.list }

// NewRedactor returns a Redactor that writes to dst. It never closes dst.
func (s *Scanner) NewRedactor(dst io.Writer, o RedactOptions) *Redactor {
	if o.Location == "" {
		o.Location = "body"
	}
	text := textFlow{&stream{scanner: s, sink: writerSink{dst, o.Cut}, location: o.Location}}
	if o.Cut {
		return &Redactor{flow: text}
	}
	events := func(f framer) *eventStream { return newEventStream(s, dst, o.Location, f) }
	if o.Messages {
		return &Redactor{flow: events(messageFrames{})}
	}
	media := mediaType(o.ContentType)
	switch media {
	case "text/event-stream":
		return &Redactor{flow: events(&sseFrames{})}
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl", "application/jsonlines",
		"application/x-jsonlines", "application/json-lines", "application/x-json-stream", "application/stream+json", "application/json-seq":
		return &Redactor{flow: events(lineFrames{})}
	}
	guesses := guessesFor(media)
	if guesses == nil {
		return &Redactor{flow: text}
	}
	return &Redactor{unknown: &opening{guesses: guesses, text: text, events: events}}
}

// guessesFor are what a stream of a type may be that is none of events.
func guessesFor(media string) []guess {
	switch {
	case media == "application/json":
		return jsonGuesses
	case media == "text/plain":
		return plainGuesses
	case media == "", media == "application/octet-stream", media == "binary/octet-stream", strings.HasPrefix(media, "text/"):
		return otherGuesses
	}
	return nil
}

func mediaType(contentType string) string {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
	}
	return strings.ToLower(strings.TrimSpace(media))
}

// Write redacts p and writes what is certain. An error is final: of dst, or
// [ErrEventTooLong].
func (r *Redactor) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n := len(p)
	if r.flow == nil {
		p = r.begin(p, false)
	}
	if r.flow != nil {
		r.err = r.flow.write(p)
	}
	if r.err != nil {
		return 0, r.err
	}
	return n, nil
}

// begin chooses the flow by how the stream begins, and returns what it is to take.
func (r *Redactor) begin(p []byte, final bool) []byte {
	p, r.flow = r.unknown.choose(p, final)
	return p
}

// settle chooses the flow by what there is.
func (r *Redactor) settle() {
	if r.err == nil && r.flow == nil {
		held := r.begin(nil, true)
		r.err = r.flow.write(held)
	}
}

// Flush writes what is held back only because the last word may go on, if that
// reads as ordinary text: fewer than 8 token characters that begin no public
// prefix. It is for text whose sender waits for an answer to it, after a pause,
// since a secret without a public prefix may lose up to 7 characters by it. A
// stream of events needs no Flush: they leave by that rule.
func (r *Redactor) Flush() error {
	r.settle()
	if r.err == nil {
		r.err = r.flow.flush()
	}
	return r.err
}

// Close writes or redacts what is held back. After an error it returns that.
func (r *Redactor) Close() error {
	r.settle()
	if r.err == nil {
		r.err = r.flow.close()
	}
	return r.err
}

// Findings returns what was found so far, in the order in which it was decided:
// the first thousand, and of those after them each that is graver than all before
// it. Their offsets are into the stream, or for a stream of events into the text of
// the deltas or the event.
func (r *Redactor) Findings() []Finding {
	if r.flow == nil {
		return nil
	}
	return r.flow.findings()
}

// writerSink writes what a stream has decided on.
type writerSink struct {
	dst io.Writer
	cut bool
}

func (w writerSink) pass(p []byte) error {
	_, err := w.dst.Write(p)
	return err
}

func (w writerSink) replace(_ int, with string) error {
	if w.cut {
		return ErrCut
	}
	if with == "" {
		return nil
	}
	_, err := io.WriteString(w.dst, with)
	return err
}
