package toolsetup_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tailscale/hujson"

	"github.com/superinstance/keeper/internal/toolsetup"
)

// desk is a user's home with the tools' files in it.
type desk struct {
	*testing.T
	home  string
	state toolsetup.State
	site  toolsetup.Site
}

func newDesk(t *testing.T) desk {
	t.Helper()
	home := t.TempDir()
	return desk{t, home, toolsetup.State(filepath.Join(home, ".local/state/keeper/setup")), toolsetup.Site{
		OS: "linux", Home: home, URL: "http://127.0.0.1:8700", Agent: "coder", Keeper: "/opt/my keeper/keeper",
		Env: map[string]string{"SHELL": "/bin/sh"},
		Find: func(program, _ string) string {
			if program == "git" {
				path, _ := exec.LookPath("git")
				return path
			}
			return "/usr/bin/" + program
		},
	}}
}

func (d desk) tool(name string) toolsetup.Tool {
	d.Helper()
	tool, known := toolsetup.Lookup(name)
	if !known {
		d.Fatalf("tool %q: got none, want one", name)
	}
	return tool
}

func (d desk) write(name, text string) {
	d.Helper()
	path := filepath.Join(d.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		d.Fatal(err)
	}
}

// read is the file's text; "(none)" where there is no such file.
func (d desk) read(name string) string {
	d.Helper()
	text, err := os.ReadFile(filepath.Join(d.home, name))
	if os.IsNotExist(err) {
		return "(none)"
	}
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

func (d desk) setup(name string) *toolsetup.Plan {
	d.Helper()
	plan, err := d.state.Setup(d.tool(name), d.site)
	if err != nil {
		d.Fatalf("setting up %s: %v", name, err)
	}
	if err := plan.Do(); err != nil {
		d.Fatalf("setting up %s: %v", name, err)
	}
	return plan
}

func (d desk) undo(name string) {
	d.Helper()
	plan, err := d.state.Undo(name)
	if err == nil {
		err = plan.Do()
	}
	if err != nil {
		d.Fatalf("undoing %s: %v", name, err)
	}
}

// cases are files as tools have them, and what each setup must put in.
var cases = []struct {
	about, tool, file, text string
	want                    []string
}{
	{"none", "claude", ".claude/settings.json", "(none)", []string{
		`"ANTHROPIC_BASE_URL": "http://127.0.0.1:8700/api/v1/proxy/anthropic"`,
		`"apiKeyHelper": "'/opt/my keeper/keeper' credential-helper print --agent coder --url http://127.0.0.1:8700"`,
	}},
	{"empty", "claude", ".claude/settings.json", "", []string{`"apiKeyHelper"`}},
	{"empty object", "claude", ".claude/settings.json", "{}", []string{`"apiKeyHelper"`}},
	{"other settings", "claude", ".claude/settings.json", "{\n    \"theme\": \"dark\",\n    \"env\": {\n        \"A\": \"b\"\n    }\n}", []string{"\n        \"A\": \"b\",\n        \"ANTHROPIC_BASE_URL\"", "\n    \"apiKeyHelper\""}},
	{"own helper", "claude", ".claude/settings.json", `{"apiKeyHelper": "mine", "env": {"ANTHROPIC_BASE_URL": "https://old"}}`, []string{"8700"}},
	{"comments and trailing commas", "cursor", ".config/Cursor/User/settings.json", "// top\r\n{\r\n\t\"a\": [1, 2,], // one\r\n\t/* two */ \"b\": {},\r\n\t// end\r\n}\r\n// after\r\n", []string{"// one", "/* two */", "// end", "// after", "[1, 2,]", "\r\n\t\"terminal.integrated.profiles.linux\": {", `"run","--quiet","--agent","coder"`}},
	{"none", "codex", ".codex/config.toml", "(none)", []string{"model_provider = \"keeper\"\n", `base_url = "http://127.0.0.1:8700/api/v1/proxy/openai/v1"`, `command = "/opt/my keeper/keeper"`}},
	{"other settings", "codex", ".codex/config.toml", "# mine\nmodel = \"o3\" # x\n[profiles.a]\nmodel_provider = \"b\"", []string{"# mine\nmodel = \"o3\" # x\n[profiles.a]\nmodel_provider = \"b\"\n\n[model_providers.keeper]"}},
	{"another provider", "codex", ".codex/config.toml", "\nmodel_provider  =  'azure' # mine\n\n[model_providers.azure]\nname = \"keeper\"\n", []string{"\nmodel_provider  =  \"keeper\" # mine\n"}},
	{"none", "gemini", ".gemini/.env", "(none)", []string{"GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8700/api/v1/proxy/gemini\n"}},
	{"another base URL", "gemini", ".gemini/.env", "A=b\nexport GOOGLE_GEMINI_BASE_URL=https://old\nC=d", []string{"A=b\nGOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8700/api/v1/proxy/gemini\nC=d"}},
	{"other variables", "gemini", ".gemini/.env", "A=b", []string{"A=b\nGOOGLE_GEMINI_BASE_URL="}},
	{"other auth type", "gemini", ".gemini/settings.json", `{"security": {"auth": {"selectedType": "oauth-personal", "x": 1}}}`, []string{`"selectedType": "gemini-api-key", "x": 1`}},
	{"none", "gh", ".local/bin/gh", "(none)", []string{"exec '/opt/my keeper/keeper' run --quiet --agent coder --url http://127.0.0.1:8700 -- /usr/bin/gh \"$@\""}},
	{"none", "git", ".gitconfig", "(none)", []string{"[url \"http://127.0.0.1:8700/api/v1/proxy/github/\"]\n\tinsteadOf = https://github.com/\n", "helper = !'/opt/my keeper/keeper' credential-helper git"}},
	{"other settings", "git", ".gitconfig", "; mine\n[user]\n    name = X\n[credential]\n\thelper = store", []string{"; mine\n[user]\n    name = X\n[credential]\n\thelper = store\n"}},
	{"none", "aws", ".aws/config", "(none)", []string{"[profile keeper]", "credential_process = \"/opt/my keeper/keeper\" credential-helper aws", "[services keeper]\nbedrock_runtime =\n  endpoint_url = http://127.0.0.1:8700/api/v1/proxy/aws-bedrock\n"}},
	{"other profiles", "aws", ".aws/config", "# mine\n[default]\nregion=eu-west-1\ns3 =\n  max_concurrent_requests = 5\n", []string{"  max_concurrent_requests = 5\n\n[profile keeper]"}},
}

func (d desk) place(file, text string) {
	if text != "(none)" {
		d.write(file, text)
	}
}

func TestUndoPutsBackEveryByteAndFolder(t *testing.T) {
	for _, c := range cases {
		t.Run(c.tool+" "+c.about, func(t *testing.T) {
			d := newDesk(t)
			d.place(c.file, c.text)
			before := d.listing()
			d.setup(c.tool)
			got := d.read(c.file)
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("%s: got\n%s\nwant in it: %s", c.file, got, part)
				}
			}
			d.undo(c.tool)
			if got := d.read(c.file); got != c.text {
				t.Errorf("%s after undo: got %q, want %q", c.file, got, c.text)
			}
			if after := d.listing(); !reflect.DeepEqual(after, before) {
				t.Errorf("files after undo: got %v, want %v", after, before)
			}
		})
	}
}

// listing is what is in the home but for setup's own record.
func (d desk) listing() map[string]os.FileMode {
	found := map[string]os.FileMode{}
	err := filepath.WalkDir(d.home, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == filepath.Join(d.home, ".local", "state") {
			return filepath.SkipDir
		}
		if info, err := entry.Info(); err == nil && path != d.home && path != filepath.Join(d.home, ".local") {
			found[path] = info.Mode()
		}
		return nil
	})
	if err != nil {
		d.Fatal(err)
	}
	return found
}

func TestSetupTwiceIsSetupOnce(t *testing.T) {
	for _, c := range cases {
		t.Run(c.tool+" "+c.about, func(t *testing.T) {
			d := newDesk(t)
			d.place(c.file, c.text)
			d.setup(c.tool)
			once := d.read(c.file)
			if plan := d.setup(c.tool); len(plan.Changes) != 0 {
				t.Errorf("changes of the second setup: got %v, want none", plan.Changes)
			}
			if got := d.read(c.file); got != once {
				t.Errorf("%s after the second setup: got %q, want %q", c.file, got, once)
			}
			d.site.URL = "https://keeper.example"
			d.setup(c.tool)
			if got := d.read(c.file); strings.Contains(got, "8700") || !strings.Contains(got, "keeper.example") && c.file != ".gemini/settings.json" {
				t.Errorf("%s for another keeper: got %q, want that one alone", c.file, got)
			}
			d.undo(c.tool)
			if got := d.read(c.file); got != c.text {
				t.Errorf("%s after undo: got %q, want %q", c.file, got, c.text)
			}
		})
	}
}

func TestUndoTakesOutOfAChangedFileOnlyWhatSetupWrote(t *testing.T) {
	for _, c := range []struct{ about, tool, file, before, old, new, want string }{
		{"a setting was added", "claude", ".claude/settings.json", "{\n  \"a\": 1\n}\n", "\"a\": 1,", "\"a\": 1,\n  \"b\": 2,", "{\n  \"a\": 1,\n  \"b\": 2\n}\n"},
		{"one of setup's was changed", "claude", ".claude/settings.json", "{\n  \"a\": 1\n}\n", `"300000"`, `"5"`, "{\n  \"a\": 1,\n  \"env\": {\n    \"CLAUDE_CODE_API_KEY_HELPER_TTL_MS\": \"5\"\n  }\n}\n"},
		{"one that setup replaced comes back", "claude", ".claude/settings.json", `{"apiKeyHelper": "mine"}`, "{\"apiKey", "{ \"apiKey", `{ "apiKeyHelper": "mine"}`},
		{"a comment was added", "cursor", ".config/Cursor/User/settings.json", "{\n  \"a\": 1\n}", "\"terminal.integrated.profiles", "// mine\n  \"terminal.integrated.profiles", "{\n  \"a\": 1\n  // mine\n}"},
		{"nothing was there before", "claude", ".claude/settings.json", "(none)", "\n}", "\n\n}", "(none)"},
		{"a table was added", "codex", ".codex/config.toml", "model = \"o3\"\n", "refresh_interval_ms = 300000\n", "refresh_interval_ms = 300000\n\n[projects.\"/x\"]\ntrust_level = \"trusted\"\n", "model = \"o3\"\n\n[projects.\"/x\"]\ntrust_level = \"trusted\"\n"},
		{"the provider was switched", "codex", ".codex/config.toml", "model_provider = \"a\"\n", `model_provider = "keeper"`, `model_provider = "b"`, "model_provider = \"b\"\n"},
		{"a profile was added", "aws", ".aws/config", "[default]\nregion = x\n", "[default]", "[profile b]\nregion = y\n[default]", "[profile b]\nregion = y\n[default]\nregion = x\n"},
		{"a variable was added", "gemini", ".gemini/.env", "A=b\n", "A=b\n", "A=b\nC=d\n", "A=b\nC=d\n"},
		{"a setting was added", "git", ".gitconfig", "[user]\n\tname = X\n", "[user]\n", "[user]\n\temail = x@y\n", "[user]\n\temail = x@y\n\tname = X\n"},
	} {
		t.Run(c.tool+" "+c.about, func(t *testing.T) {
			d := newDesk(t)
			d.place(c.file, c.before)
			d.setup(c.tool)
			changed := strings.Replace(d.read(c.file), c.old, c.new, 1)
			if changed == d.read(c.file) {
				t.Fatalf("%s: got no %q in %q", c.file, c.old, changed)
			}
			d.write(c.file, changed)
			if s, err := d.state.Status(c.tool); err != nil || !s.SetUp || !s.Changed {
				t.Errorf("status: got %+v, %v, want set up and changed", s, err)
			}
			d.undo(c.tool)
			if got := d.read(c.file); got != c.want {
				t.Errorf("%s after undo: got %q, want %q", c.file, got, c.want)
			}
			if s, err := d.state.Status(c.tool); err != nil || s.SetUp {
				t.Errorf("status after undo: got %+v, %v, want not set up", s, err)
			}
		})
	}
}

func TestWhatCannotBeToldApartIsLeftAloneAndNamed(t *testing.T) {
	for _, c := range []struct{ tool, file, old, new string }{
		{"codex", ".codex/config.toml", `wire_api = "responses"`, `wire_api = "chat"`},
		{"aws", ".aws/config", "services = keeper", "services = mine"},
		{"gh", ".local/bin/gh", `exec `, `exec env `},
		{"claude", ".claude/settings.json", "{", "["},
		{"git", ".gitconfig", "[url", "url"},
	} {
		t.Run(c.tool, func(t *testing.T) {
			d := newDesk(t)
			d.setup(c.tool)
			d.write(c.file, strings.Replace(d.read(c.file), c.old, c.new, 1))
			before := d.read(c.file)
			_, err := d.state.Undo(c.tool)
			if err == nil || !strings.Contains(err.Error(), filepath.Join(d.home, c.file)) {
				t.Errorf("undo: got %v, want an error that names %s", err, c.file)
			}
			if got := d.read(c.file); got != before {
				t.Errorf("%s: got %q, want %q", c.file, got, before)
			}
		})
	}
}

func TestSetupRefusesAndNamesTheFileAndThePlace(t *testing.T) {
	for _, c := range []struct{ about, tool, file, text, want string }{
		{"malformed", "claude", ".claude/settings.json", "{\n  \"a\": s3cr3t\n}", "line 2, column 8: it is no JSON"},
		{"no object", "claude", ".claude/settings.json", "[]", "no JSON object"},
		{"no object within", "claude", ".claude/settings.json", `{"env": "x"}`, "env is no JSON object"},
		{"a name twice", "claude", ".claude/settings.json", `{"env": {}, "env": {}}`, `"env" twice`},
		{"a key that counts first", "claude", ".claude/settings.json", `{"env": {"ANTHROPIC_API_KEY": "s3cr3t"}}`, "env.ANTHROPIC_API_KEY"},
		{"malformed", "codex", ".codex/config.toml", "a = 1\nb = s3cr3t\n", "line 2, column 5"},
		{"of that name", "codex", ".codex/config.toml", "model_providers = {keeper = {name = \"x\"}}\n", "[model_providers.keeper]"},
		{"no string", "codex", ".codex/config.toml", "model_provider.a = 1\n[model_providers]\nkeeper = 1\n", "[model_providers.keeper]"},
		{"malformed", "aws", ".aws/config", "[default]\nregion = x\ns3cr3t\n", "line 3"},
		{"no section", "aws", ".aws/config", "region = x\n", "line 1"},
		{"of that name", "aws", ".aws/config", "\n[profile  keeper]\n", "line 2: it has a [profile keeper]"},
		{"a key that counts first", "gemini", ".gemini/.env", "A=b\nexport GEMINI_API_KEY=s3cr3t\n", "line 2: it sets GEMINI_API_KEY"},
		{"twice", "gemini", ".gemini/.env", "GOOGLE_GEMINI_BASE_URL=a\nGOOGLE_GEMINI_BASE_URL=b\n", "twice"},
		{"another's program", "gh", ".local/bin/gh", "#!/bin/sh\n", "not keeper's"},
		{"malformed", "git", ".gitconfig", "[user]\nname = x\n[s3cr3t\n", "bad config line 3"},
		{"rewritten already", "git", ".gitconfig", "[url \"git@github.com:\"]\n\tinsteadOf = https://github.com/\n", "https://github.com/ with url.git@github.com:.insteadof already"},
	} {
		t.Run(c.tool+" "+c.about, func(t *testing.T) {
			d := newDesk(t)
			d.write(c.file, c.text)
			before := d.listing()
			_, err := d.state.Setup(d.tool(c.tool), d.site)
			if err == nil || !strings.Contains(err.Error(), filepath.Join(d.home, c.file)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("setup: got %v, want an error with %s and %q", err, c.file, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("setup: got %v, want nothing of the file's values", err)
			}
			if d.read(c.file) != c.text || !reflect.DeepEqual(d.listing(), before) {
				t.Errorf("files: got changes, want none")
			}
		})
	}
}

func TestLinksAreWrittenThroughInsideTheHomeAndRefusedOutOfIt(t *testing.T) {
	d := newDesk(t)
	d.write("dotfiles/claude.json", "{}\n")
	link := filepath.Join(d.home, ".claude", "settings.json")
	if err := os.Mkdir(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	relink := func(target string) {
		t.Helper()
		if err := os.RemoveAll(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	relink("../dotfiles/claude.json")
	d.setup("claude")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: got %v, %v, want a link still", info, err)
	}
	if got := d.read("dotfiles/claude.json"); !strings.Contains(got, "apiKeyHelper") {
		t.Errorf("the link's target: got %q, want it set up", got)
	}
	d.undo("claude")
	if got := d.read("dotfiles/claude.json"); got != "{}\n" {
		t.Errorf("the link's target after undo: got %q, want {}", got)
	}
	outside := filepath.Join(t.TempDir(), "shared.json")
	if err := os.WriteFile(outside, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		outside: "is a symbolic link out of", filepath.Join(d.home, "gone"): "is a symbolic link to nothing", "/dev/null": "is a symbolic link out of",
		d.home: "no regular file",
	} {
		relink(target)
		if _, err := d.state.Setup(d.tool("claude"), d.site); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("setup through a link to %s: got %v, want %q", target, err, want)
		}
	}
	if err := os.RemoveAll(filepath.Dir(link)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Dir(link)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.state.Setup(d.tool("claude"), d.site); err == nil {
		t.Error("setup through a folder that is a link out of the home: got no error, want one")
	}
}

func TestFolderThatTheUserNamedMayBeAnywhere(t *testing.T) {
	d := newDesk(t)
	folder := t.TempDir()
	d.site.Env["CODEX_HOME"] = folder
	d.setup("codex")
	if _, err := os.Stat(filepath.Join(folder, "config.toml")); err != nil {
		t.Errorf("config.toml in CODEX_HOME: got %v, want one", err)
	}
	delete(d.site.Env, "CODEX_HOME")
	d.setup("codex")
	if _, err := os.Stat(filepath.Join(folder, "config.toml")); !os.IsNotExist(err) {
		t.Errorf("config.toml in the folder of before: got %v, want none", err)
	}
}

func TestFileThatChangesUnderTheSetupIsNotOverwritten(t *testing.T) {
	d := newDesk(t)
	d.write(".claude/settings.json", "{}\n")
	plan, err := d.state.Setup(d.tool("claude"), d.site)
	if err != nil {
		t.Fatal(err)
	}
	d.write(".claude/settings.json", "{\"a\": 1}\n")
	if err := plan.Do(); err == nil || !strings.Contains(err.Error(), "another program has just changed it") {
		t.Errorf("setup: got %v, want that the file was changed", err)
	}
	if got := d.read(".claude/settings.json"); got != "{\"a\": 1}\n" {
		t.Errorf("the file: got %q, want the other program's", got)
	}
	if s, err := d.state.Status("claude"); err != nil || s.SetUp {
		t.Errorf("status: got %+v, %v, want not set up", s, err)
	}
}

func TestModeOfFilesIsKeptAndRecordIsTheUsersAlone(t *testing.T) {
	d := newDesk(t)
	d.write(".claude/settings.json", "{}\n")
	d.setup("claude")
	for name, want := range map[string]os.FileMode{".claude/settings.json": 0o640, ".local/state/keeper/setup/claude.json": 0o600} {
		if info, err := os.Stat(filepath.Join(d.home, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s: got %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

func TestPlanAloneWritesNothingAndShowsADiff(t *testing.T) {
	d := newDesk(t)
	d.write(".codex/config.toml", "model = \"o3\"\n")
	before := d.listing()
	plan, err := d.state.Setup(d.tool("codex"), d.site)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Changes) != 1 || !strings.Contains(string(plan.Changes[0].Diff()), "\n+model_provider = \"keeper\"\n model = \"o3\"\n+\n+[model_providers.keeper]\n") {
		t.Errorf("changes: got %+v, want one with the diff", plan.Changes)
	}
	if !reflect.DeepEqual(d.listing(), before) {
		t.Error("files: got changes, want none")
	}
}

func TestOwnAuthorityIsNamedToToolsThatReadFiles(t *testing.T) {
	for tool, file := range map[string]string{"claude": ".claude/settings.json", "git": ".gitconfig", "aws": ".aws/config"} {
		d := newDesk(t)
		d.site.CA = "/var/lib/keeper/ca.pem"
		d.setup(tool)
		if got := d.read(file); strings.Count(got, d.site.CA) != 2 {
			t.Errorf("%s: got %q, want the authority for the tool and for its helper", file, got)
		}
	}
}

// What setup wrote is gone and the rest means what it did, also when the file
// was changed since.
func FuzzUndoOfChangedJSONLeavesWhatWasThere(f *testing.F) {
	for _, c := range cases {
		if strings.HasSuffix(c.file, ".json") && c.text != "(none)" {
			f.Add(c.text)
		}
	}
	f.Add(`{"a":{"b":[{},{"c":null,}],},}`)
	f.Add("{ /* x */ }")
	f.Add("{\"a\":1//x\n}")
	f.Fuzz(func(t *testing.T, text string) {
		d := newDesk(t)
		d.write(".claude/settings.json", text)
		plan, err := d.state.Setup(d.tool("claude"), d.site)
		if err != nil {
			return
		}
		if err := plan.Do(); err != nil {
			t.Fatal(err)
		}
		d.write(".claude/settings.json", d.read(".claude/settings.json")+"\n")
		d.undo("claude")
		got, want := meaning(t, d.read(".claude/settings.json")), meaning(t, text)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("settings after undo: got %v, want %v", got, want)
		}
	})
}

func meaning(t *testing.T, text string) any {
	if strings.TrimSpace(text) == "" {
		return map[string]any{}
	}
	plain, err := hujson.Standardize([]byte(text))
	if err != nil {
		t.Fatalf("%q: got %v, want JSON", text, err)
	}
	var value any
	if err := json.Unmarshal(plain, &value); err != nil {
		t.Fatalf("%q: got %v, want JSON", text, err)
	}
	return value
}
