package manual

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// document is a description in OpenAPI 3.1, as far as the page shows it.
type document struct {
	Info struct{ Title, Version, Description string }
	Tags []struct{ Name, Description string }

	Paths      map[string]map[string]operation
	Components struct {
		Schemas         map[string]schema
		SecuritySchemes map[string]struct{ Type, Scheme, In, Name, Description string }
	}
}

type operation struct {
	OperationID, Summary, Description string
	Tags                              []string
	Security                          []map[string]any
	Parameters                        []parameter
	RequestBody                       *struct {
		Required bool
		Content  map[string]media
	}
	Responses map[string]response
}

type parameter struct {
	Name, In, Description string
	Required              bool
	Schema                schema
	Example               any
}

type response struct {
	Description string
	Content     map[string]media
	Headers     map[string]struct{ Description string }
}

type media struct {
	Schema  schema
	Example any
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Format               string
	Description          string
	Enum                 []any
	Default              any
	Minimum, Maximum     *float64
	MinLength, MaxLength *int
	Pattern              string
	Required             []string
	Properties           map[string]schema
	Items                *schema
	AllOf, AnyOf, OneOf  []schema
}

// The page's own view of it.
type (
	reference struct {
		Title, Version, About string
		Proofs                []named
		Sections              []section
		Schemas               []shape
	}
	section struct {
		Name, About string
		Calls       []call
	}
	call struct {
		ID, Method, Path, Summary, About string
		Open                             bool
		Parameters                       []row
		Bodies                           []body
		Answers                          []answer
		Curl                             string
	}
	row struct {
		Name, In, Type, About string
		Required              bool
		Link                  string // to the schema
	}
	body struct {
		Type, Example, Link, Schema string
		Rows                        []row
	}
	answer struct {
		Status, About string
		Headers       []named
		Bodies        []body
	}
	shape struct {
		Name string
		Rows []row
	}
	named struct{ Name, About string }
)

func (p *press) reference(text []byte) error {
	var doc document
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("reading the description of the routes: %w", err)
	}
	return p.print("reference.html", sheet{Title: "The HTTP API", Here: Root + "/api", Script: Root + "/search.js", Content: doc.view()})
}

func (d *document) view() reference {
	r := reference{Title: d.Info.Title, Version: d.Info.Version, About: d.Info.Description}
	for _, name := range slices.Sorted(maps.Keys(d.Components.SecuritySchemes)) {
		r.Proofs = append(r.Proofs, named{name, d.Components.SecuritySchemes[name].Description})
	}
	for _, tag := range d.Tags {
		r.Sections = append(r.Sections, section{tag.Name, tag.Description, d.calls(tag.Name)})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		r.Schemas = append(r.Schemas, shape{name, rows(d.Components.Schemas[name])})
	}
	return r
}

// methods are in the order in which they are shown.
var methods = []string{"get", "post", "put", "patch", "delete", "head", "options"}

func (d *document) calls(tag string) (all []call) {
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range methods {
			op, there := d.Paths[path][method]
			if there && slices.Contains(op.Tags, tag) {
				all = append(all, op.view(strings.ToUpper(method), path))
			}
		}
	}
	return all
}

func (op *operation) view(method, path string) call {
	c := call{ID: op.OperationID, Method: method, Path: path, Summary: op.Summary, About: op.Description, Open: len(op.Security) == 0}
	for _, p := range op.Parameters {
		one := describe(p.Name, p.Schema, p.Required)
		one.In, one.About = p.In, p.Description
		c.Parameters = append(c.Parameters, one)
	}
	if op.RequestBody != nil {
		c.Bodies = bodies(op.RequestBody.Content)
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		a := answer{Status: status, About: r.Description, Bodies: bodies(r.Content)}
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			a.Headers = append(a.Headers, named{name, r.Headers[name].Description})
		}
		c.Answers = append(c.Answers, a)
	}
	c.Curl = op.curl(method, path)
	return c
}

// curl is how the call looks on a command line. It shows no token.
func (op *operation) curl(method, path string) string {
	var b strings.Builder
	b.WriteString("curl")
	if method != "GET" {
		b.WriteString(" -X " + method)
	}
	if len(op.Security) > 0 {
		b.WriteString(` -H "Authorization: Bearer $KEEPER_TOKEN"`)
	}
	if op.RequestBody != nil {
		for media, body := range op.RequestBody.Content {
			if media == "application/json" {
				text, _ := json.Marshal(body.Example) // it was decoded from JSON
				b.WriteString(" -H 'Content-Type: application/json' -d '" + strings.ReplaceAll(string(text), "'", `'\''`) + "'")
			}
		}
	}
	b.WriteString(` "$KEEPER_URL` + path + `"`)
	return b.String()
}

func bodies(content map[string]media) (all []body) {
	for _, name := range slices.Sorted(maps.Keys(content)) {
		m := content[name]
		one := body{Type: name, Example: shown(m.Example)}
		one.Schema, one.Link = typeOf(m.Schema)
		if one.Link == "" {
			one.Rows = rows(m.Schema)
		}
		all = append(all, one)
	}
	return all
}

// shown is an example as people read it.
func shown(example any) string {
	if text, ok := example.(string); ok {
		return text
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(example); err != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}

func rows(s schema) (all []row) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		all = append(all, describe(name, s.Properties[name], slices.Contains(s.Required, name)))
	}
	slices.SortStableFunc(all, func(a, b row) int { // what must be there comes first
		switch {
		case a.Required == b.Required:
			return 0
		case a.Required:
			return -1
		}
		return 1
	})
	return all
}

func describe(name string, s schema, required bool) row {
	r := row{Name: name, Required: required, About: s.Description}
	r.Type, r.Link = typeOf(s)
	return r
}

// typeOf is a schema's type in words, and where its fields are.
func typeOf(s schema) (words, link string) {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return name, "#schema-" + strings.ToLower(name)
	}
	for _, one := range slices.Concat(s.AllOf, s.AnyOf, s.OneOf) {
		if words, link := typeOf(one); link != "" {
			return words, link
		}
	}
	switch t := s.Type.(type) {
	case string:
		words = t
	case []any:
		words = joined(t, " or ")
	}
	if words == "array" && s.Items != nil {
		inner, link := typeOf(*s.Items)
		return "list of " + inner, link
	}
	return words + limits(s), ""
}

func joined(values []any, separator string) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, separator)
}

// limits are what a value must keep, in words.
func limits(s schema) string {
	var all []string
	if s.Format == "date-time" {
		all = append(all, "a time")
	}
	if len(s.Enum) > 0 {
		all = append(all, "one of "+joined(s.Enum, ", "))
	}
	if s.Minimum != nil {
		all = append(all, fmt.Sprintf("at least %v", *s.Minimum))
	}
	if s.Maximum != nil {
		all = append(all, fmt.Sprintf("at most %v", *s.Maximum))
	}
	if s.MaxLength != nil {
		all = append(all, fmt.Sprintf("at most %d characters", *s.MaxLength))
	}
	if s.Default != nil {
		all = append(all, fmt.Sprintf("%v without it", s.Default))
	}
	if len(all) == 0 {
		return ""
	}
	return ", " + strings.Join(all, ", ")
}
