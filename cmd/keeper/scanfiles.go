package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"
)

const standardInput = "standard input"

// hunt looks through files and folders, several at a time.
type hunt struct {
	app      *app
	look     examiner
	skip     []string // patterns of names and paths
	all      bool
	progress *progress
}

// target is one file to look at, or why there is none. number is its place in the
// order of the report.
type target struct {
	number int
	file   string // as the user knows it; "-" for standard input
	err    error
}

// examined is what became of a target.
type examined struct {
	target
	found []scanFinding
	bytes int64
}

// run looks at what the arguments name, and reports it in their order, and within
// folders by name. What cannot be read is in the report; the error is one that
// ends all.
func (h *hunt) run(parent context.Context, args []string) (*scanReport, error) {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	targets, results := make(chan target), make(chan examined)
	go func() {
		defer close(targets)
		h.list(ctx, args, targets)
	}()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for t := range targets {
				results <- h.examine(ctx, t)
			}
		})
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	report := newScanReport()
	defer h.progress.start(report)()
	h.collect(ctx, results, report, stop)
	if err := context.Cause(ctx); err != nil && parent.Err() == nil {
		return nil, err
	}
	return report, nil
}

// collect brings the results into the report in order, until ctx ends: a read from
// a terminal or a pipe may not. A refusal of a running keeper's, which would meet
// every file, ends all.
func (h *hunt) collect(ctx context.Context, results <-chan examined, report *scanReport, stop context.CancelCauseFunc) {
	next, early := 0, map[int]examined{}
	for {
		select {
		case <-ctx.Done():
			return
		case r, more := <-results:
			if !more {
				return
			}
			var refused *failure
			if errors.As(r.err, &refused) && refused.code != exitError {
				stop(r.err)
				return
			}
			early[r.number] = r
		}
		for {
			r, ready := early[next]
			if !ready {
				break
			}
			delete(early, next)
			next++
			h.record(report, r)
		}
	}
}

func (h *hunt) record(report *scanReport, r examined) {
	file := r.file
	if file == "-" {
		file = standardInput
	}
	h.progress.add(func() {
		if r.err == nil || r.bytes > 0 {
			report.Files++
		}
		report.Bytes += r.bytes
		report.add(file, r.found, h.all)
	})
	if r.err == nil {
		return
	}
	report.Errors = append(report.Errors, scanError{file, reasonOf(r.err)})
	h.progress.say(fmt.Sprintf("%s: %s", file, reasonOf(r.err)))
}

// reasonOf is why a file could not be read, without its name.
func reasonOf(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// list sends every file that is to be looked at, until ctx ends.
func (h *hunt) list(ctx context.Context, args []string, targets chan<- target) {
	n := 0
	send := func(file string, err error) error {
		select {
		case targets <- target{n, file, err}:
			n++
			return nil
		case <-ctx.Done():
			return fs.SkipAll
		}
	}
	for _, arg := range args {
		if info, err := os.Stat(arg); arg == "-" || err != nil || !info.IsDir() {
			if arg == "-" {
				err = nil
			}
			if send(arg, err) != nil {
				return
			}
			continue
		}
		h.walk(arg, send)
	}
}

// walk sends the files of a folder. Links lead elsewhere or around, and what is
// no file may never end: both are left out.
func (h *hunt) walk(root string, send func(string, error) error) {
	// The walk ends early where send says so, which is no error.
	_ = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return send(file, err)
		case file != root && h.skipped(root, file):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.Type().IsRegular():
			return send(file, nil)
		}
		return nil
	})
}

// skipped reports whether a file or folder in root is left out: git's objects,
// which are packed in a way of their own, and what the user named.
func (h *hunt) skipped(root, file string) bool {
	within, err := filepath.Rel(root, file)
	if err != nil {
		return false
	}
	within = filepath.ToSlash(within)
	name := path.Base(within)
	if name == "objects" && path.Base(path.Dir(filepath.ToSlash(file))) == ".git" {
		return true
	}
	for _, pattern := range h.skip {
		for _, text := range []string{name, within} {
			if matched, _ := path.Match(path.Clean(pattern), text); matched { // patterns were checked
				return true
			}
		}
	}
	return false
}

func (h *hunt) examine(ctx context.Context, t target) examined {
	out := examined{target: t}
	if t.err != nil {
		return out
	}
	var src io.Reader = h.app.in
	if t.file != "-" {
		f, err := os.Open(t.file)
		if err != nil {
			out.err = err
			return out
		}
		defer f.Close()
		src = f
	}
	counted := &countedReader{r: src, seen: h.progress.read}
	out.found, out.err = h.look.examine(ctx, counted)
	out.bytes = counted.n
	return out
}

// countedReader counts what it reads, and tells.
type countedReader struct {
	r    io.Reader
	n    int64
	seen func(n int)
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.seen(n)
	return n, err
}
