package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestConfigurationPageListsEveryVariableAndNoOther(t *testing.T) {
	var listed []string
	for _, name := range firstColumn(t, "configuration.md", `KEEPER_[^`+"`"+`]*`) {
		name, _, _ = strings.Cut(name, "<") // KEEPER_PROXY_<PROVIDER>_URL is read by its beginning
		listed = append(listed, name)
	}
	name := regexp.MustCompile(`^KEEPER_[A-Z_]+$`)
	read := map[string]bool{}
	inspect(t, "*.go", func(n ast.Node) {
		if text, ok := literal(n); ok && name.MatchString(text) {
			read[text] = true
		}
	})
	wantSame(t, "variables of docs/configuration.md", listed, read)
}

func TestErrorsPageExplainsEveryCodeAndNoOther(t *testing.T) {
	var sections []string
	for _, heading := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(readDoc(t, "errors.md"), -1) {
		sections = append(sections, heading[1])
	}
	sent := map[string]bool{}
	collect := func(n ast.Node) {
		switch n := n.(type) {
		case *ast.ValueSpec: // codeTokenMissing = "token_missing"
			for i, value := range n.Values {
				if text, ok := literal(value); ok && strings.HasPrefix(n.Names[i].Name, "code") {
					sent[text] = true
				}
			}
		case *ast.CompositeLit: // reply{http.StatusNotFound, "not_found", …}
			if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "reply" && len(n.Elts) > 1 {
				if text, ok := literal(n.Elts[1]); ok {
					sent[text] = true
				}
			}
		}
	}
	inspect(t, "../../internal/proxy/*.go", collect)
	inspect(t, "../../internal/api/*.go", collect)
	if !sent["secret_in_request"] || !sent["already_exists"] {
		t.Fatalf("codes found in the sources: got %v, want those of both packages", slices.Sorted(maps.Keys(sent)))
	}
	wantSame(t, "sections of docs/errors.md", sections, sent)
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// firstColumn returns what stands in backquotes at the beginning of the rows of
// a page's tables, where it matches the pattern.
func firstColumn(t *testing.T, page, pattern string) []string {
	t.Helper()
	var cells []string
	for _, row := range regexp.MustCompile("(?m)^\\| `("+pattern+")` \\|").FindAllStringSubmatch(readDoc(t, page), -1) {
		cells = append(cells, row[1])
	}
	return cells
}

// inspect visits the syntax of the files but the tests.
func inspect(t *testing.T, pattern string, visit func(ast.Node)) {
	t.Helper()
	inspectAs(t, 0, pattern, visit)
}

func inspectWithComments(t *testing.T, pattern string, visit func(ast.Node)) {
	t.Helper()
	inspectAs(t, parser.ParseComments, pattern, visit)
}

func inspectAs(t *testing.T, mode parser.Mode, pattern string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool { visit(n); return true })
	}
}

// literal is the value of a string literal.
func literal(n ast.Node) (string, bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

func wantSame(t *testing.T, what string, listed []string, known map[string]bool) {
	t.Helper()
	slices.Sort(listed)
	if got, want := listed, slices.Sorted(maps.Keys(known)); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
