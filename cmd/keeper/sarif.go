package main

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/scanner"
)

// The types below are the part of SARIF 2.1.0 (OASIS, 27 March 2020) that a report
// needs. None bears a fingerprint: one that others could compute would let them try
// guesses at a value offline.

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

type sarif struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool         `json:"tool"`
	Invocations []sarifInvocation `json:"invocations"`
	ColumnKind  string            `json:"columnKind"`
	Results     []sarifResult     `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifText struct {
	Text     string `json:"text"`
	Markdown string `json:"markdown,omitempty"`
}

type sarifRule struct {
	ID            string              `json:"id"`
	Short         sarifText           `json:"shortDescription"`
	Full          sarifText           `json:"fullDescription"`
	Help          sarifText           `json:"help"`
	Configuration sarifConfiguration  `json:"defaultConfiguration"`
	Properties    sarifRuleProperties `json:"properties"`
}

type sarifConfiguration struct {
	Level string `json:"level"`
}

type sarifRuleProperties struct {
	Tags      []string `json:"tags"`
	Precision string   `json:"precision"`
	Severity  string   `json:"security-severity"` // as code hosts rank alerts, from 0 to 10
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations,omitempty"`
}

type sarifResult struct {
	RuleID     string                `json:"ruleId"`
	RuleIndex  int                   `json:"ruleIndex"`
	Level      string                `json:"level"`
	Message    sarifText             `json:"message"`
	Locations  []sarifLocation       `json:"locations"`
	Properties sarifResultProperties `json:"properties"`
}

type sarifResultProperties struct {
	Type       string `json:"type"`
	Confidence string `json:"confidence"`
	Form       string `json:"form,omitempty"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine,omitempty"`
	StartColumn int `json:"startColumn,omitempty"`
	ByteOffset  int `json:"byteOffset"`
	ByteLength  int `json:"byteLength"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
}

// sarifGrades are what a confidence means to a code host.
var sarifGrades = map[string]struct{ level, precision, severity string }{
	string(scanner.High):   {"error", "very-high", "8.0"},
	string(scanner.Medium): {"warning", "high", "6.0"},
	string(scanner.Low):    {"note", "low", "2.0"},
}

// newSarif is a report for code hosts. Its rules are those that found something.
func newSarif(r *scanReport) sarif {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name: "keeper", Version: version(), InformationURI: "https://github.com/superinstance/keeper", Rules: []sarifRule{},
		}},
		Invocations: []sarifInvocation{{Successful: len(r.Errors) == 0}},
		ColumnKind:  "unicodeCodePoints", Results: []sarifResult{},
	}
	notify := func(level, file, text string) {
		run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, sarifNotification{
			Level: level, Message: sarifText{Text: file + ": " + text},
			Locations: []sarifLocation{{Physical: sarifPhysical{Artifact: sarifArtifact{fileURI(file)}}}},
		})
	}
	for _, e := range r.Errors {
		notify("error", e.File, e.Error)
	}
	for _, file := range r.Crowded {
		notify("warning", file, "it holds more than is listed")
	}
	for _, f := range r.Findings {
		at := slices.IndexFunc(run.Tool.Driver.Rules, func(rule sarifRule) bool { return rule.ID == f.Rule })
		if at < 0 {
			at = len(run.Tool.Driver.Rules)
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSarifRule(f))
		}
		run.Results = append(run.Results, newSarifResult(f, at))
	}
	return sarif{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}}
}

const sarifHelp = "Take it out of the file, keep it where only a secret store has it (keeper's vault: `keeper secret set`), " +
	"and have its issuer revoke it: whoever could read the file has it. Earlier versions of the file hold it still."

func newSarifRule(f scanFinding) sarifRule {
	grade := sarifGrades[f.Confidence]
	full := f.Description + ". Keeper's rule " + f.Rule + " finds it with " + f.Confidence + " confidence."
	return sarifRule{
		ID: f.Rule, Short: sarifText{Text: f.Description}, Full: sarifText{Text: full},
		Help:          sarifText{Text: full + " " + strings.ReplaceAll(sarifHelp, "`", ""), Markdown: full + "\n\n" + sarifHelp},
		Configuration: sarifConfiguration{grade.level},
		Properties:    sarifRuleProperties{[]string{"security", "secret", "external/cwe/cwe-798"}, grade.precision, grade.severity},
	}
}

func newSarifResult(f scanFinding, rule int) sarifResult {
	text := f.Description
	if f.Form != "" {
		text += " (" + f.Form + ")"
	}
	at := sarifLocation{Physical: sarifPhysical{sarifArtifact{fileURI(f.File)}, regionOf(f)}}
	if f.Path != "" {
		text += " in " + f.Path
		at.Logical = []sarifLogical{{f.Path}}
	}
	return sarifResult{
		RuleID: f.Rule, RuleIndex: rule, Level: sarifGrades[f.Confidence].level, Message: sarifText{Text: text},
		Locations: []sarifLocation{at}, Properties: sarifResultProperties{f.Type, f.Confidence, f.Form},
	}
}

// regionOf is where in the file a finding stands. In one that was unpacked there is
// no such place.
func regionOf(f scanFinding) *sarifRegion {
	if f.packed {
		return nil
	}
	return &sarifRegion{f.Line, f.Column, f.Start, f.End - f.Start}
}

// fileURI is a file as SARIF names it: relative to the folder of the scan, or
// absolute.
func fileURI(file string) string {
	if file == standardInput {
		return "stdin"
	}
	u := url.URL{Path: filepath.ToSlash(file)}
	if filepath.IsAbs(file) {
		u.Path = "/" + strings.TrimPrefix(u.Path, "/")
		return "file://" + u.EscapedPath()
	}
	return u.String()
}
