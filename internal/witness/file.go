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
	newLine    = []byte("\n")
	blankLine  = []byte("\n\n")
	signature  = []byte("\n\n\u2014 ")
)

// file keeps heads one after the other, with an empty line behind each. It is opened
// anew for each, so that it may be moved away.
type file struct{ path, origin string }

// openFile holds the log against the newest head in a file, whose size it returns.
func openFile(ctx context.Context, c Config, path string) (*file, int64, error) {
	kept := &file{path, c.Origin}
	f, newest, err := kept.openEnd()
	if err != nil {
		return nil, 0, fmt.Errorf("opening the file of a witness: %w", err)
	}
	defer f.Close()
	if newest == nil {
		return kept, 0, nil
	}
	head, err := c.Log.Continues(ctx, newest)
	if err != nil {
		return nil, 0, fmt.Errorf("the log is not the one of which %s speaks: %w", path, err)
	}
	return kept, head.Size, nil
}

// openEnd opens a file to be written from its end on, and returns its newest head, if
// any. What a crash left of one is cut off.
func (k *file) openEnd() (f *os.File, newest []byte, err error) {
	f, err = os.OpenFile(k.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		newest, err = endWhole(f, end, k.origin)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, newest, nil
}

func endWhole(f *os.File, end int64, origin string) (newest []byte, err error) {
	from := max(0, end-lastBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return nil, err
	}
	length := wholeHeads(b)
	switch {
	case length == 0 && from > 0:
		return nil, errForeign
	case length == 0:
		return nil, cutTorn(f, 0, b, origin)
	}
	all := audit.SplitCheckpoints(b[:length])
	newest = all[len(all)-1]
	line, _, _ := bytes.Cut(newest, newLine)
	return newest, cutTorn(f, from+int64(length), b[length:], string(line))
}

// wholeHeads is where the last whole head ends, with its empty line if it has one.
func wholeHeads(b []byte) int {
	for signed := bytes.LastIndex(b, signature); signed >= 0; signed = bytes.LastIndex(b[:signed], signature) {
		line := signed + len(blankLine)
		if length := bytes.Index(b[line:], blankLine); length >= 0 {
			return line + length + len(blankLine)
		}
		if bytes.Index(b[line:], newLine) == len(b)-line-len(newLine) {
			return len(b)
		}
	}
	return 0
}

// cutTorn cuts off what a crash left of a head of the log of that origin, from end on.
// Anything else that stands there is not keeper's to cut.
func cutTorn(f *os.File, end int64, torn []byte, origin string) error {
	text := bytes.TrimLeft(torn, "\n")
	switch {
	case len(torn) == 0:
		return nil
	case len(bytes.TrimSpace(torn)) > 0 && !beginsHead(text, origin):
		return errForeign
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekEnd)
	return err
}

// beginsHead says whether a crash can have left this of a head: its signature has no end.
func beginsHead(torn []byte, origin string) bool {
	line := []byte(origin + "\n")
	_, signed, _ := bytes.Cut(torn, blankLine)
	return origin != "" && (bytes.HasPrefix(torn, line) || bytes.HasPrefix(line, torn)) && !bytes.Contains(signed, newLine)
}

func (k *file) put(_ context.Context, h audit.Head) error {
	out, newest, err := k.openEnd()
	if err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	next := append(bytes.Clone(h.Note), '\n')
	if newest != nil {
		next, err = apart(out, next)
	}
	if err == nil {
		_, err = out.Write(next)
	}
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	return nil
}

// apart is the next head behind an empty line, where the last one has none.
func apart(f *os.File, next []byte) ([]byte, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	last := make([]byte, len(blankLine))
	if _, err := f.ReadAt(last, end-int64(len(last))); err != nil || bytes.Equal(last, blankLine) {
		return next, err
	}
	return append(bytes.Clone(newLine), next...), nil
}
