package toolsetup

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Edit is what is changed in one file. It is kept, so that it can be taken back.
type Edit struct {
	Path string      `json:"path"`
	Root string      `json:"root"` // the folder that no symbolic link may lead out of
	Mode fs.FileMode `json:"mode"` // of the file where there is none yet
	Kind kind        `json:"kind"`

	Settings []Setting  `json:"settings,omitempty"` // of JSON
	Git      []GitValue `json:"git,omitempty"`
	Key      string     `json:"key,omitempty"`      // of TOML and .env files: its value becomes Value
	Value    string     `json:"value,omitempty"`    // as the file has it
	Block    string     `json:"block,omitempty"`    // what is appended, or the whole file
	Table    []string   `json:"table,omitempty"`    // of TOML: what Block makes, and must not be there
	Sections []string   `json:"sections,omitempty"` // of INI: the same
	Absent   [][]string `json:"absent,omitempty"`   // what would count before what is written
}

// kind is the format of a file.
type kind string

const (
	kindJSON  kind = "json" // with comments and trailing commas, where there are any
	kindTOML  kind = "toml"
	kindINI   kind = "ini"
	kindEnv   kind = "env" // NAME=value lines
	kindGit   kind = "git"
	kindWhole kind = "whole" // the file is keeper's alone
)

// apply returns the file with the edit. Bytes that are no file of the kind, or
// that hold what the edit would make, are an error.
func (e Edit) apply(before []byte) ([]byte, error) {
	switch e.Kind {
	case kindJSON:
		return e.applyJSON(before)
	case kindGit:
		return e.applyGit(before)
	}
	splices, err := e.splices(before)
	if err != nil {
		return nil, err
	}
	return splice(before, splices), nil
}

// revert returns now, which others changed since the edit was applied to before,
// without what the edit wrote.
func (e Edit) revert(now, before []byte) ([]byte, error) {
	switch e.Kind {
	case kindJSON:
		return e.revertJSON(now, before)
	case kindGit:
		return e.revertGit(now)
	}
	splices, err := e.splices(before)
	if err != nil {
		return nil, err
	}
	return unsplice(now, splices)
}

func (e Edit) splices(before []byte) ([]change, error) {
	switch e.Kind {
	case kindTOML:
		return e.spliceTOML(before)
	case kindINI:
		return e.spliceINI(before)
	case kindEnv:
		return e.spliceEnv(before)
	case kindWhole:
		if len(before) > 0 {
			return nil, fmt.Errorf("there is one already, which is not keeper's")
		}
		return []change{{new: e.Block}}, nil
	}
	return nil, fmt.Errorf("files of the kind %q are not known to this version of keeper", e.Kind)
}

// change replaces old, which stands at the offset, by new.
type change struct {
	at       int
	old, new string
	value    bool // of a key that others may have changed since; it is the first such line
}

// splice makes the changes, which are in ascending order.
func splice(before []byte, changes []change) []byte {
	var out bytes.Buffer
	at := 0
	for _, c := range changes {
		out.Write(before[at:c.at])
		out.WriteString(c.new)
		at = c.at + len(c.old)
	}
	out.Write(before[at:])
	return out.Bytes()
}

// unsplice takes each change back where what it wrote stands as it was written.
// A value that others changed since is theirs, and a block that is gone is gone.
func unsplice(now []byte, changes []change) ([]byte, error) {
	text := string(now)
	for _, c := range changes {
		written := c.new
		at := lineOf(text, written)
		if at < 0 {
			written = strings.TrimLeft(written, "\n")
			at = lineOf(text, written)
		}
		if at < 0 && (c.value || lineOf(text, firstLine(written)) < 0) {
			continue
		}
		if at < 0 || !c.value && lineOf(text[at+1:], written) >= 0 {
			return nil, fmt.Errorf("what begins with %q is not as keeper wrote it; take it out by hand", firstLine(written))
		}
		text = text[:at] + c.old + text[at+len(written):]
	}
	return []byte(text), nil
}

// lineOf is where the first line begins at which the part stands, -1 where there
// is none. A part that itself begins with the end of a line may stand anywhere.
func lineOf(text, part string) int {
	for from := 0; ; {
		at := strings.Index(text[from:], part)
		if at < 0 {
			return -1
		}
		at += from
		if at == 0 || text[at-1] == '\n' || strings.HasPrefix(part, "\n") {
			return at
		}
		from = at + 1
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	return line
}

// appended is the change that puts a block at the end, after an empty line.
func appended(before []byte, block string) change {
	gap := ""
	switch {
	case len(before) == 0:
	case bytes.HasSuffix(before, []byte("\n")):
		gap = "\n"
	default:
		gap = "\n\n"
	}
	return change{at: len(before), new: gap + block}
}

// rootOf is the folder out of which no symbolic link of a file in the folder may
// lead: the user's home, or, where the user named one elsewhere, that.
func (s Site) rootOf(folder string) string {
	if rel, err := filepath.Rel(s.Home, folder); err == nil && filepath.IsLocal(rel) {
		return s.Home
	}
	return folder
}
