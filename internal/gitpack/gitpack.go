// Package gitpack reads what git pushes: the lines that say which refs to change,
// and the pack behind them, whose objects it hands on in clear.
//
// Its one invariant: what it has read to its end without an error is all that a
// receiver of the same bytes can make of them. What could be read another way is
// an error.
//
// It holds no object in memory, and imports nothing of keeper.
package gitpack

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
)

var (
	// ErrMalformed says that something is no push as git writes it.
	ErrMalformed = errors.New("malformed push")
	// ErrTooLarge says that the objects hold more than is inflated of a push.
	ErrTooLarge = errors.New("too much to inflate")
)

const (
	freeInflate = 64 << 20 // bytes that the objects of a push may hold in any case
	inflateRate = 16       // and so many more for each byte of the push

	bufferBytes  = 128 << 10 // holds the longest line
	maxLine      = 65520     // bytes of a line with its length (gitprotocol-common)
	maxSections  = 2         // of lines: commands, push options
	maxSizeBytes = 9         // of a number of variable length, so that it fits in 63 bits
)

// Object is one of a pack.
type Object struct {
	Index int    // its place in the pack, from 0
	Kind  string // "commit", "tree", "blob", "tag" or "delta"
	Size  int64  // bytes that it says it holds
}

// Open returns where the text of an object goes, as it comes. It is closed at the
// object's end, and also where reading breaks off in the object.
type Open func(Object) io.WriteCloser

// Read reads a request to git-receive-pack (gitprotocol-pack, "Reference Update
// Request And Packfile Transfer") from src to its end, and hands on the text of each
// object in it. A request without a pack, which deletes refs or only probes, and an
// empty one have none.
//
// Of a delta, that is what it inserts: consecutive inserts in one piece, with a blank
// line in the place of what is copied from the object that it changes, which need not
// be in the pack. So what a delta puts together of copied and inserted bytes is not
// seen in one piece.
//
// The error wraps [ErrMalformed] or [ErrTooLarge], or is src's or that of an Open's
// writer.
func Read(src io.Reader, open Open) error {
	sent := &counter{src: src}
	r := &reader{sent: sent, src: bufio.NewReaderSize(sent, bufferBytes), newHash: sha1.New, open: open}
	more, err := r.sections()
	if err != nil || !more {
		return err
	}
	return r.pack()
}

// counter counts what is read.
type counter struct {
	src io.Reader
	n   int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += int64(n)
	return n, err
}

// reader reads one push.
type reader struct {
	sent     *counter
	src      *bufio.Reader
	newHash  func() hash.Hash
	open     Open
	z        io.ReadCloser // nil before the first object
	inflated int64
	copying  []byte
	literal  bufio.ReadWriter // of deltas: what one says, and what it inserts
}

// sections reads the lines, and says whether a pack follows. "PACK" is no length of a
// line, so that both cannot be taken for each other.
func (r *reader) sections() (more bool, err error) {
	for n := 0; ; n++ {
		head, err := r.src.Peek(4)
		switch {
		case err == io.EOF && len(head) == 0:
			return false, nil
		case err != nil:
			return false, malformed("a line", err)
		case string(head) == "PACK" && n > 0:
			return true, nil
		case n == maxSections:
			return false, fmt.Errorf("%w: more lines than commands and options", ErrMalformed)
		}
		for ended := false; !ended; {
			if ended, err = r.line(); err != nil {
				return false, err
			}
		}
	}
}

// line reads one line (gitprotocol-common, "pkt-line Format"), or the flush that ends
// a section. The first line of commands says by which hash objects go.
func (r *reader) line() (flush bool, err error) {
	head, err := r.src.Peek(4)
	if err != nil {
		return false, malformed("a line", err)
	}
	n, err := strconv.ParseUint(string(head), 16, 16)
	if err != nil || n > 0 && n < 4 || n > maxLine {
		return false, fmt.Errorf("%w: a line without a length", ErrMalformed)
	}
	whole, err := r.src.Peek(max(4, int(n)))
	if err != nil {
		return false, malformed("a line", err)
	}
	if _, capabilities, found := bytes.Cut(whole, []byte{0}); found && bytes.Contains(capabilities, []byte("object-format=sha256")) {
		r.newHash = sha256.New
	}
	r.src.Discard(len(whole)) // which was there to be peeked at
	return n == 0, nil
}

// pack reads a pack (gitformat-pack) and the end behind it. That the hash at its end
// is right shows that it was read with the right kind of hash.
func (r *reader) pack() error {
	sum := &trailer{hash: r.newHash()}
	r.src = bufio.NewReaderSize(io.TeeReader(r.src, sum), bufferBytes)
	var head [12]byte
	if _, err := io.ReadFull(r.src, head[:]); err != nil {
		return malformed("a pack", err)
	}
	if version := binary.BigEndian.Uint32(head[4:]); version != 2 && version != 3 {
		return fmt.Errorf("%w: a pack of an unknown version", ErrMalformed)
	}
	for i := range int(binary.BigEndian.Uint32(head[8:])) {
		if err := r.object(i); err != nil {
			return fmt.Errorf("reading object %d: %w", i, err)
		}
	}
	if _, err := r.src.Discard(sum.hash.Size()); err != nil {
		return malformed("the end of a pack", err)
	}
	switch _, err := r.src.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: more than a pack", ErrMalformed)
	case err != io.EOF:
		return malformed("the end of a pack", err)
	case !sum.right():
		return fmt.Errorf("%w: a pack with another hash than its own", ErrMalformed)
	}
	return nil
}

// malformed is the error of what could not be read.
func malformed(what string, err error) error {
	return fmt.Errorf("%w: reading %s: %w", ErrMalformed, what, err)
}

// trailer holds what is written to it against the hash at its end.
type trailer struct {
	hash hash.Hash // of all but held
	held []byte    // as long as a hash at most, between writes
}

func (t *trailer) Write(p []byte) (int, error) {
	t.held = append(t.held, p...)
	if n := len(t.held) - t.hash.Size(); n > 0 {
		t.hash.Write(t.held[:n])
		t.held = append(t.held[:0], t.held[n:]...)
	}
	return len(p), nil
}

func (t *trailer) right() bool { return bytes.Equal(t.hash.Sum(nil), t.held) }
