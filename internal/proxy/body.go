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
	"sync/atomic"
)

var (
	// errTooLarge says that a body is over the limit.
	errTooLarge = errors.New("body is over the limit")
	// errSpoolFull says that too much is spooled at this moment.
	errSpoolFull = errors.New("too many large bodies are under way")
)

const (
	memoryBytes = 1 << 20   // of a body; the rest is spooled
	chunkBytes  = 128 << 10 // read at a time beyond that
	spoolBytes  = 4 << 30   // of all bodies together, so that they cannot fill the disk
)

// spool is where large bodies go.
type spool struct {
	dir   string
	limit int64        // bytes
	used  atomic.Int64 // bytes
}

// take claims room for n more bytes.
func (s *spool) take(n int64) error {
	if s.used.Add(n) > s.limit {
		s.used.Add(-n)
		return errSpoolFull
	}
	return nil
}

// body is a request's body, read whole: in memory, or beyond memoryBytes in a
// file without a name, encrypted under a key that only this process has.
type body struct {
	memory []byte
	file   *os.File
	key    []byte
	size   int64
	spool  *spool // where the file is
	held   int64  // bytes claimed of it
}

// readBody reads src to its end, at most limit bytes, writing all of it to
// scan as it comes. declared is the length that the caller announced, or -1.
// The caller must close the body. The error wraps errTooLarge or errSpoolFull,
// or is src's or scan's.
func readBody(src io.Reader, scan io.Writer, declared, limit int64, to *spool) (*body, error) {
	if declared > limit {
		return nil, errTooLarge
	}
	b := &body{spool: to}
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
	if err := b.spill(src, scan, limit); err != nil {
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

// spill moves what is in memory, and then the rest of src, into the file.
func (b *body) spill(src io.Reader, scan io.Writer, limit int64) error {
	file, err := os.CreateTemp(b.spool.dir, "spool-*")
	if err != nil {
		return fmt.Errorf("spooling a request body: %w", err)
	}
	b.file = file
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("spooling a request body: %w", err)
	}
	b.key = make([]byte, 32)
	rand.Read(b.key)
	sealed := cipher.StreamWriter{S: b.stream(), W: claimed{b}}
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

// claimed writes to a body's file what it has claimed room for.
type claimed struct{ *body }

func (c claimed) Write(p []byte) (int, error) {
	if err := c.spool.take(int64(len(p))); err != nil {
		return 0, err
	}
	c.held += int64(len(p))
	return c.file.Write(p)
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
	b.spool.used.Add(-b.held)
	b.held = 0
	return b.file.Close()
}
