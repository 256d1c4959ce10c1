package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/scanner"
)

// scanFinding is what was found and where, and never the value. Its fields are
// what scripts may rely on.
type scanFinding struct {
	Type        string `json:"type"`
	Rule        string `json:"rule"`
	Location    string `json:"location"` // FILE:LINE:COLUMN
	File        string `json:"file"`
	Line        int    `json:"line"`           // from 1; 0 where it is not known
	Column      int    `json:"column"`         // from 1, in characters
	Path        string `json:"path,omitempty"` // in JSON, such as messages[2].content
	Form        string `json:"form,omitempty"` // how it is hidden, such as base64
	Preview     string `json:"preview"`        // the public prefix and the last two characters at most
	Confidence  string `json:"confidence"`
	Description string `json:"description"`
	Fingerprint string `json:"fingerprint,omitempty"` // what keeper scan allow takes; with --remote alone
	Exempt      bool   `json:"exempt,omitempty"`
	Start       int    `json:"start"` // in bytes of the file, or of what it unpacks to
	End         int    `json:"end"`

	counts bool // without --all
	packed bool // the file is compressed: line, column and offsets are of what it unpacks to
}

// newScanFinding is what the scanner found in a text that was packed in coding,
// where that is not empty, in a file that is named later.
func newScanFinding(f scanner.Finding, at scanner.Place, coding string) scanFinding {
	form := f.Form
	if coding != "" {
		form = strings.TrimSuffix(coding+"+"+form, "+")
	}
	return scanFinding{
		Type: f.Type, Rule: f.Rule, Line: at.Line, Column: at.Column, Path: strings.TrimPrefix(at.Path, "."),
		Form: form, Preview: f.Preview, Confidence: string(f.Confidence), Description: f.Description,
		Fingerprint: f.Fingerprint, Exempt: f.Exempt, Start: f.Start, End: f.End, counts: f.Redacts(), packed: coding != "",
	}
}

// in names the file.
func (f scanFinding) in(file string) scanFinding {
	f.File, f.Location = file, file
	if f.Line > 0 {
		f.Location = fmt.Sprintf("%s:%d:%d", file, f.Line, f.Column)
	}
	return f
}

// scanError is a file or folder that could not be read, or not to its end.
type scanError struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// crowdedAfter is how many findings the scanner lists of one text; see
// scanner.BodyScan.
const crowdedAfter = 1000

// maxReported bounds the findings of one run, so that a disk full of secrets fills
// no memory.
const maxReported = 100_000

// scanReport is what a run has found. Its fields are what scripts may rely on.
type scanReport struct {
	Safe     bool          `json:"safe"` // nothing that counts was found
	Findings []scanFinding `json:"findings"`
	Omitted  int           `json:"omitted,omitempty"` // findings beyond those
	Files    int           `json:"files"`
	Bytes    int64         `json:"bytes"`
	Errors   []scanError   `json:"errors"`
	// Crowded are the files with a thousand findings, hints among them, or more:
	// of the rest only those are listed that are graver.
	Crowded []string `json:"crowded,omitempty"`

	affected int // files with findings
}

func newScanReport() *scanReport {
	return &scanReport{Safe: true, Findings: []scanFinding{}, Errors: []scanError{}}
}

func (r *scanReport) add(file string, found []scanFinding, all bool) {
	if len(found) >= crowdedAfter {
		r.Crowded = append(r.Crowded, file)
	}
	before := len(r.Findings) + r.Omitted
	for _, f := range found {
		switch {
		case !all && !f.counts:
			continue
		case len(r.Findings) == maxReported:
			r.Omitted++
		default:
			r.Findings = append(r.Findings, f.in(file))
		}
		r.Safe = false
	}
	if len(r.Findings)+r.Omitted > before {
		r.affected++
	}
}

func (a *app) showFindings(r *scanReport) error {
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintf(a.out, "nothing was found in %s, %s\n", plural(r.Files, "file"), byteCount(r.Bytes))
		return err
	}
	columns := []column{
		{name: "FILE", whole: true}, {name: "LINE", right: true}, {name: "COLUMN", right: true}, {name: "CONFIDENCE", colours: confidenceColours},
		{name: "RULE", whole: true}, {name: "FORM"}, {name: "PATH"}, {name: "PREVIEW"}, {name: "DESCRIPTION"},
	}
	rows := make([][]any, len(r.Findings))
	for i, f := range r.Findings {
		rows[i] = []any{f.File, number(f.Line), number(f.Column), f.Confidence, f.Rule, f.Form, f.Path, f.Preview, f.Description}
	}
	if err := a.table(columns, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s in %d of %s, %s\n",
		plural(len(r.Findings)+r.Omitted, "finding"), r.affected, plural(r.Files, "file"), byteCount(r.Bytes))
	if err == nil && r.Omitted > 0 {
		_, err = fmt.Fprintf(a.out, "the last %d of them are not listed\n", r.Omitted)
	}
	for _, file := range r.Crowded {
		if err == nil {
			_, err = fmt.Fprintf(a.out, "%s holds more than are listed\n", printable(file))
		}
	}
	return err
}

// number shows a count from 1; nothing for one that is not known.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// byteCount shows a size to people.
func byteCount(n int64) string {
	switch {
	case n < 1e3:
		return plural(int(n), "byte")
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
