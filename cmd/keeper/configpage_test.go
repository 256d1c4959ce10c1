package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/sink"
)

// keyComment is what the comment of a field says of a key of the configuration:
//
//	Text of one or more sentences. Values: `a`, `b`. Default: `a`.
//
// where the last sentence may be "Required.", too. Both the page and the schema are
// made from it.
type keyComment struct {
	meaning  string
	values   []string
	fallback string // as Markdown
	required bool
}

func readKeyComment(text string) keyComment {
	var c keyComment
	text = strings.Join(strings.Fields(text), " ")
	text, c.required = strings.CutSuffix(text, "Required.")
	text, c.fallback, _ = strings.Cut(strings.TrimSpace(text), "Default: ")
	text, values, _ := strings.Cut(strings.TrimSpace(text), "Values: ")
	for _, quoted := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(values, -1) {
		c.values = append(c.values, quoted[1])
	}
	c.meaning, c.fallback = strings.TrimSpace(text), strings.TrimSuffix(c.fallback, ".")
	return c
}

var relativeLink = regexp.MustCompile(`\]\(([a-z]+\.md)?#`)

// text is the comment for who does not see the page, without what a schema says in
// words of its own.
func (c keyComment) text() string {
	text := c.meaning
	if c.fallback != "" {
		text = strings.TrimSpace(text + " Default: " + c.fallback + ".")
	}
	return relativeLink.ReplaceAllStringFunc(text, func(link string) string {
		file := strings.TrimSuffix(strings.TrimPrefix(link, "]("), "#")
		return "](" + strings.TrimSuffix(configDocs, "configuration.md") + firstOf(file, "configuration.md") + "#"
	})
}

// fallbackValue is the default as JSON has it; nil where it is none that can be written.
func (c keyComment) fallbackValue() any {
	if quoted := regexp.MustCompile("^`([^`$]*)`$").FindStringSubmatch(c.fallback); quoted != nil {
		return yamlValue(quoted[1])
	}
	return nil
}

func (c keyComment) choices() (all []any) {
	for _, v := range c.values {
		all = append(all, yamlValue(v))
	}
	return all
}

func yamlValue(text string) (value any) {
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return text
	}
	return value
}

// keyComments are the comments of the fields of every struct that can be part of the
// configuration: by type and field, "Config.Addr".
func keyComments(t *testing.T) map[string]keyComment {
	t.Helper()
	found := map[string]keyComment{}
	for _, pattern := range []string{"*.go", "../../internal/policy/*.go"} {
		inspectWithComments(t, pattern, func(n ast.Node) {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return
			}
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				return
			}
			for _, field := range fields.Fields.List {
				for _, name := range field.Names {
					found[spec.Name.Name+"."+name.Name] = readKeyComment(field.Doc.Text())
				}
			}
		})
	}
	return found
}

// configKey is one key that holds a value of its own, such as tls.certFile or
// audit.sinks[].name.
type configKey struct {
	path  string
	value reflect.Type
	keyComment
}

// keysWithin are the keys of a struct. An Injection stands in several places: its keys
// are those of "inject", and where it stands is one key.
func keysWithin(comments map[string]keyComment, t reflect.Type, path string) (keys []configKey) {
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("yaml")
		if key == "" {
			continue
		}
		at, inner := strings.TrimPrefix(path+"."+key, "."), field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch inner.Kind() {
		case reflect.Slice:
			if inner.Elem().Kind() == reflect.Struct {
				at, inner = at+"[]", inner.Elem()
			}
		case reflect.Map:
			if inner.Elem().Kind() == reflect.Struct {
				at, inner = at+".<name>", inner.Elem()
			}
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[policy.Injection]() {
			keys = append(keys, keysWithin(comments, inner, at)...)
			continue
		}
		keys = append(keys, configKey{strings.TrimSuffix(at, "[]"), field.Type, comments[t.Name()+"."+field.Name]})
	}
	return keys
}

func configKeys(t *testing.T) []configKey {
	t.Helper()
	comments := keyComments(t)
	return append(keysWithin(comments, reflect.TypeFor[Config](), ""), keysWithin(comments, reflect.TypeFor[policy.Injection](), "inject")...)
}

// worded says in a word or two what a value is.
func worded(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "duration"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return worded(t.Elem())
	case reflect.Slice:
		return "list of " + strings.TrimSuffix(worded(t.Elem()), "s") + "s"
	case reflect.Map:
		return worded(t.Elem()) + " by name"
	case reflect.Bool:
		return "`true`"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Struct:
		return "mapping"
	case reflect.Interface:
		return "value"
	}
	return "text"
}

func (k configKey) valueCell() string {
	if len(k.values) == 0 {
		return worded(k.value)
	}
	cell := "`" + strings.Join(k.values, "`, `") + "`"
	if k.value.Kind() == reflect.Map {
		cell += " by name"
	}
	return cell
}

func (k configKey) defaultCell() string {
	switch {
	case k.required:
		return "required"
	case k.fallback == "" && k.value.Kind() == reflect.Bool:
		return "`false`"
	}
	return firstOf(k.fallback, "–")
}

// table shows keys. Where all are of one list, they are named within it.
func table(keys []configKey) string {
	of := commonList(keys)
	var b strings.Builder
	if of == "" {
		b.WriteString("| Key | Value | Default | Meaning |\n")
	} else {
		fmt.Fprintf(&b, "| Key in `%s` | Value | Default | Meaning |\n", of)
	}
	b.WriteString("|---|---|---|---|\n")
	for _, k := range keys {
		name := strings.TrimPrefix(strings.TrimPrefix(k.path, of), ".")
		cells := []string{"`" + name + "`", k.valueCell(), k.defaultCell(), k.meaning}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

// commonList is the innermost list or mapping by name that holds all of the keys; "" for none.
func commonList(keys []configKey) string {
	of := keys[0].path
	for _, k := range keys {
		for !strings.HasPrefix(k.path, of) {
			of = of[:len(of)-1]
		}
	}
	return regexp.MustCompile(`^(.*(\[\]|<name>))?`).FindString(of)
}

var keyRegion = regexp.MustCompile(`(?s)(<!-- keys: ([^>]*) -->\n).*?(<!-- end of keys -->)`)

// withTables is the page with its tables made anew: each stands in a region that names
// what keys it has, and a key stands in the region that names most of it.
func withTables(page string, keys []configKey) (string, error) {
	regions := map[string][]configKey{} // by what they name
	for _, match := range keyRegion.FindAllStringSubmatch(page, -1) {
		for name := range strings.SplitSeq(match[2], ", ") {
			regions[name] = nil
		}
	}
	for _, k := range keys {
		at := ""
		for name := range regions {
			if rest, within := strings.CutPrefix(k.path, name); within && (rest == "" || rest[0] == '.' || rest[0] == '[') && len(name) > len(at) {
				at = name
			}
		}
		if at == "" {
			return "", fmt.Errorf("no region is for %s; name it in one", k.path)
		}
		if k.meaning == "" {
			return "", fmt.Errorf("%s: its field has no comment", k.path)
		}
		regions[at] = append(regions[at], k)
	}
	var problem error
	page = keyRegion.ReplaceAllStringFunc(page, func(region string) string {
		match := keyRegion.FindStringSubmatch(region)
		var rows []configKey
		for name := range strings.SplitSeq(match[2], ", ") {
			if len(regions[name]) == 0 {
				problem = fmt.Errorf("a region names %s, which is no key", name)
				return region
			}
			rows = append(rows, regions[name]...)
		}
		return match[1] + "\n" + table(rows) + "\n" + match[3]
	})
	return page, problem
}

func TestConfigurationPageIsWhatTheStructSays(t *testing.T) {
	got := readDoc(t, "configuration.md")
	want, err := withTables(got, configKeys(t))
	if err != nil {
		t.Fatalf("docs/configuration.md: %v", err)
	}
	if *update {
		if err := os.WriteFile("../../docs/configuration.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Error("docs/configuration.md: its tables are not what Config says; `go test ./cmd/keeper -run Configuration -update` writes them anew")
	}
}

func TestConfigurationPageMissesNoKey(t *testing.T) {
	keys := []configKey{
		{"tls.keyFile", reflect.TypeFor[string](), keyComment{meaning: "A file."}},
		{"tls.names", reflect.TypeFor[[]string](), readKeyComment("Names. Values: `a|b`, `c`. Default: none, or `a|b`.")},
		{"sinks[].name", reflect.TypeFor[string](), readKeyComment("Its name. Required.")},
	}
	got, err := withTables("x\n<!-- keys: tls -->\nold\n<!-- end of keys -->\n<!-- keys: sinks -->\n<!-- end of keys -->\ny\n", keys)
	want := "x\n<!-- keys: tls -->\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n| `tls.keyFile` | text | – | A file. |\n" +
		"| `tls.names` | `a\\|b`, `c` | none, or `a\\|b` | Names. |\n\n<!-- end of keys -->\n" +
		"<!-- keys: sinks -->\n\n| Key in `sinks[]` | Value | Default | Meaning |\n|---|---|---|---|\n| `name` | text | required | Its name. |\n\n<!-- end of keys -->\ny\n"
	if err != nil || got != want {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
	for page, complaint := range map[string]string{
		"<!-- keys: tls -->\n<!-- end of keys -->":                     "no region is for sinks[].name",
		"<!-- keys: tls, sinks, trust -->\n<!-- end of keys -->":       "trust, which is no key",
		"<!-- keys: tls.keyFile, sinks -->\n<!-- end of keys -->":      "no region is for tls.names",
		"<!-- keys: tl, sinks, tls.names -->\n<!-- end of keys -->":    "no region is for tls.keyFile",
		"<!-- keys: tls, sinks[].name -->\nno end: it is no region \n": "no region is for tls.keyFile",
	} {
		if _, err := withTables(page, keys); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%q: got %v, want %q", page, err, complaint)
		}
	}
}

// yamlBlocks are the examples of docs/configuration.md.
func yamlBlocks(t *testing.T) (blocks []string) {
	t.Helper()
	for _, match := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readDoc(t, "configuration.md"), -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

func TestConfigurationExamplesAreTaken(t *testing.T) {
	shown := map[string]bool{}
	for _, example := range yamlBlocks(t) {
		if err := takes(t, example); err != nil {
			t.Errorf("docs/configuration.md: %v; got it in\n%s", err, example)
		}
		for _, key := range regexp.MustCompile(`(?m)^(\w+):`).FindAllStringSubmatch(example, -1) {
			shown[key[1]] = true
		}
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		if key := reflect.TypeFor[Config]().Field(i).Tag.Get("yaml"); key != "" && !shown[key] {
			t.Errorf("docs/configuration.md: got no example of %s, want one", key)
		}
	}
}

// The values that the comments list are those that keeper takes, and no others are.
func TestConfigurationValuesAreThoseThatAreTaken(t *testing.T) {
	const provider, rule, sinkOf = "providers: [{name: x, baseURL: 'https://x.example', ", "scanRules: [{id: x, prefixes: [x_], pattern: 'x_[a-z]{20}', ", "audit: {sinks: [{name: x, "
	files := map[string]string{ // %s is the value
		"registration": "registration: %s", "scan": "scan: {github-pat: %s}", "log.level": "log: {level: %s}", "log.format": "log: {format: %s}",
		"traces.sampler":         "traces: {endpoint: 'http://127.0.0.1:4318/v1/traces', sampler: %s}",
		"quotas[].each":          "quotas: [{name: x, requests: 1, window: 1m, each: [%s]}]",
		"scanRules[].type":       rule + "type: %s}]",
		"scanRules[].confidence": rule + "confidence: %s}]",
		"audit.acknowledge":      "audit: {acknowledge: %s}",
		"audit.sinks[].type":     sinkOf + "type: %s}]}",
		"audit.sinks[].format":   sinkOf + "type: file, path: x, format: %s}]}",
		"audit.sinks[].from":     sinkOf + "type: file, path: x, from: %s}]}",
		"audit.sinks[].minRisk":  sinkOf + "type: file, path: x, minRisk: %s}]}",
		"providers[].refusal":    provider + "refusal: %s}]", "providers[].stream": provider + "stream: %s}]",
		"providers[].routes[].refusal": provider + "routes: [{name: y, calls: [GET /y], refusal: %s}]}]",
		"inject.body.format":           provider + "inject: {body: {field: key, format: %s}}}]",
		"inject.oauth2.auth":           provider + "inject: {oauth2: {tokenURL: 'https://x.example/token', auth: %s}}}]",
		"inject.hmac.algorithm":        provider + "inject: {hmac: {headers: {X-S: '{signature}'}, algorithm: %s}}}]",
		"inject.hmac.encoding":         provider + "inject: {hmac: {headers: {X-S: '{signature}'}, encoding: %s}}}]",
	}
	for _, k := range configKeys(t) {
		if len(k.values) == 0 {
			continue
		}
		file, known := files[k.path]
		if !known {
			t.Errorf("%s: got no file for its values in this test, want one", k.path)
			continue
		}
		name := k.path[strings.LastIndex(k.path, ".")+1:]
		for _, value := range k.values {
			if err := takesSinks(t, fmt.Sprintf(file, value)); err != nil && strings.Contains(err.Error(), name) { // and not what this value needs besides
				t.Errorf("%s: %s: got %v, want it taken, since its comment lists it", k.path, value, err)
			}
		}
		if err := takesSinks(t, fmt.Sprintf(file, "7")); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: 7: got it taken, want only %v, which its comment lists", k.path, k.values)
		}
	}
}

// constant is the value of a constant of a package, by what its source says.
func constant(t *testing.T, pkg, name string) string {
	t.Helper()
	files, err := filepath.Glob("../../internal/" + pkg + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		is := regexp.MustCompile(`(?m)^\s*(?:const )?` + name + ` *= *([^/\n]+)`).FindSubmatch(text)
		if is == nil {
			continue
		}
		expression := regexp.MustCompile(`[a-zA-Z.]+`).ReplaceAllStringFunc(string(is[1]), func(word string) string {
			if unit, isTime := map[string]time.Duration{"time.Second": time.Second, "time.Minute": time.Minute, "time.Hour": time.Hour}[word]; isTime {
				return fmt.Sprint(int64(unit))
			}
			return constant(t, pkg, word)
		})
		value, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
		if err != nil {
			t.Fatalf("%s.%s is %s: %v", pkg, name, expression, err)
		}
		return value.Value.ExactString()
	}
	t.Fatalf("package %s has no constant %s", pkg, name)
	return ""
}

func TestConfigurationDefaultsAreThoseOfTheProgram(t *testing.T) {
	constants := map[string]string{
		"limits.bodyBytes": "proxy defaultMaxBody", "limits.messageBytes": "proxy defaultMaxMessage", "limits.authFailuresPerSecond": "server defaultAuthFailures",
		"limits.responseHeader": "proxy defaultHeaderWait", "limits.idlePing": "proxy defaultIdle", "limits.stop": "server defaultStopTimeout",
		"audit.checkpointEntries": "audit defaultMarkEntries", "audit.checkpointInterval": "audit defaultMarkInterval", "audit.sinks[].maxBytes": "sink defaultMaxBytes",
		"audit.retention.segmentEntries": "archive DefaultSegment", "secrets[].refresh": "source DefaultRefresh", "secrets[].keep": "source DefaultKeep",
		"staleness": "fleet DefaultStaleness", "audit.maxUnshipped": "segment defaultMaxBytes",
		"sources.exec.<name>.timeout": "source defaultHelperTimeout", "trust[].maxAge": "exchange DefaultMaxAge", "trust[].rules[].ttl": "exchange DefaultTTL",
	}
	for _, k := range configKeys(t) {
		want := fmt.Sprint(k.fallbackValue())
		if d, err := time.ParseDuration(want); err == nil && want != "0" {
			want = fmt.Sprint(int64(d))
		}
		if !regexp.MustCompile(`^[0-9]+$`).MatchString(want) || len(k.values) > 0 || want == "0" || k.path == "traces.sampleRatio" {
			continue
		}
		pkg, name, known := strings.Cut(constants[k.path], " ")
		if !known {
			t.Errorf("%s: got no constant for its default %s in this test, want one", k.path, k.fallback)
		} else if got := constant(t, pkg, name); got != want {
			t.Errorf("%s: got the default %s in its comment, want that of %s.%s, %s", k.path, k.fallback, pkg, name, got)
		}
		delete(constants, k.path)
	}
	if len(constants) > 0 {
		t.Errorf("got no defaults in the comments for %v, want them", constants)
	}
}

// takes says what keeper serve has against a configuration file, as far as that can be
// told without the files and addresses that it names.
func takes(t *testing.T, text string) error {
	t.Helper()
	settings, err := settingsIn(t, text)
	if err != nil {
		return err
	}
	_, err = server.Catalogue(settings.Providers, settings.ProviderURLs)
	return err
}

// takesSinks is takes with the sinks, whose files are read.
func takesSinks(t *testing.T, text string) error {
	t.Helper()
	settings, err := settingsIn(t, text)
	if err != nil {
		return err
	}
	type cursors = sink.Cursors
	sinks := sink.Config{Sinks: settings.Audit.Sinks, Log: struct{ sink.Log }{}, Cursors: struct{ cursors }{}} // neither is asked
	return errors.Join(takes(t, text), sink.Check(sinks))
}

func settingsIn(t *testing.T, text string) (server.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keeper.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		return server.Config{}, err
	}
	a, _ := newTree(t, map[string]string{}, "")
	return a.settingsOf(c, slog.New(slog.DiscardHandler))
}
