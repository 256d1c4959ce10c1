package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/superinstance/keeper/internal/audit"
)

const lastBytes = 64 << 10 // of a file, that its newest head is in

var (
	errFile    = errors.New("writing the witness's file")
	errForeign = errors.New("it holds something else than heads of one log; name another file")
	blankLine  = []byte("\n\n")
	signature  = []byte("\n\n\u2014 ")
)

// file keeps heads one after the other, with an empty line behind each. It is opened
// anew for each, so that it may be moved away.
type file struct{ path string }

// openFile holds the log against the newest head in a file, whose size it returns.
func openFile(ctx context.Context, l Log, path string) (*file, int64, error) {
	f, newest, err := openEnd(path)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the file of a witness: %w", err)
	}
	defer f.Close()
	if newest == nil {
		return &file{path}, 0, nil
	}
	c, err := l.Continues(ctx, newest)
	if err != nil {
		return nil, 0, fmt.Errorf("the log is not the one of which %s speaks: %w", path, err)
	}
	return &file{path}, c.Size, nil
}

// openEnd opens a file to be written from its end on, and returns its newest head, if
// any. What a crash left of one is cut off.
func openEnd(path string) (f *os.File, newest []byte, err error) {
	f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		newest, err = endWhole(f, end)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, newest, nil
}

func endWhole(f *os.File, end int64) (newest []byte, err error) {
	from := max(0, end-lastBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return nil, err
	}
	signed := bytes.LastIndex(b, signature)
	whole := len(b)
	for signed >= 0 {
		length := bytes.Index(b[signed+len(blankLine):], blankLine)
		if length >= 0 {
			whole = signed + 2*len(blankLine) + length
			break
		}
		signed = bytes.LastIndex(b[:signed], signature)
	}
	switch {
	case len(b) == 0:
		return nil, nil
	case signed < 0:
		return nil, errForeign
	}
	all := audit.SplitCheckpoints(b[:whole])
	newest = all[len(all)-1]
	return newest, cutTorn(f, from+int64(whole), b[whole:], newest)
}

// cutTorn cuts off what a crash left of the head behind the newest whole one, which
// ends at end. Anything else that stands there is not keeper's to cut.
func cutTorn(f *os.File, end int64, torn, newest []byte) error {
	origin, _, _ := bytes.Cut(newest, []byte("\n"))
	switch {
	case len(torn) == 0:
		return nil
	case !bytes.HasPrefix(torn, origin) && !bytes.HasPrefix(origin, torn):
		return errForeign
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekEnd)
	return err
}

func (f *file) put(_ context.Context, h audit.Head) error {
	out, _, err := openEnd(f.path)
	if err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	_, err = out.Write(append(bytes.Clone(h.Note), '\n'))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	return nil
}
