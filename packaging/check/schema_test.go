package check_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// conforms says what the configuration's schema has against a file's text.
func conforms(t *testing.T, text string) error {
	t.Helper()
	raw, err := os.ReadFile("../../docs/keeper.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("keeper.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("keeper.json")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON([]byte(text)) // keeper's own reader: to others `off` is false
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(asJSON, &value); err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func TestConfigurationsConformToTheSchema(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for i, example := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		files[fmt.Sprintf("example %d of docs/configuration.md", i+1)] = example[1]
	}
	if len(files) < 10 {
		t.Fatalf("got %d examples in docs/configuration.md: are they still found?", len(files))
	}
	for _, name := range []string{"../system/keeper.yaml", "../image/keeper.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for name, text := range files {
		if err := conforms(t, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, wrong := range []string{"adr: 127.0.0.1:1", "limits: {bodyBytes: many}", "limits: {stop: 30}", "registration: everyone", "log: {level: 3}", "scan: {github-pat: maybe}", "secrets: [{provider: x}]", "providers: [{nmae: x}]"} {
		if conforms(t, wrong) == nil {
			t.Errorf("%s: got it accepted, want a complaint", wrong)
		}
	}
}
