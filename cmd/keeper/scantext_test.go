package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/scanner"
)

func examine(t *testing.T, r io.Reader) ([]scanFinding, error) {
	t.Helper()
	s, err := scanner.New(scanner.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return localExaminer{s}.examine(t.Context(), r)
}

// placesOf are the findings' lines, columns, offsets, paths and forms.
func placesOf(found []scanFinding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%d:%d %d-%d %s %s\n", f.Line, f.Column, f.Start, f.End, f.Path, f.Form)
	}
	return b.String()
}

func TestPlacesInLongTextsAreExactHoweverItIsRead(t *testing.T) {
	var text, want strings.Builder
	line := 1
	for i := range 5 {
		for text.Len() < i*placeLag*3/2 {
			text.WriteString("an ordinary line of words, as they come\n")
			line++
		}
		key := fake.NewKey("github")
		text.WriteString("é: " + key)
		fmt.Fprintf(&want, "%d:4 %d-%d  \n", line, text.Len()-len(key), text.Len())
		text.WriteString("\n")
		line++
	}
	for name, r := range map[string]io.Reader{
		"at once":   strings.NewReader(text.String()),
		"in halves": iotest.HalfReader(strings.NewReader(text.String())),
	} {
		found, err := examine(t, r)
		if got := placesOf(found); got != want.String() || err != nil {
			t.Errorf("%s: got %v\n%s, want\n%s", name, err, got, want.String())
		}
	}
}

func TestPathsInLongJSONAreExact(t *testing.T) {
	text := `{"pad":["` + strings.Repeat("words and words ", placeLag/4) + `"],"at":{"end":"` + fake.NewKey("github") + `"}}`
	found, err := examine(t, strings.NewReader(text))
	if err != nil || len(found) != 1 || found[0].Path != "at.end" {
		t.Errorf("got %v, %s, want one at at.end", err, placesOf(found))
	}
}

func TestPackedTextIsSearchedAndWhatFollowsIt(t *testing.T) {
	inside, after := fake.NewKey("github"), fake.NewKey("github")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprintf(z, "%s\n", inside)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	at := packed.Len() + 1
	packed.WriteString("\n" + after + "\n")
	found, err := examine(t, bytes.NewReader(packed.Bytes()))
	if len(found) != 2 || found[0].Form != "gzip" || found[1].Form != "" || found[1].Start != at {
		t.Errorf("got\n%s, want one in gzip, and one at byte %d", placesOf(found), at)
	}
	if err == nil || !strings.Contains(err.Error(), "could not be unpacked to the end") {
		t.Errorf("got %v, want that it is no gzip to its end", err)
	}
}

func TestWhatWasFoundCountsThoughTheFileBreaksOff(t *testing.T) {
	broken := errors.New("disk is gone")
	found, err := examine(t, io.MultiReader(strings.NewReader(fake.NewKey("github")+"\nmore"), iotest.ErrReader(broken)))
	if len(found) != 1 || !errors.Is(err, broken) {
		t.Errorf("got %d findings and %v, want one, and the error", len(found), err)
	}
}

func TestAScanEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := scanner.New(scanner.Config{})
	if err != nil {
		t.Fatal(err)
	}
	endless := readerFunc(func(p []byte) (int, error) { cancel(); return copy(p, "words "), nil })
	if _, err := (localExaminer{s}).examine(ctx, endless); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAReportIsBounded(t *testing.T) {
	r := newScanReport()
	many := make([]scanFinding, maxReported/2+1)
	for i := range many {
		many[i].counts = true
	}
	r.add("a", many, false)
	r.add("b", many, false)
	if len(r.Findings) != maxReported || r.Omitted != 2 || r.Safe || r.affected != 2 {
		t.Errorf("got %d findings, %d left out, safe %t, in %d files; want %d, 2, false, 2", len(r.Findings), r.Omitted, r.Safe, r.affected, maxReported)
	}
}

func TestProgressIsShownOnATerminalOnceItTakesLong(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		takes    time.Duration
		want     string
	}{
		{true, 900 * time.Millisecond, ""},
		{false, 3 * time.Second, ""},
		{true, 1100 * time.Millisecond, "\r\x1b[K2 files, 3.0 MB, 3.0 MB/s, 0 findings\r\x1b[K"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := &progress{to: &out, shown: c.terminal}
			report := newScanReport()
			stop := p.start(report)
			p.add(func() { report.Files = 2 })
			p.read(3_000_000)
			time.Sleep(c.takes) // of the bubble's clock
			stop()
			if got := out.String(); got != c.want {
				t.Errorf("terminal %t, after %v: got %q, want %q", c.terminal, c.takes, got, c.want)
			}
		})
	}
}

func TestProgressGivesWayToWhatMustBeSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{to: &out, shown: true}
		stop := p.start(newScanReport())
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		p.say("x: \x1b[2Jgone")
		stop()
		if got := out.String(); !strings.HasSuffix(got, eraseLine+"keeper: x: \\x1b[2Jgone\n") {
			t.Errorf("got %q, want the line of progress erased before", got)
		}
	})
}

func TestFilesAreNamedAsURIs(t *testing.T) {
	for file, want := range map[string]string{
		"a/b.env":     "a/b.env",
		"a b/é#1.env": "a%20b/%C3%A9%231.env",
		"c:d":         "./c:d",
		"../up":       "../up",
		"/etc/x y":    "file:///etc/x%20y",
		standardInput: "stdin",
	} {
		if got := fileURI(file); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}
