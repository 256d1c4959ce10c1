package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	progressAfter = time.Second // before that nobody waits
	progressEvery = 200 * time.Millisecond
	eraseLine     = "\r\x1b[K"
)

// progress tells on a terminal how far a scan is, once it takes long.
type progress struct {
	to    io.Writer // standard error
	shown bool      // it is a terminal
	bytes atomic.Int64

	mu     sync.Mutex // guards the report, and whose turn it is to write
	report *scanReport
	line   bool // the terminal shows a line of progress
}

func newProgress(a *app) *progress {
	return &progress{to: a.err, shown: isTerminal(a.err) && a.env["TERM"] != "dumb"}
}

// read counts bytes as they are read.
func (p *progress) read(n int) { p.bytes.Add(int64(n)) }

// add changes the report.
func (p *progress) add(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// say writes a line that stays.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintln(p.to, "keeper: "+printable(text))
}

func (p *progress) erase() {
	if p.line {
		io.WriteString(p.to, eraseLine)
		p.line = false
	}
}

// start shows the progress of report until the function that it returns is called.
func (p *progress) start(report *scanReport) (stop func()) {
	p.report = report
	if !p.shown {
		return func() {}
	}
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		p.run(ended)
	}()
	return func() {
		close(ended)
		<-gone
		p.add(p.erase)
	}
}

func (p *progress) run(ended <-chan struct{}) {
	begun := time.Now()
	select {
	case <-time.After(progressAfter):
	case <-ended:
		return
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		p.show(time.Since(begun))
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

func (p *progress) show(since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.bytes.Load()
	fmt.Fprintf(p.to, "%s%s, %s, %s/s, %s", eraseLine, plural(p.report.Files, "file"), byteCount(n),
		byteCount(int64(float64(n)/since.Seconds())), plural(len(p.report.Findings)+p.report.Omitted, "finding"))
	p.line = true
}
