package toolsetup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// Setting is a value in a JSON file, by the names of the objects that lead to it.
type Setting struct {
	Path  []string `json:"path"`
	Value any      `json:"value"`
}

func (e Edit) applyJSON(before []byte) ([]byte, error) {
	doc, err := parseJSON(before)
	if err != nil {
		return nil, err
	}
	for _, path := range e.Absent {
		found, err := doc.find(path)
		if err != nil {
			return nil, err
		}
		if found != nil {
			return nil, fmt.Errorf("it sets %s, which counts before keeper's token; take it out first", strings.Join(path, "."))
		}
	}
	for _, s := range e.Settings {
		if err := doc.set(s.Path, s.Value); err != nil {
			return nil, err
		}
	}
	return doc.pack(), nil
}

// revertJSON puts each setting back that is still as the edit made it; one that
// others changed is theirs.
func (e Edit) revertJSON(now, before []byte) ([]byte, error) {
	doc, err := parseJSON(now)
	if err != nil {
		return nil, err
	}
	old, err := parseJSON(before)
	if err != nil {
		return nil, err
	}
	for _, s := range e.Settings {
		found, err := doc.find(s.Path)
		if err != nil {
			return nil, err
		}
		if found == nil || !sameJSON(*found, s.Value) {
			continue
		}
		was, err := old.find(s.Path)
		if err != nil {
			return nil, err
		}
		if was != nil {
			found.Value = was.Clone().Value
			continue
		}
		doc.remove(s.Path, old)
	}
	return doc.pack(), nil
}

func sameJSON(found hujson.Value, want any) bool {
	found = found.Clone()
	found.Standardize()
	var a, b any
	text, err := json.Marshal(want)
	if err != nil || json.Unmarshal(text, &b) != nil || json.Unmarshal(found.Pack(), &a) != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// document is a JSON file whose comments and spaces stay as they are.
type document struct {
	root    hujson.Value
	newline string
	indent  string // of one level
}

// parseJSON reads a file whose top is an object; an empty one is an empty object.
func parseJSON(text []byte) (*document, error) {
	d := &document{newline: "\n", indent: "  "}
	if bytes.Contains(text, []byte("\r\n")) {
		d.newline = "\r\n"
	}
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}\n")
	}
	var err error
	if d.root, err = hujson.Parse(text); err != nil {
		place, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "hujson: "), ": ") // what follows may quote the file
		return nil, fmt.Errorf("%s: it is no JSON", place)
	}
	top, ok := d.root.Value.(*hujson.Object)
	if !ok {
		return nil, fmt.Errorf("it is no JSON object")
	}
	if len(top.Members) > 0 {
		if space := layout(top); strings.Contains(space, "\n") {
			d.indent = space[strings.LastIndex(space, "\n")+1:]
		}
	}
	return d, nil
}

func (d *document) pack() []byte { return d.root.Pack() }

// find returns the value at the path, nil where there is none.
func (d *document) find(path []string) (*hujson.Value, error) {
	value := &d.root
	for i, name := range path {
		object, ok := value.Value.(*hujson.Object)
		if !ok {
			return nil, fmt.Errorf("%s is no JSON object", strings.Join(path[:i], "."))
		}
		at, err := memberOf(object, name)
		if err != nil || at < 0 {
			return nil, err
		}
		value = &object.Members[at].Value
	}
	return value, nil
}

// memberOf is the place of the member, -1 where there is none. Two of a name are
// an error: readers disagree on which of them counts.
func memberOf(object *hujson.Object, name string) (int, error) {
	at := -1
	for i, m := range object.Members {
		if literal, ok := m.Name.Value.(hujson.Literal); ok && literal.String() == name {
			if at >= 0 {
				return -1, fmt.Errorf("it has %q twice; take one of them out", name)
			}
			at = i
		}
	}
	return at, nil
}

func (d *document) set(path []string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding a setting: %w", err)
	}
	parsed, err := hujson.Parse(text)
	if err != nil {
		return fmt.Errorf("encoding a setting: %w", err)
	}
	holder := &d.root
	for i, name := range path {
		object, ok := holder.Value.(*hujson.Object)
		if !ok {
			return fmt.Errorf("%s is no JSON object", strings.Join(path[:i], "."))
		}
		at, err := memberOf(object, name)
		if err != nil {
			return err
		}
		if at < 0 {
			d.add(object, name, i)
			at = len(object.Members) - 1
		}
		holder = &object.Members[at].Value
	}
	holder.Value = parsed.Value
	return nil
}

// add appends a member with an empty object as its value, laid out like those
// beside it. depth is that of the object.
func (d *document) add(object *hujson.Object, name string, depth int) {
	space, after := d.newline+strings.Repeat(d.indent, depth+1), d.newline+strings.Repeat(d.indent, depth)
	trailing := false
	if n := len(object.Members); n > 0 {
		space = layout(object)
		trailing = object.Members[n-1].Value.AfterExtra != nil
		after = string(object.AfterExtra)
	} else if strings.TrimSpace(string(object.AfterExtra)) != "" {
		after = strings.TrimRight(string(object.AfterExtra), " \t\r\n") + after
	}
	// A comment behind the last member stays behind it.
	comment := strings.TrimRight(after, " \t\r\n")
	if comment != "" && !strings.Contains(space, "\n") {
		space = d.newline + strings.Repeat(d.indent, depth+1)
	}
	member := hujson.ObjectMember{
		Name:  hujson.Value{BeforeExtra: hujson.Extra(comment + space), Value: hujson.String(name)},
		Value: hujson.Value{BeforeExtra: hujson.Extra(" "), Value: &hujson.Object{}},
	}
	if trailing {
		member.Value.AfterExtra = hujson.Extra{}
	}
	object.AfterExtra = hujson.Extra(after[len(comment):])
	object.Members = append(object.Members, member)
}

// layout is the white space before a member that follows the object's last one.
func layout(object *hujson.Object) string {
	extra := string(object.Members[len(object.Members)-1].Name.BeforeExtra)
	if at := strings.LastIndex(extra, "\n"); at >= 0 {
		if at > 0 && extra[at-1] == '\r' {
			at--
		}
		line := extra[at:]
		return line[:len(line)-len(strings.TrimLeft(line, " \t\r\n"))]
	}
	if len(object.Members) == 1 || strings.TrimSpace(extra) != "" {
		return " "
	}
	return extra
}

// remove takes the member out, and the objects around it that are empty then and
// were not there in old.
func (d *document) remove(path []string, old *document) {
	for n := len(path); n > 0; n-- {
		if n < len(path) {
			if was, err := old.find(path[:n]); err != nil || was != nil {
				return
			}
		}
		holder, err := d.find(path[:n-1])
		if err != nil || holder == nil {
			return
		}
		object := holder.Value.(*hujson.Object) // find went through it
		at, err := memberOf(object, path[n-1])
		if err != nil || at < 0 {
			return
		}
		if inner, ok := object.Members[at].Value.Value.(*hujson.Object); n < len(path) && (!ok || len(inner.Members) > 0) {
			return
		}
		cut(object, at)
	}
}

// cut removes a member; a comment before it stays.
func cut(object *hujson.Object, at int) {
	last := len(object.Members) - 1
	trailing := object.Members[last].Value.AfterExtra != nil
	comment := hujson.Extra(strings.TrimRight(string(object.Members[at].Name.BeforeExtra), " \t\r\n"))
	object.Members = slices.Delete(object.Members, at, at+1)
	if at < last {
		next := &object.Members[at].Name
		next.BeforeExtra = behind(comment, next.BeforeExtra)
		return
	}
	if last > 0 {
		before := &object.Members[last-1].Value
		switch {
		case trailing && before.AfterExtra == nil:
			before.AfterExtra = hujson.Extra{}
		case !trailing && before.AfterExtra != nil:
			comment = slices.Concat(before.AfterExtra, comment)
			before.AfterExtra = nil
		}
	}
	object.AfterExtra = behind(comment, object.AfterExtra)
	if last == 0 && strings.TrimSpace(string(object.AfterExtra)) == "" {
		object.AfterExtra = nil
	}
}

// behind puts space behind a comment, which may be one that the line's end ends.
func behind(comment, space hujson.Extra) hujson.Extra {
	if strings.TrimSpace(string(comment)) != "" && !strings.HasPrefix(strings.TrimLeft(string(space), " \t\r"), "\n") {
		comment = slices.Concat(comment, hujson.Extra("\n"))
	}
	return slices.Concat(comment, space)
}
