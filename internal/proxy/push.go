package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/superinstance/keeper/internal/gitpack"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	maxPushFindings = 1000
	minObjectBytes  = 8 // no secret is shorter
)

// pushScan looks into the objects of what git pushes, which are compressed each by
// itself. Nil is that of a call that pushes nothing.
type pushScan struct {
	scanner *scanner.Scanner
	pipe    *io.PipeWriter
	done    chan error // from the reader, once
	found   []scanner.Finding
}

// newPushScan begins the scan of a push. The caller must Close it. That a call is one
// is told by its path, as a receiver may read it, and neither by the content type, which
// that may not mind, nor by the route.
func (p *Proxy) newPushScan(c *call) *pushScan {
	path := strings.TrimRight(strings.ToLower(unescaped(c.path)), "/")
	if c.method != http.MethodPost || !strings.HasSuffix(path, "/git-receive-pack") {
		return nil
	}
	r, w := io.Pipe()
	s := &pushScan{scanner: p.scanner, pipe: w, done: make(chan error, 1)}
	go func() {
		err := s.read(r)
		r.CloseWithError(io.ErrClosedPipe)
		s.done <- err
	}()
	return s
}

// read runs on a goroutine of its own, where a panic over what an agent sent would
// end keeper.
func (s *pushScan) read(r io.Reader) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("reading a push: panic of type %T", value)
		}
	}()
	return gitpack.Read(r, s.open)
}

// open begins the scan of an object as a text of its own.
func (s *pushScan) open(o gitpack.Object) io.WriteCloser {
	if o.Size < minObjectBytes {
		return unscanned{io.Discard}
	}
	return &objectScan{BodyScan: s.scanner.NewBodyScan(""), push: s, object: o}
}

type unscanned struct{ io.Writer }

func (unscanned) Close() error { return nil }

// objectScan is the scan of one object.
type objectScan struct {
	*scanner.BodyScan
	push   *pushScan
	object gitpack.Object
}

func (o *objectScan) Close() error {
	err := o.BodyScan.Close()
	found := o.BodyScan.Findings()
	for i := range found {
		found[i].Location = fmt.Sprintf("body.pack.objects[%d].%s", o.object.Index, o.object.Kind)
	}
	if o.push.found = append(o.push.found, found...); len(o.push.found) > 2*maxPushFindings {
		o.push.found = scanner.Gravest(o.push.found, maxPushFindings)
	}
	return err
}

// beside returns a writer to both scans.
func (s *pushScan) beside(body io.Writer) io.Writer {
	if s == nil {
		return body
	}
	return io.MultiWriter(body, s)
}

// Write hands on p. What follows the place where reading has failed is not looked at:
// Close says so.
func (s *pushScan) Write(p []byte) (int, error) {
	if _, err := s.pipe.Write(p); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return 0, err
	}
	return len(p), nil
}

// Close returns when all is scanned. The error says that the push cannot be read. It
// is called once.
func (s *pushScan) Close() error {
	if s == nil {
		return nil
	}
	s.pipe.Close()
	return <-s.done
}

// findings are those in the objects. They are complete after Close.
func (s *pushScan) findings() []scanner.Finding {
	if s == nil {
		return nil
	}
	return s.found
}

// unpackable is the refusal of a push that cannot be read.
func unpackable(err error) *refusal {
	if errors.Is(err, gitpack.ErrTooLarge) {
		return refuse(codeTooLarge, "the objects of this push hold far more than it sends, and are not all scanned; push them in smaller parts, without those that hold little but repetitions")
	}
	return refuse(codeUndecodable, "the request body is no push as git writes it, so its objects cannot be scanned; push with git itself, or run `git fsck` if it was git")
}
