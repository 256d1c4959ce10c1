package proxy

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/superinstance/keeper/internal/scanner"
)

// decodedSink takes a body as it was sent and hands it to a scan as its
// Content-Encoding has it. The bytes as sent are scanned beside: what follows
// the end of the encoded data must not go unseen.
type decodedSink struct {
	plain io.Writer
	pipe  *io.PipeWriter // nil where nothing is encoded
	asIs  *scanner.BodyScan
	done  chan error // from the decoder, once
}

// newDecodedSink returns a sink for a body with those Content-Encoding
// headers, of at most limit bytes once it is decoded. The caller must Close it.
func (p *Proxy) newDecodedSink(encodings []string, scan io.Writer, limit int64) (*decodedSink, error) {
	coding := strings.Join(encodings, ",")
	if coding == "" || strings.EqualFold(coding, "identity") {
		return &decodedSink{plain: scan}, nil
	}
	r, w := io.Pipe()
	s := &decodedSink{pipe: w, asIs: p.scanner.NewBodyScan("application/octet-stream"), done: make(chan error, 1)}
	decoder, err := scanner.NewDecoder(coding, r)
	if errors.Is(err, scanner.ErrEncoding) {
		return nil, err
	}
	go func() {
		if err == nil {
			err = decode(scan, decoder, limit)
		}
		r.CloseWithError(errors.Join(io.ErrClosedPipe, err))
		s.done <- err
	}()
	return s, nil
}

// located returns what was found in a body, once it is decoded, with the places in
// its structure, for which the body is read again.
func (p *Proxy) located(c *call, b *body, found []scanner.Finding) []scanner.Finding {
	if len(found) == 0 {
		return nil
	}
	src := b.open()
	defer src.Close()
	decoder, err := scanner.NewDecoder(strings.Join(c.header.Values("Content-Encoding"), ","), src)
	if err != nil { // which it was not when the body came in
		return found
	}
	defer decoder.Close()
	p.scanner.Locate(decoder, c.header.Get("Content-Type"), found)
	return found
}

// decode brings what decoder reads to scan. It runs on a goroutine of its own,
// where a panic over what an agent sent would end keeper.
func decode(scan io.Writer, decoder io.ReadCloser, limit int64) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("decoding a request body: panic of type %T", value)
		}
	}()
	defer decoder.Close()
	n, err := io.CopyBuffer(writerOnly{scan}, io.LimitReader(decoder, limit+1), make([]byte, copyBytes))
	if err == nil && n > limit {
		err = errTooLarge
	}
	return err
}

func (s *decodedSink) Write(b []byte) (int, error) {
	if s.pipe == nil {
		return s.plain.Write(b)
	}
	if _, err := s.asIs.Write(b); err != nil {
		return 0, err
	}
	// The decoder may have seen its end already: then nothing more is decoded.
	if _, err := s.pipe.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return 0, err
	}
	return len(b), nil
}

// Close returns when all is scanned. The error says that the body is not what
// its Content-Encoding says, or wraps errTooLarge.
func (s *decodedSink) Close() error {
	if s.pipe == nil {
		return nil
	}
	s.pipe.Close()
	return errors.Join(<-s.done, s.asIs.Close())
}

// findings are those in the bytes as they were sent.
func (s *decodedSink) findings() []scanner.Finding {
	if s.asIs == nil {
		return nil
	}
	return s.asIs.Findings()
}
