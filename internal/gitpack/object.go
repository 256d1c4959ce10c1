package gitpack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zlib"
)

// kinds are the types of objects (gitformat-pack, "Object types"). The last two are
// deltas, to an object that stands before it in the pack, and to one that is named.
var kinds = [8]string{1: "commit", 2: "tree", 3: "blob", 4: "tag", offsetDelta: delta, namedDelta: delta}

const (
	offsetDelta = 6
	namedDelta  = 7
	delta       = "delta"

	copyBytes = 32 << 10
)

// gap stands in the text of a delta for what is copied.
var gap = []byte("\n\n")

// object reads one object.
func (r *reader) object(index int) (err error) {
	kind, size, err := r.head()
	if err != nil {
		return err
	}
	switch kind {
	case offsetDelta:
		err = skipNumber(r.src)
	case namedDelta:
		_, err = r.src.Discard(r.newHash().Size())
	}
	if err == nil {
		err = r.reset()
	}
	if err != nil {
		return malformed("its head", err)
	}
	text := r.open(Object{Index: index, Kind: kinds[kind], Size: size})
	defer func() { err = errors.Join(err, text.Close()) }()
	held := &io.LimitedReader{R: inflating{r}, N: size}
	if kinds[kind] == delta {
		err = r.delta(held, text)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{text}, held, r.copying)
	}
	if err != nil {
		return err
	}
	return r.ended(held)
}

// head reads the kind and the size of an object: the size in groups of bits, the
// lowest first.
func (r *reader) head() (kind int, size int64, err error) {
	c, err := r.src.ReadByte()
	if err != nil {
		return 0, 0, malformed("its head", err)
	}
	kind, size = int(c>>4&7), int64(c&15)
	for shift := 4; c&0x80 != 0; shift += 7 {
		if c, err = r.src.ReadByte(); err != nil {
			return 0, 0, malformed("its head", err)
		}
		if shift+7 > 63 {
			return 0, 0, fmt.Errorf("%w: its size is too long", ErrMalformed)
		}
		size |= int64(c&0x7f) << shift
	}
	if kinds[kind] == "" {
		return 0, 0, fmt.Errorf("%w: it is of an unknown kind", ErrMalformed)
	}
	return kind, size, nil
}

// skipNumber reads over a number in groups of seven bits.
func skipNumber(src io.ByteReader) error {
	for range maxSizeBytes {
		switch c, err := src.ReadByte(); {
		case err != nil:
			return err
		case c&0x80 == 0:
			return nil
		}
	}
	return fmt.Errorf("%w: a number is too long", ErrMalformed)
}

// reset begins to inflate what comes next. The inflater reads single bytes, and so
// none beyond its end.
func (r *reader) reset() (err error) {
	if r.z == nil {
		r.copying = make([]byte, copyBytes)
		r.z, err = zlib.NewReader(r.src)
		return err
	}
	return r.z.(zlib.Resetter).Reset(r.src, nil)
}

// inflating is what an object holds, within what may be inflated of the push.
type inflating struct{ *reader }

func (i inflating) Read(p []byte) (int, error) {
	n, err := i.z.Read(p)
	i.inflated += int64(n)
	switch {
	case i.inflated > freeInflate+inflateRate*i.sent.n:
		return n, ErrTooLarge
	case err != nil && err != io.EOF:
		return n, malformed("what it holds", err)
	}
	return n, err
}

// ended says that an object holds no less and no more than its size, and is intact.
func (r *reader) ended(held *io.LimitedReader) error {
	var more [1]byte
	switch n, err := io.ReadFull(held.R, more[:]); {
	case n > 0 || held.N > 0:
		return fmt.Errorf("%w: it has another size than it says", ErrMalformed)
	case err != io.EOF:
		return err
	}
	return nil
}

// delta reads a delta (gitformat-pack, "Deltified representation"), and writes what it
// inserts to text.
func (r *reader) delta(src io.Reader, text io.Writer) error {
	if r.literal.Reader == nil {
		r.literal = bufio.ReadWriter{Reader: bufio.NewReaderSize(src, copyBytes), Writer: bufio.NewWriterSize(text, copyBytes)}
	}
	in, out := r.literal.Reader, r.literal.Writer
	in.Reset(src)
	out.Reset(text)
	if err := inserts(in, out); err != nil {
		return err
	}
	return out.Flush()
}

func inserts(in *bufio.Reader, out *bufio.Writer) error {
	if err := errors.Join(skipNumber(in), skipNumber(in)); err != nil { // the sizes before and after
		return cutShort(err)
	}
	inserted, copied := false, false
	for {
		c, err := in.ReadByte()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case c == 0:
			return fmt.Errorf("%w: a delta with an unknown instruction", ErrMalformed)
		case c&0x80 != 0:
			copied = inserted
			if _, err := in.Discard(bits.OnesCount8(c & 0x7f)); err != nil {
				return cutShort(err)
			}
			continue
		}
		if copied {
			if _, err := out.Write(gap); err != nil {
				return err
			}
			copied = false
		}
		literal, err := in.Peek(int(c))
		if err != nil {
			return cutShort(err)
		}
		if _, err := out.Write(literal); err != nil {
			return err
		}
		in.Discard(len(literal)) // which was there to be peeked at
		inserted = true
	}
}

// cutShort is the error of a delta that ends where it must not.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: a delta that is cut short", ErrMalformed)
	}
	return err
}
