// Package keeper_test holds the module to the shape that ARCHITECTURE.md
// describes: which package may reach which, and who may see a plaintext.
package keeper_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/superinstance/keeper"

// sql stands for every way to a database.
var sql = []string{"database/sql", "modernc.org/sqlite", "github.com/jackc/pgx/v5", "internal/store/sqlite", "internal/store/postgres"}

// forbidden is the table: what each package never reaches, directly or through
// others. "internal/" alone stands for anything of this module.
var forbidden = map[string][]string{
	"internal/secret":       {"internal/"},
	"internal/store":        {"internal/secret", "internal/vault"},
	"internal/store/index":  slices.Concat([]string{"internal/secret", "internal/vault"}, sql),
	"internal/store/sqlite": {"internal/secret", "internal/vault"},
	"internal/auth":         {"internal/vault", "internal/proxy", "internal/api"},
	"internal/policy/scope": {"internal/"},
	"internal/policy":       slices.Concat([]string{"internal/vault"}, sql),
	"internal/scanner":      {"internal/"},
	"internal/audit":        slices.Concat([]string{"internal/vault", "internal/scanner"}, sql),
	"internal/anchor":       slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/archive":      slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/backup":       slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/ca":           {"internal/"},
	"internal/dashboard":    {"internal/"},
	"internal/exception":    slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/exchange":     slices.Concat([]string{"internal/auth", "internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/export":       slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/quota":        slices.Concat([]string{"internal/secret", "internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/figures":      slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/witness":      slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/session":      slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/story":        slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/sink":         slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/source":       slices.Concat([]string{"internal/vault", "internal/scanner", "internal/proxy", "internal/api"}, sql),
	"internal/vault":        {"internal/proxy", "internal/api", "internal/scanner"},
	"internal/manual":       {"internal/"},
	"internal/netguard":     {"internal/"},
	"internal/relay":        {"internal/"},
	"internal/isolate":      {"internal/"},
	"internal/gitpack":      {"internal/"},
	"internal/telemetry":    {"internal/"},
	"internal/proxy":        slices.Concat([]string{"internal/vault", "internal/api"}, sql),
	"internal/api":          slices.Concat([]string{"internal/proxy"}, sql),
	"internal/segment":      {"internal/"},
	"internal/fleet":        slices.Concat([]string{"internal/secret", "internal/vault", "internal/audit", "internal/anchor", "internal/proxy", "internal/api"}, sql),
	"internal/server":       nil,
	"internal/toolsetup":    {"internal/"},

	"internal/store/postgres": {"internal/secret", "internal/vault"},
}

// forTests are imported by tests alone, and reach what they test.
var forTests = []string{"internal/keepertest", "internal/auth/authtest", "internal/exchange/exchangetest", "internal/store/storetest", "internal/store/postgres/postgrestest", "internal/server/onpostgres", "internal/server/fleet", "internal/source/sourcetest"}

// doesNoIO are the packages that decide and never act: they import nothing
// that opens a file or a connection.
var doesNoIO = []string{"internal/policy", "internal/policy/scope"}

// exposers are the files that may call secret.Value.Expose.
var exposers = []string{
	"internal/auth/admin.go",
	"internal/backup/recipient.go",
	"internal/backup/write.go",
	"internal/secret/value.go",
	"internal/server/admin.go",
	"internal/sink/post.go",
	"internal/source/exec.go",
	"internal/source/openbao.go",
	"internal/vault/auditkey.go",
	"internal/vault/authority.go",
	"internal/vault/certificate.go",
	"internal/vault/imports.go",
	"internal/vault/fingerprint.go",
	"internal/vault/hmac.go",
	"internal/vault/index.go",
	"internal/vault/inject.go",
	"internal/vault/kek.go",
	"internal/vault/keyfile.go",
	"internal/vault/keyring.go",
	"internal/vault/match.go",
	"internal/vault/seal.go",
	"internal/vault/shape.go",
	"internal/vault/sigv4.go",
	"internal/vault/target.go",
	"internal/vault/token.go",
	"internal/vault/value.go",
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestNoPackageReachesWhatItMustNot(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		seen[name] = true
		for _, never := range forbidden[name] {
			for _, dep := range p.Deps {
				if reaches(dep, never) {
					t.Errorf("%s reaches %s, which it must never", name, strings.TrimPrefix(dep, module+"/"))
				}
			}
		}
		for _, dep := range p.Deps {
			if !isForTests(name) && isForTests(strings.TrimPrefix(dep, module+"/")) {
				t.Errorf("%s reaches %s, which is for tests alone", name, dep)
			}
		}
	}
	for name := range forbidden {
		if !seen[name] {
			t.Errorf("the table names %s, which is not there", name)
		}
	}
}

func isForTests(name string) bool {
	return slices.ContainsFunc(forTests, func(one string) bool { return name == one || strings.HasPrefix(name, one+"/") })
}

func reaches(dep, never string) bool {
	if strings.HasPrefix(never, "internal/") {
		never = module + "/" + never
	}
	return dep == never || strings.HasSuffix(never, "/") && strings.HasPrefix(dep, never)
}

func TestEveryInternalPackageHasItsLineInTheTable(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if !strings.HasPrefix(name, "internal/") || isForTests(name) {
			continue
		}
		if _, known := forbidden[name]; !known {
			t.Errorf("%s is not in the table of boundary_test.go", name)
		}
	}
}

func TestDecidingPackagesDoNoIO(t *testing.T) {
	acting := []string{"os", "net", "io/fs", "os/exec", "syscall", "database/sql"}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if !slices.Contains(doesNoIO, name) {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(acting, imported) {
				t.Errorf("%s imports %s: it must decide without acting", name, imported)
			}
		}
	}
}

func TestOnlyTheListedFilesSeeAPlaintext(t *testing.T) {
	found := walkGo(t, func(file *ast.File) bool { return mentions(file, "Expose") })
	for _, path := range found {
		if !slices.Contains(exposers, path) {
			t.Errorf("%s calls secret.Value.Expose and is not on the list", path)
		}
	}
	for _, path := range exposers {
		if !slices.Contains(found, path) {
			t.Errorf("%s is on the list and calls secret.Value.Expose no more", path)
		}
	}
}

func TestOnlyTheCommandReadsTheEnvironment(t *testing.T) {
	reads := func(file *ast.File) bool {
		return mentions(file, "Getenv") || mentions(file, "LookupEnv") || mentions(file, "Environ")
	}
	for _, path := range walkGo(t, reads) {
		if !strings.HasPrefix(path, "cmd/keeper/") {
			t.Errorf("%s reads the environment, which is for cmd/keeper alone", path)
		}
	}
}

func TestNoPackageHasAnInit(t *testing.T) {
	hasInit := func(file *ast.File) bool {
		return slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
			f, ok := d.(*ast.FuncDecl)
			return ok && f.Recv == nil && f.Name.Name == "init"
		})
	}
	for _, path := range walkGo(t, hasInit) {
		t.Errorf("%s has an init function", path)
	}
}

func TestOnlyTestsNameWhatStopsSyncing(t *testing.T) {
	for _, path := range walkGo(t, func(file *ast.File) bool { return mentions(file, "WithoutSync") }) {
		t.Errorf("%s names WithoutSync, which makes commits wait for no disk: only benchmarks may", path)
	}
	// What walkGo passes over holds programs, too.
	for _, folder := range []string{"bench", "internal/keepertest"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.Contains(string(text), "WithoutSync") {
				t.Errorf("%s names WithoutSync, which makes commits wait for no disk: only benchmarks may", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// walkGo returns the paths of the module's own Go files, tests apart, whose
// syntax tree satisfies want.
func walkGo(t *testing.T, want func(*ast.File) bool) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil { // a tool or a test of its own
				return filepath.SkipDir
			}
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "bench" || entry.Name() == "keepertest") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if want(file) {
			found = append(found, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// mentions reports whether a selector or a method of that name is in the file.
func mentions(file *ast.File, name string) bool {
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			found = true
		}
		return !found
	})
	return found
}

// What the log says is always the same words, so that it can be searched and counted,
// and holds nothing that somebody sent; what belongs to it is in attributes.
func TestMessagesOfTheLogAreConstant(t *testing.T) {
	at := map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1, "Log": 2, "LogAttrs": 2}
	seen := 0
	varies := func(file *ast.File) bool {
		found := false
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isLogger(method.X) {
				return true
			}
			place, logs := at[method.Sel.Name]
			if !logs || len(call.Args) <= place {
				return true
			}
			seen++
			_, constant := call.Args[place].(*ast.BasicLit)
			found = found || !constant
			return true
		})
		return found
	}
	for _, path := range walkGo(t, varies) {
		t.Errorf("%s logs a message that is no literal", path)
	}
	if seen < 20 {
		t.Errorf("got %d messages, want all", seen)
	}
}

func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "logger"
	case *ast.SelectorExpr:
		return x.Sel.Name == "logger" || x.Sel.Name == "Logger"
	}
	return false
}
