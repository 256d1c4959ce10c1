// Package toolsetup writes what a developer's tool needs to speak to keeper into
// that tool's own configuration, and takes it out again. Its one invariant: what
// it did not write stays byte for byte, and nothing is written before all of it
// is known to be possible. No file gets a token or a key: each gets the command
// that fetches one. It imports nothing of this module, and reads no environment.
package toolsetup

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
)

// Tool is one tool that can be pointed at keeper.
type Tool struct {
	Name    string // as the command line has it
	Title   string // for people
	Program string // the executable by which it is known to be installed

	// Scopes are what an agent usually has for it; one of them is enough, or
	// another of the same provider.
	Scopes []string
	// Shadows are the variables that the tool heeds beside or before what is set
	// up, and that would better not be set.
	Shadows []string
	// TrustShadows count likewise where keeper has an authority of its own.
	TrustShadows []string

	edits func(Site) ([]Edit, error)
	notes func(Site) []string
}

// Site is what the tools of one user are pointed at. Paths are absolute.
type Site struct {
	OS    string // as runtime.GOOS has it
	Home  string // the user's
	URL   string // keeper's, without a slash at its end
	CA    string // PEM file of the authority that vouches for URL; "" for the system's
	Agent string

	// Keeper is the file of the keeper command.
	Keeper string
	// Env is the environment, in which tools are told of other folders.
	Env map[string]string
	// Find returns where a program is on the user's path, past the file except;
	// "" where it is not installed.
	Find func(program, except string) string
}

// Tools are the tools that can be set up, sorted by name.
func Tools() []Tool {
	return []Tool{awsTool(), claudeTool(), codexTool(), cursorTool(), geminiTool(), ghTool(), gitTool()}
}

// Lookup returns the tool of the name.
func Lookup(name string) (Tool, bool) {
	for _, t := range Tools() {
		if t.Name == name {
			return t, true
		}
	}
	return Tool{}, false
}

// check refuses what would break out of a line of a file.
func (s Site) check() error {
	for name, text := range map[string]string{"the home folder": s.Home, "keeper's URL": s.URL, "the authority's file": s.CA, "the agent's id": s.Agent, "keeper's own file": s.Keeper} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%s has a control character in it", name)
		}
	}
	return nil
}

// Notes say what the user has to know or do beside what was written, in the
// order in which he has to.
func (t Tool) Notes(s Site) []string { return t.notes(s) }

// Installed reports whether the tool is there.
func (t Tool) Installed(s Site) bool {
	return s.Find(t.Program, s.launcherFile(t.Program)) != ""
}

func (s Site) provider(name string) string { return s.URL + "/api/v1/proxy/" + name }

// folder is where a tool keeps its files: what the variable says, else the
// given path in the user's home.
func (s Site) folder(variable string, inHome ...string) string {
	if named := s.Env[variable]; filepath.IsAbs(named) {
		return filepath.Clean(named)
	}
	return filepath.Join(append([]string{s.Home}, inHome...)...)
}

// reach are the arguments by which a command finds this keeper as the agent.
func (s Site) reach() []string {
	args := []string{"--agent", s.Agent, "--url", s.URL}
	if s.CA != "" {
		args = append(args, "--ca", s.CA)
	}
	return args
}

// helper is the command that prints a credential of the kind.
func (s Site) helper(kind string) []string {
	return append([]string{s.Keeper, "credential-helper", kind}, s.reach()...)
}

// shellLine returns the words as one line of a POSIX shell.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = shellQuote(word)
	}
	return strings.Join(quoted, " ")
}

func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
