package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// printable returns one line of text from elsewhere (an agent's name, say)
// with every character escaped that a terminal would act on or that would
// change the order in which it is read.
func printable(text string) string { return escape(text, false) }

// printableText is printable that keeps line breaks and tabs.
func printableText(text string) string { return escape(text, true) }

func escape(text string, keepLines bool) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r), keepLines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// printJSON prints v indented. What a terminal would act on is escaped as JSON
// allows, so that the output reads back as the same value.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	_, err := io.WriteString(w, escapeJSON(b.String()))
	return err
}

func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// show prints v as JSON where the user asked for it, else calls forEyes.
func (a *app) show(v any, forEyes func() error) error {
	if a.asJSON {
		return printJSON(a.out, v)
	}
	return forEyes()
}

// say prints a sentence that tells what was done, or v where the user asked
// for JSON.
func (a *app) say(v any, format string, args ...any) error {
	return a.show(v, func() error {
		_, err := fmt.Fprintln(a.out, printable(fmt.Sprintf(format, args...)))
		return err
	})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// when shows a time to people, in their zone; never for the zero time.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// The colours of a terminal.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
)

// paint colours text for standard output.
func (a *app) paint(colour, text string) string { return a.paintOn(a.out, colour, text) }

// paintOn colours text for a stream, where that is a terminal whose user did not set
// NO_COLOR.
func (a *app) paintOn(stream any, colour, text string) string {
	if !isTerminal(stream) || a.env["NO_COLOR"] != "" || a.env["TERM"] == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
