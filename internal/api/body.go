package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

const (
	bodyLimit       = 1 << 20  // of most routes
	scanBodyLimit   = 16 << 20 // of /scan
	bodyReadTimeout = 30 * time.Second
	maxNamedBytes   = 64 // of a field's name, as an error repeats it
)

// readBody returns the whole body of r, which may have limit bytes. The error
// wraps errTooLarge or is a *fieldError.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // the rest of it is not read
		return nil, errTooLarge
	}
	// Not every writer has a deadline to set; then the server's own holds.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyReadTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	_ = deadline.SetReadDeadline(time.Time{})
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, errTooLarge
	case err != nil:
		return nil, &fieldError{"body", "it did not arrive in full"}
	}
	return body, nil
}

// schemas checks what a request holds against what its route describes, to the
// letter: names in their exact case, none twice, none unknown, nothing null.
type schemas struct{ registry huma.Registry }

// checkBody refuses a body that is not the JSON object that schema describes.
func (s schemas) checkBody(body []byte, schema *huma.Schema) error {
	var parsed any
	if err := json.Unmarshal(body, &parsed); err != nil || !utf8.Valid(body) {
		return &fieldError{"body", "it must be one valid JSON object in UTF-8"}
	}
	object, ok := parsed.(map[string]any)
	if !ok {
		return &fieldError{"body", "it must be a JSON object"}
	}
	if twice := repeatedName(body); twice != "" {
		return &fieldError{named(twice), "it is given twice"}
	}
	for schema.Ref != "" {
		schema = s.registry.SchemaFromRef(schema.Ref)
	}
	for name, value := range object {
		switch {
		case schema.Properties[name] == nil:
			return &fieldError{named(name), "there is no such field; known are " + known(schema)}
		case value == nil:
			return &fieldError{name, "it must not be null; leave it out instead"}
		}
	}
	return s.validate("body", object, schema)
}

// checkQuery refuses a query that is not made of params. An empty value counts
// as none.
func (s schemas) checkQuery(rawQuery string, params []*huma.Param) error {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return &fieldError{"query", "it must be URL-encoded"}
	}
	for name, values := range query {
		i := slices.IndexFunc(params, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		if i < 0 {
			return &fieldError{named(name), "there is no such query parameter here"}
		}
		if len(values) > 1 {
			return &fieldError{name, "it is given twice"}
		}
		if values[0] == "" {
			continue
		}
		value, err := typed(values[0], params[i].Schema)
		if err != nil {
			return &fieldError{name, err.Error()}
		}
		if err := s.validate(name, value, params[i].Schema); err != nil {
			return err
		}
	}
	for _, p := range params {
		if p.In == "query" && p.Required && query.Get(p.Name) == "" {
			return &fieldError{p.Name, "it must be given"}
		}
	}
	return nil
}

// typed reads a parameter as the type that its schema names.
func typed(text string, schema *huma.Schema) (any, error) {
	if schema.Type != huma.TypeInteger {
		return text, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, errors.New("expected integer")
	}
	return n, nil
}

// validate reports one thing about value that schema forbids: rather what is
// wrong with a field than what is missing beside it.
func (s schemas) validate(root string, value any, schema *huma.Schema) error {
	path := huma.NewPathBuffer(nil, 0)
	path.Push(root)
	var result huma.ValidateResult
	huma.Validate(s.registry, schema, path, huma.ModeWriteToServer, value, &result)
	var refused error
	for _, err := range result.Errors {
		var detail huma.ErrorDetailer
		if !errors.As(err, &detail) {
			return &fieldError{root, "it is out of range"}
		}
		// The detail's value is left out: it may be a secret.
		found := detail.ErrorDetail()
		refused = &fieldError{strings.TrimPrefix(found.Location, "body."), found.Message}
		if found.Location != root {
			break
		}
	}
	return refused
}

// repeatedName returns a name that an object in body has twice, or nothing.
// body is valid JSON.
func repeatedName(body []byte) string {
	type level struct {
		names map[string]bool // nil for an array
		value bool            // a name was read, its value comes next
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	stack := []*level{{}}
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		top := stack[len(stack)-1]
		if name, ok := token.(string); ok && top.names != nil && !top.value {
			if top.names[name] {
				return name
			}
			top.names[name], top.value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, &level{names: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, &level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
			stack[len(stack)-1].value = false
		default:
			top.value = false
		}
	}
}

// named is a caller's own name for a field, cut to what a sentence can bear.
func named(name string) string {
	if len(name) > maxNamedBytes {
		name = strings.ToValidUTF8(name[:maxNamedBytes], "") + "…"
	}
	return fmt.Sprintf("%q", name)
}

func known(schema *huma.Schema) string {
	names := make([]string, 0, len(schema.Properties))
	for name := range schema.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
