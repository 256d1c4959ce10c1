package scanner

import "errors"

var errClosed = errors.New("writing to a closed body scan")

// BodyScan looks for credentials in a body that is written to it in any pieces,
// in bounded memory: what it finds does not depend on the pieces. Text that JSON
// escapes or percent-encoding hide is looked at in clear too. It is not safe for
// concurrent use.
type BodyScan struct {
	text   stream
	closed bool
}

// NewBodyScan starts the scan of one body. Every escape is looked at in every kind
// of body, whatever the content type says it is.
func (s *Scanner) NewBodyScan(_ string) *BodyScan {
	return &BodyScan{text: stream{scanner: s, sink: noSink{}, location: "body"}}
}

// Write scans p. It fails only after Close.
func (b *BodyScan) Write(p []byte) (int, error) {
	if b.closed {
		return 0, errClosed
	}
	return len(p), b.text.write(p)
}

// Close ends the body. A second Close does nothing.
func (b *BodyScan) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	return b.text.close()
}

// Findings returns what was found, in ascending order and without overlap: the
// first thousand, and of those after them each that is graver than all before it.
// It is complete after Close.
func (b *BodyScan) Findings() []Finding { return b.text.found.list }

type noSink struct{}

func (noSink) pass([]byte) error         { return nil }
func (noSink) replace(int, string) error { return nil }
