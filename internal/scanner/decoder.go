package scanner

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Errors of a decoder, for errors.Is.
var (
	// ErrEncoding: the content encoding is unknown, or there are too many.
	ErrEncoding = errors.New("unknown content encoding")
	// ErrExpansion: the content expands beyond all proportion.
	ErrExpansion = errors.New("encoded content expands too far")
)

const (
	maxEncodings  = 2
	maxRatio      = 1200    // decoded bytes for each that came in; deflate reaches 1032
	freeExpansion = 8 << 20 // decoded bytes that are never too many
	zstdWindow    = 8 << 20 // RFC 8878 asks decoders for no more
)

// NewDecoder returns a reader of what r holds in the encodings that a
// Content-Encoding header names, outermost last: gzip, br, zstd, deflate (with or
// without a zlib header) and identity, two at most. It hands on what a flush of
// the sender's has completed, without waiting for more, and uses bounded memory.
//
// The error is [ErrEncoding] for an encoding that it does not know; reading gives
// [ErrExpansion] for a bomb. Close ends the decoder and does not close r.
func NewDecoder(contentEncoding string, r io.Reader) (io.ReadCloser, error) {
	var names []string
	for name := range strings.SplitSeq(contentEncoding, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && name != "identity" {
			names = append(names, name)
		}
	}
	if len(names) > maxEncodings {
		return nil, fmt.Errorf("decoding %d layers: %w", len(names), ErrEncoding)
	}
	d := &decoder{in: &countingReader{r: r}}
	d.out = d.in
	for i := len(names) - 1; i >= 0; i-- {
		open, ok := layers[names[i]]
		if !ok {
			d.Close()
			return nil, fmt.Errorf("decoding: %w", ErrEncoding)
		}
		layer := &lazyReader{from: d.out, open: open}
		d.out = layer
		d.layers = append(d.layers, layer)
	}
	return d, nil
}

var layers = map[string]func(io.Reader) (io.ReadCloser, error){
	"gzip": openGzip, "x-gzip": openGzip, "deflate": openDeflate, "br": openBrotli, "zstd": openZstd,
}

func openGzip(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(byteReader(r)) }

func openBrotli(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(brotli.NewReader(r)), nil }

func openZstd(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// openDeflate tells a zlib header (RFC 1950) from raw deflate, which is what
// some servers mean.
func openDeflate(r io.Reader) (io.ReadCloser, error) {
	b := byteReader(r)
	head, err := b.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// byteReader lets deflate read no further than it must.
func byteReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 4<<10) }

// decoder is the outermost reader: it holds the layers and the bound.
type decoder struct {
	in     *countingReader
	out    io.Reader
	layers []*lazyReader
	read   int64
}

// Read returns what is decoded, and ErrExpansion where that is too much.
func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.out.Read(p)
	d.read += int64(n)
	if d.read > freeExpansion && d.read/maxRatio > d.in.n {
		return 0, fmt.Errorf("decoding: %w", ErrExpansion)
	}
	if errors.Is(err, io.EOF) || err == nil {
		return n, err
	}
	return n, fmt.Errorf("decoding: %w", err)
}

// Close releases the decoders.
func (d *decoder) Close() error {
	for _, l := range d.layers {
		l.close()
	}
	return nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// lazyReader opens its layer with the first Read, since that may have to wait
// for a header. Content of no bytes at all is empty in any encoding.
type lazyReader struct {
	from  io.Reader
	open  func(io.Reader) (io.ReadCloser, error)
	layer io.ReadCloser
	err   error
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.layer == nil && l.err == nil {
		b := bufio.NewReaderSize(l.from, 512)
		if _, err := b.Peek(1); err != nil {
			l.err = err
		} else {
			l.start(b)
		}
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.layer.Read(p)
}

func (l *lazyReader) start(r io.Reader) {
	layer, err := l.open(r)
	if err != nil {
		l.err = err
		return
	}
	l.layer = layer
}

func (l *lazyReader) close() {
	if l.layer != nil {
		l.layer.Close()
	}
}
