package toolsetup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// spliceTOML sets Key at the top level and appends Block.
func (e Edit) spliceTOML(before []byte) ([]change, error) {
	var doc map[string]any
	if err := toml.Unmarshal(before, &doc); err != nil {
		var where *toml.DecodeError
		if errors.As(err, &where) {
			line, column := where.Position()
			return nil, fmt.Errorf("line %d, column %d: it is no TOML: %w", line, column, err)
		}
		return nil, fmt.Errorf("it is no TOML: %w", err)
	}
	if holdsTable(doc, e.Table) {
		return nil, fmt.Errorf("it has a [%s] that keeper did not write; give that another name", strings.Join(e.Table, "."))
	}
	key, err := e.tomlKey(before)
	if err != nil {
		return nil, err
	}
	return []change{key, appended(before, e.Block)}, nil
}

func holdsTable(doc map[string]any, path []string) bool {
	for i, name := range path {
		value, there := doc[name]
		if !there || i == len(path)-1 {
			return there
		}
		doc, _ = value.(map[string]any)
	}
	return false
}

// tomlKey replaces the value of Key where it is set, else sets it in the first
// line: behind a table's heading it would belong to the table.
func (e Edit) tomlKey(before []byte) (change, error) {
	var p unstable.Parser
	p.Reset(before)
	for p.NextExpression() {
		node := p.Expression()
		if node.Kind == unstable.Table || node.Kind == unstable.ArrayTable {
			break
		}
		if node.Kind != unstable.KeyValue {
			continue
		}
		if name := node.Key(); !name.Next() || string(name.Node().Data) != e.Key || !name.IsLast() {
			continue
		}
		raw := node.Value().Raw
		if raw.Length == 0 {
			return change{}, fmt.Errorf("the value of %s is no string", e.Key)
		}
		value, end := int(raw.Offset), int(raw.Offset+raw.Length)
		line := bytes.LastIndexByte(before[:value], '\n') + 1
		return change{at: line, old: string(before[line:end]), new: string(before[line:value]) + e.Value, value: true}, nil
	}
	if err := p.Error(); err != nil {
		return change{}, fmt.Errorf("it is no TOML: %w", err)
	}
	return change{new: e.Key + " = " + e.Value + "\n", value: true}, nil
}

// spliceINI appends Block.
func (e Edit) spliceINI(before []byte) ([]change, error) {
	section := ""
	n := 0
	for line := range strings.Lines(string(before)) {
		n++
		text := strings.TrimSpace(line)
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
		case text[0] == '[' && line[0] == '[':
			name, _, closed := strings.Cut(text[1:], "]")
			if !closed {
				return nil, fmt.Errorf("line %d: the section's name does not end with ]", n)
			}
			section = strings.Join(strings.Fields(name), " ")
			if slices.Contains(e.Sections, section) {
				return nil, fmt.Errorf("line %d: it has a [%s] that keeper did not write; give that another name", n, section)
			}
		case section == "":
			return nil, fmt.Errorf("line %d: there is something before the first [section]", n)
		case line[0] != ' ' && line[0] != '\t' && !strings.ContainsAny(text, "=:"):
			return nil, fmt.Errorf("line %d: it is neither a [section] nor name = value", n)
		}
	}
	return []change{appended(before, e.Block)}, nil
}

// spliceEnv sets the variable Key to Value, in the line that sets it, else in
// one of its own at the end.
func (e Edit) spliceEnv(before []byte) ([]change, error) {
	var found []change
	at, n := 0, 0
	for line := range strings.Lines(string(before)) {
		n++
		text := strings.TrimRight(line, "\r\n")
		name, _, assigned := strings.Cut(strings.TrimPrefix(strings.TrimSpace(text), "export "), "=")
		name = strings.TrimSpace(name)
		if assigned && !strings.HasPrefix(name, "#") {
			for _, path := range e.Absent {
				if name == path[0] {
					return nil, fmt.Errorf("line %d: it sets %s, which counts before keeper's token; take it out first", n, name)
				}
			}
			if name == e.Key {
				found = append(found, change{at: at, old: text, new: e.Key + "=" + e.Value, value: true})
			}
		}
		at += len(line)
	}
	switch len(found) {
	case 0:
		added := appended(before, e.Key+"="+e.Value+"\n")
		added.new, added.value = strings.TrimPrefix(added.new, "\n"), true // no empty line between variables
		return []change{added}, nil
	case 1:
		return found, nil
	}
	return nil, fmt.Errorf("it sets %s twice; take one of them out", e.Key)
}
