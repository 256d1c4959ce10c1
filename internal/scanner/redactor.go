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
	// ContentType is the response's. An event stream is redacted in the text that
	// its deltas add up to, and each event leaves as soon as its text does.
	ContentType string
	// Location is that of the findings; "body" where empty.
	Location string
	// Cut ends the stream with ErrCut where something would be replaced: for
	// bodies whose integrity the receiver checks.
	Cut bool
}

// Redactor takes the credentials out of a stream as it flows. What it writes is
// the same whatever the stream is cut into.
//
// It holds back what may still become a credential, by shape alone: the run of
// token characters at the end, the unfinished value of a name that says secret,
// and the beginning of a private key. All else is written at once. It needs Close.
// It is not safe for concurrent use.
type Redactor struct {
	text   *stream
	events *eventStream // instead of text, for an event stream
	err    error
}

// NewRedactor returns a Redactor that writes to dst. It never closes dst.
func (s *Scanner) NewRedactor(dst io.Writer, o RedactOptions) *Redactor {
	if o.Location == "" {
		o.Location = "body"
	}
	media, _, err := mime.ParseMediaType(o.ContentType)
	if err != nil {
		media, _, _ = strings.Cut(o.ContentType, ";")
	}
	if strings.EqualFold(strings.TrimSpace(media), "text/event-stream") && !o.Cut {
		return &Redactor{events: newEventStream(s, dst, o.Location)}
	}
	return &Redactor{text: &stream{scanner: s, sink: writerSink{dst, o.Cut}, location: o.Location}}
}

// Write redacts p and writes what is certain. An error is final: of dst, or
// [ErrEventTooLong].
func (r *Redactor) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.events != nil {
		r.err = r.events.write(p)
	} else {
		r.err = r.text.write(p)
	}
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Flush writes what is held back only because the last word may go on, if that
// reads as ordinary text: fewer than 8 token characters that begin no public
// prefix. It is for text whose sender waits for an answer to it, after a pause,
// since a secret without a public prefix may lose up to 7 characters by it. An
// event stream needs no Flush: its events leave by that rule.
func (r *Redactor) Flush() error {
	if r.err == nil && r.text != nil {
		r.err = r.text.flush()
	}
	return r.err
}

// Close writes or redacts what is held back. After an error it returns that.
func (r *Redactor) Close() error {
	if r.err != nil {
		return r.err
	}
	if r.events != nil {
		r.err = r.events.close()
	} else {
		r.err = r.text.close()
	}
	return r.err
}

// Findings returns what was found so far, in the order in which it was decided:
// the first thousand, and of those after them each that is graver than all before
// it. Their offsets are into the stream, or for an event stream into the text of the
// deltas or the event.
func (r *Redactor) Findings() []Finding {
	if r.events != nil {
		return r.events.findings()
	}
	return r.text.found.list
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
