package segment

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// replay is what the files that were read so far come to.
type replay struct {
	after   int64
	shipped int64 // the highest that a file knows of
	last    int64
	open    map[int64]Record
	files   []*file
	cut     int64
	buf     []byte
}

// file reads the first of the files named firsts, behind which the others come.
func (p *replay) file(dir string, firsts []int64) error {
	handle, err := os.Open(pathOf(dir, firsts[0]))
	if err != nil {
		return err
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return err
	}
	s := &scan{replay: p, f: &file{path: handle.Name(), first: firsts[0], last: firsts[0] - 1}, handle: handle, r: bufio.NewReaderSize(handle, 64<<10), size: info.Size()}
	if len(firsts) > 1 {
		s.next = firsts[1]
	}
	h, err := s.header()
	if err == nil {
		err = s.carried(int64(h.carried))
	}
	if err != nil {
		return damage(s.f.path, s.f.end, err, s.lost(s.next)+", and what the file carried of earlier ones")
	}
	if what := p.missing(h); what != "" {
		return damage(s.f.path, 0, fault("it does not follow what is before it"), what)
	}
	p.shipped = max(p.shipped, h.shipped)
	if err := s.own(); err != nil {
		return err
	}
	p.last = s.f.last
	p.files = append(p.files, s.f)
	return nil
}

// missing says what is missing, or there twice, between the files before and one with
// header h; "": nothing.
func (p *replay) missing(h header) string {
	before, shipped := p.last, max(p.after, h.shipped)
	switch {
	case len(p.files) > 0 && h.first <= before:
		return fmt.Sprintf("records %d to %d may be there twice", h.first, before)
	case len(p.files) > 0:
		before = max(before, shipped)
	case p.after == 0:
		return "" // the files before this one were deleted, and nobody says up to where
	default:
		before = p.after
	}
	if h.first-1 > before {
		return fmt.Sprintf("records %d to %d are in no file and not shipped", before+1, h.first-1)
	}
	return ""
}

// damage is err, which was met in a file, as Open and Next return it.
func damage(path string, offset int64, err error, lost string) error {
	if what, ok := errors.AsType[fault](err); ok {
		return fmt.Errorf("file %s, offset %d: %s; lost: %s: %w", path, offset, what, lost, ErrDamaged)
	}
	return fmt.Errorf("file %s, offset %d: %w", path, offset, err)
}

// scan is a file as it is read.
type scan struct {
	*replay
	f       *file
	handle  *os.File
	r       *bufio.Reader // what is behind f.end
	size    int64
	next    int64    // number of the file behind this one; 0: this is the newest
	records []Record // of the frame that was read last, in buf
}

// lost says which records are lost if those behind the last one that was read are, up to
// before next; 0: nobody knows.
func (s *scan) lost(next int64) string {
	switch from := s.f.last + 1; {
	case next == 0:
		return fmt.Sprintf("record %d and later ones", from)
	case next <= from:
		return "no record that has a number"
	default:
		return fmt.Sprintf("records %d to %d", from, next-1)
	}
}

func (s *scan) header() (header, error) {
	b := make([]byte, min(headerSize, s.size))
	if _, err := io.ReadFull(s.r, b); err != nil {
		return header{}, reading(err)
	}
	h, err := decodeHeader(b)
	if err == nil && h.first != s.f.first {
		err = fault("its name is that of another file")
	}
	if err != nil {
		return header{}, err
	}
	s.f.salt, s.f.start, s.f.end = h.sum(), headerSize, headerSize
	return h, nil
}

// carried reads n carried records, which are all that were open when the file was begun.
func (s *scan) carried(n int64) error {
	clear(s.open)
	for n > 0 {
		b, err := readFrame(s.r, s.size-s.f.end, s.f.salt, s.buf)
		if errors.Is(err, io.EOF) {
			err = fault("it carries fewer records than its header says")
		}
		if err != nil {
			return err
		}
		if err := s.take(b, true); err != nil {
			return err
		}
		if n -= int64(len(s.records)); n < 0 {
			return fault("it carries more records than its header says")
		}
		s.f.end += int64(len(b))
		s.f.start = s.f.end
	}
	return nil
}

// own reads the file's own records, and finds where they end.
func (s *scan) own() error {
	for {
		b, err := readFrame(s.r, s.size-s.f.end, s.f.salt, s.buf)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return s.tail(err)
		}
		if err := s.take(b, false); err != nil {
			return damage(s.f.path, s.f.end, err, s.lost(s.next))
		}
		s.f.add(s.records[0].Seq, len(s.records), int64(len(b)))
	}
}

// take follows the records of a frame that was read.
func (s *scan) take(frame []byte, carried bool) (err error) {
	s.buf = frame
	if s.records, err = decode(frame, carried, s.records[:0]); err != nil {
		return err
	}
	for i, r := range s.records {
		if carried && r.Seq >= s.f.first || !carried && r.Seq != s.f.last+1+int64(i) {
			return fault("a record's number is out of order")
		}
	}
	for _, r := range s.records {
		if r.Opens {
			r.Data = bytes.Clone(r.Data)
		}
		follow(s.open, r)
	}
	return nil
}

// tail says whether what is behind the last frame, where err was met, is an Append that
// was not finished.
func (s *scan) tail(err error) error {
	if _, ok := errors.AsType[fault](err); !ok {
		return damage(s.f.path, s.f.end, err, "")
	}
	left := s.size - s.f.end
	rest := make([]byte, min(left, frameHead+MaxAppend))
	if _, err := s.handle.ReadAt(rest, s.f.end); err != nil {
		return damage(s.f.path, s.f.end, reading(err), s.lost(s.next))
	}
	if seq := findFrame(rest, s.f.salt, s.f.last); seq > 0 {
		return damage(s.f.path, s.f.end, err, s.lost(seq))
	}
	if s.next > 0 || left > int64(len(rest)) {
		return damage(s.f.path, s.f.end, err, s.lost(s.next))
	}
	s.cut = left
	return nil
}
