package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/scanner"
)

// An examiner looks for secrets in what r reads. What it found counts also where
// it returns an error: then r could not be read to its end.
type examiner interface {
	examine(ctx context.Context, r io.Reader) ([]scanFinding, error)
}

const (
	scanBuffer = 128 << 10
	// placeLag is how far the places are behind the scan, which decides on a finding
	// when it has seen what follows it.
	placeLag = 1 << 20
)

// packings are the compressed files that are unpacked, by how they begin.
var packings = []struct{ coding, magic string }{
	{"gzip", "\x1f\x8b\x08"},
	{"zstd", "\x28\xb5\x2f\xfd"},
}

func codingOf(r *bufio.Reader) string {
	for _, p := range packings {
		if head, err := r.Peek(len(p.magic)); err == nil && string(head) == p.magic {
			return p.coding
		}
	}
	return ""
}

// localExaminer looks by itself, in any length of text and in bounded memory.
type localExaminer struct{ scanner *scanner.Scanner }

func (l localExaminer) examine(ctx context.Context, r io.Reader) ([]scanFinding, error) {
	in := bufio.NewReaderSize(endsWith{ctx, r}, scanBuffer)
	coding := codingOf(in)
	whole := newTextScan(l.scanner)
	if coding == "" {
		err := whole.read(in)
		return whole.findings(""), err
	}
	packed := io.TeeReader(in, whole)
	plain := newTextScan(l.scanner)
	err := plain.unpack(coding, packed)
	_, rest := io.Copy(io.Discard, packed) // what follows the packed data is in the file too
	return append(plain.findings(coding), whole.findings("")...), errors.Join(rest, err)
}

// endsWith is a reader that ends with its context.
type endsWith struct {
	ctx context.Context
	r   io.Reader
}

func (e endsWith) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

// textScan scans one text as it is read, and follows it to name the places.
type textScan struct {
	scan     *scanner.BodyScan
	places   *scanner.Places
	recent   []byte // the end of the text
	from     int    // where that begins in the text
	followed int    // bytes of it that places has seen
	found    []scanner.Place
}

func newTextScan(s *scanner.Scanner) *textScan {
	return &textScan{scan: s.NewBodyScan(""), places: s.NewPlaces("")}
}

func (t *textScan) read(r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{t}, struct{ io.Reader }{r}, make([]byte, scanBuffer))
	return err
}

func (t *textScan) unpack(coding string, packed io.Reader) error {
	d, err := scanner.NewDecoder(coding, packed)
	if err == nil {
		defer d.Close()
		err = t.read(d)
	}
	if err != nil {
		return fmt.Errorf("its %s data could not be unpacked to the end: %w", coding, err)
	}
	return nil
}

// Write scans p. It fails only where the scanner does.
func (t *textScan) Write(p []byte) (int, error) {
	if _, err := t.scan.Write(p); err != nil {
		return 0, err
	}
	t.recent = append(t.recent, p...)
	t.mark()
	if forget := len(t.recent) - placeLag; forget > placeLag {
		t.follow(forget)
		t.recent = t.recent[:copy(t.recent, t.recent[forget:])]
		t.from, t.followed = t.from+forget, t.followed-forget
	}
	return len(p), nil
}

// mark notes the places of what was found since.
func (t *textScan) mark() {
	for _, f := range t.scan.Findings()[len(t.found):] {
		var at scanner.Place
		if start := f.Start - t.from; start >= t.followed {
			t.follow(start)
			at = t.places.Mark(f.End - f.Start)
		}
		t.found = append(t.found, at)
	}
}

// follow lets places see recent up to byte n.
func (t *textScan) follow(n int) {
	if n > t.followed {
		t.places.Write(t.recent[t.followed:n])
		t.followed = n
	}
}

// findings ends the text and returns what was found. coding is what the text was
// packed in.
func (t *textScan) findings(coding string) []scanFinding {
	t.scan.Close()
	t.mark()
	list := make([]scanFinding, len(t.found))
	for i, f := range t.scan.Findings() {
		list[i] = newScanFinding(f, t.found[i], coding)
	}
	return list
}

// remoteExaminer has a running keeper look.
type remoteExaminer struct{ keeper *client }

// remoteBytes is how long a text may be to be sent: keeper takes requests of 16
// MiB, in which a text grows by its escapes.
const remoteBytes = 8 << 20

var (
	errTooLong = fmt.Errorf("it is over %d MiB; scan it here, without --remote", remoteBytes>>20)
	errNoText  = errors.New("it is no text in UTF-8; scan it here, without --remote")
)

func (m remoteExaminer) examine(ctx context.Context, r io.Reader) ([]scanFinding, error) {
	in := bufio.NewReaderSize(r, scanBuffer)
	coding := codingOf(in)
	plain, err := scanner.NewDecoder(coding, in)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	text, err := io.ReadAll(io.LimitReader(plain, remoteBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > remoteBytes:
		return nil, errTooLong
	case !utf8.Valid(text):
		return nil, errNoText
	}
	return m.send(ctx, string(text), coding)
}

// send brings a text to keeper's scanner and its findings back. They are at the
// location "text" and below.
func (m remoteExaminer) send(ctx context.Context, text, coding string) ([]scanFinding, error) {
	var answer struct {
		Findings []struct {
			scanner.Finding
			Line, Column int
		}
	}
	if _, err := m.keeper.call(ctx, http.MethodPost, "/scan", map[string]string{"text": text}, &answer); err != nil {
		return nil, err
	}
	list := make([]scanFinding, len(answer.Findings))
	for i, f := range answer.Findings {
		at := scanner.Place{Path: strings.TrimPrefix(f.Location, "text"), Line: f.Line, Column: f.Column}
		list[i] = newScanFinding(f.Finding, at, coding)
	}
	return list, nil
}
