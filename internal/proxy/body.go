package proxy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// errTooLarge says that a body is over the limit.
var errTooLarge = errors.New("body is over the limit")

const (
	memoryBytes = 1 << 20   // of a body; the rest is spooled
	chunkBytes  = 128 << 10 // read at a time beyond that
)

// body is a request's body, read whole: in memory, or beyond memoryBytes in a
// file without a name, encrypted under a key that only this process has.
type body struct {
	memory []byte
	file   *os.File
	key    []byte
	size   int64
}

// readBody reads src to its end, at most limit bytes, writing all of it to
// scan as it comes. declared is the length that the caller announced, or -1.
// The caller must close the body. The error wraps errTooLarge, or is src's.
func readBody(src io.Reader, scan io.Writer, declared, limit int64, spoolDir string) (*body, error) {
	if declared > limit {
		return nil, errTooLarge
	}
	b := &body{}
	first, err := readUpTo(src, min(limit, memoryBytes)+1, declared)
	if err != nil {
		return nil, err
	}
	if int64(len(first)) > limit {
		return nil, errTooLarge
	}
	if _, err := scan.Write(first); err != nil {
		return nil, fmt.Errorf("scanning a request body: %w", err)
	}
	b.memory, b.size = first, int64(len(first))
	if b.size <= memoryBytes {
		return b, nil
	}
	if err := b.spool(src, scan, limit, spoolDir); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// readUpTo reads at most n bytes. hint, where it is positive, is how many there
// should be.
func readUpTo(src io.Reader, n, hint int64) ([]byte, error) {
	var buf bytes.Buffer
	if hint > 0 {
		buf.Grow(int(min(hint, n)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(src, n)); err != nil {
		return nil, fmt.Errorf("reading a request body: %w", err)
	}
	return buf.Bytes(), nil
}

// spool moves what is in memory, and then the rest of src, into the file.
func (b *body) spool(src io.Reader, scan io.Writer, limit int64, dir string) error {
	file, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return fmt.Errorf("spooling a request body: %w", err)
	}
	b.file = file
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("spooling a request body: %w", err)
	}
	b.key = make([]byte, 32)
	rand.Read(b.key)
	sealed := cipher.StreamWriter{S: b.stream(), W: file}
	if _, err := sealed.Write(b.memory); err != nil {
		return fmt.Errorf("spooling a request body: %w", err)
	}
	b.memory = nil
	rest := io.LimitReader(src, limit-b.size+1)
	n, err := io.CopyBuffer(io.MultiWriter(writerOnly{scan}, sealed), readerOnly{rest}, make([]byte, chunkBytes))
	if err != nil {
		return fmt.Errorf("spooling a request body: %w", err)
	}
	if b.size += n; b.size > limit {
		return errTooLarge
	}
	return nil
}

// writerOnly and readerOnly keep io.Copy to the buffer it was given.
type (
	writerOnly struct{ io.Writer }
	readerOnly struct{ io.Reader }
)

// stream is the file's cipher. Each key seals one file once, so the counter
// may begin at zero.
func (b *body) stream() cipher.Stream {
	block, err := aes.NewCipher(b.key)
	if err != nil {
		panic("aes refuses a 32-byte key")
	}
	return cipher.NewCTR(block, make([]byte, aes.BlockSize))
}

// open returns a reader of the whole body. Several may be open at a time; none
// of them closes the body.
func (b *body) open() io.ReadCloser {
	if b.file == nil {
		return io.NopCloser(bytes.NewReader(b.memory))
	}
	section := io.NewSectionReader(b.file, 0, b.size)
	return io.NopCloser(cipher.StreamReader{S: b.stream(), R: section})
}

// Close frees the file. Readers that are still open then fail.
func (b *body) Close() error {
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}
