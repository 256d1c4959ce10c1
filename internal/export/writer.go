package export

import (
	"fmt"
	"io"

	"github.com/superinstance/keeper/internal/store"
)

// frame is what a file holds around its lines.
type frame struct{ head, between, tail, empty string }

var (
	plain  = frame{between: "\n", tail: "\n"}
	frames = map[Format]frame{
		JSON: {head: "[\n", between: ",\n", tail: "\n]\n", empty: "[]\n"},
		CSV:  {head: csvHead + "\r\n", between: "\r\n", tail: "\r\n", empty: csvHead + "\r\n"},
	}
)

// Writer writes entries as one file: JSON as an array, CSV with its header line,
// all others a line each. A file without entries is whole, too. It is not safe for
// concurrent use.
type Writer struct {
	w        io.Writer
	format   Format
	producer Producer
	frame    frame
	buf      []byte
	begun    bool
	err      error // the first; nothing is written after it
}

// NewWriter returns a Writer that hands each entry to w in one call.
func NewWriter(w io.Writer, f Format, p Producer) *Writer {
	fr, framed := frames[f]
	if !framed {
		fr = plain
	}
	return &Writer{w: w, format: f, producer: p, frame: fr}
}

// Write writes one entry. After an error it writes nothing more and returns that
// error again.
func (w *Writer) Write(e *store.AuditEntry) error {
	if w.err != nil {
		return w.err
	}
	w.buf = w.buf[:0]
	if w.begun {
		w.buf = append(w.buf, w.frame.between...)
	} else {
		w.buf = append(w.buf, w.frame.head...)
	}
	w.begun = true
	w.buf = w.format.Append(w.buf, e, w.producer)
	if _, err := w.w.Write(w.buf); err != nil {
		w.err = fmt.Errorf("writing entry %d: %w", e.Seq, err)
	}
	return w.err
}

// Close ends the file and leaves the underlying writer open. After an error of
// Write it returns that error and ends nothing, so that what is cut off does not
// pass for whole.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	end := w.frame.tail
	if !w.begun {
		end = w.frame.empty
	}
	if _, err := io.WriteString(w.w, end); err != nil {
		w.err = fmt.Errorf("ending an export: %w", err)
	}
	return w.err
}
