package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestTextFromElsewhereCannotActOnTheTerminal(t *testing.T) {
	for given, want := range map[string]string{
		"plain Ünïcode 漢字":   "plain Ünïcode 漢字",
		"\x1b[2Jgone":        `\x1b[2Jgone`,
		"\u009b31mred":       `\x9b31mred`,
		"two\nlines\ttab":    `two\x0alines\x09tab`,
		"\u202eevil\u200bzw": `\u202eevil\u200bzw`,
		"bad \xff byte":      "bad \ufffd byte",
	} {
		if got := printable(given); got != want {
			t.Errorf("printable(%q): got %q, want %q", given, got, want)
		}
	}
	if got, want := printableText("one\ntwo\x1b"), "one\ntwo\\x1b"; got != want {
		t.Errorf("printableText: got %q, want %q", got, want)
	}
}

func TestJSONForTerminalsIsEscapedAndReadsBackTheSame(t *testing.T) {
	in := map[string]string{"name": "\u202e\u009b\x1b\x7f\U000e0001<&>漢\n"}
	var out bytes.Buffer
	if err := printJSON(&out, in); err != nil {
		t.Fatalf("printing: got %v, want no error", err)
	}
	for _, r := range "\u202e\u009b\x1b\x7f\U000e0001" {
		if bytes.ContainsRune(out.Bytes(), r) {
			t.Errorf("output: got %q, want %U escaped", out.String(), r)
		}
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["name"] != in["name"] {
		t.Errorf("reading back: got %q, %v, want %q", back["name"], err, in["name"])
	}
}

func TestMisspeltKeyFindsTheNearestKnownOne(t *testing.T) {
	known := []string{"addr", "adminAddr", "registration", "tls"}
	for word, want := range map[string]string{"registraton": "registration", "adminaddr": "adminAddr", "adr": "addr", "zzzz": ""} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q): got %q, want %q", word, got, want)
		}
	}
}

func TestShellQuoteMakesOneWord(t *testing.T) {
	for given, want := range map[string]string{
		".keeper": ".keeper", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(rm)": "'$(rm)'",
	} {
		if got := shellQuote(given); got != want {
			t.Errorf("shellQuote(%q): got %s, want %s", given, got, want)
		}
	}
}
