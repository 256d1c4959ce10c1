package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const schemaFile = "../../docs/keeper.schema.json"

// schema is a JSON schema, as far as the configuration needs it.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	ID          string             `json:"$id,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Type        any                `json:"type,omitempty"`
	Enum        []any              `json:"enum,omitempty"`
	Default     any                `json:"default,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  any                `json:"additionalProperties,omitempty"`
	Definitions map[string]*schema `json:"$defs,omitempty"`
}

// schemaMaker makes schemas of types, with what the comments of their fields say.
// Structs are definitions, since one may hold its like.
type schemaMaker struct {
	comments map[string]keyComment
	made     map[string]*schema
	types    map[string]reflect.Type
}

func (m schemaMaker) of(t reflect.Type) *schema {
	if t == reflect.TypeFor[time.Duration]() {
		return &schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return m.of(t.Elem())
	case reflect.Slice:
		return &schema{Type: []string{"array", "null"}, Items: m.of(t.Elem())}
	case reflect.Map:
		return &schema{Type: []string{"object", "null"}, Additional: m.of(t.Elem())}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Struct:
		return &schema{Ref: "#/$defs/" + m.define(t)}
	}
	return &schema{} // anything
}

// define makes the definition of a struct, and returns its name.
func (m schemaMaker) define(t reflect.Type) string {
	name := t.Name()
	if m.made[name] != nil {
		if m.types[name] != t {
			panic("two types of the configuration are named " + name)
		}
		return name
	}
	m.types[name] = t
	s := &schema{Type: []string{"object", "null"}, Properties: map[string]*schema{}, Additional: false}
	m.made[name] = s
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("yaml")
		if key == "" {
			continue
		}
		property, said := m.of(field.Type), m.comments[name+"."+field.Name]
		property.Description, property.Default = said.text(), said.fallbackValue()
		if said.required {
			s.Required = append(s.Required, key)
		}
		choices := property
		if of, isMap := property.Additional.(*schema); isMap {
			choices = of
		}
		choices.Enum = said.choices()
		s.Properties[key] = property
	}
	return name
}

func TestConfigurationSchemaIsThatOfTheStruct(t *testing.T) {
	m := schemaMaker{keyComments(t), map[string]*schema{}, map[string]reflect.Type{}}
	root := m.define(reflect.TypeFor[Config]())
	whole := &schema{
		Schema: "https://json-schema.org/draft/2020-12/schema", ID: strings.NewReplacer("/blob/", "/raw/", "configuration.md", "keeper.schema.json").Replace(configDocs),
		Title: "Configuration of keeper serve", Ref: "#/$defs/" + root, Definitions: m.made,
	}
	want, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs/keeper.schema.json is not what Config says; `go test ./cmd/keeper -run Configuration -update` writes it anew")
	}
}
