package check_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const root = "../.."

// dockerfile is packaging/Dockerfile as BuildKit reads it, and what its linter says.
func dockerfile(t *testing.T) (stages []instructions.Stage, warnings []string) {
	t.Helper()
	f, err := os.Open("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range read.Warnings {
		warnings = append(warnings, w.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		warnings = append(warnings, rule+": "+message)
	}})
	stages, _, err = instructions.Parse(read.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	return stages, warnings
}

func TestDockerfileMakesTheImageOfTheReleases(t *testing.T) {
	stages, warnings := dockerfile(t)
	if len(warnings) > 0 {
		t.Errorf("got the warnings %v, want none", warnings)
	}
	if len(stages) != 2 || stages[1].BaseName != "scratch" {
		t.Fatalf("got %d stages, the last from %s; want two, and nothing below the image", len(stages), stages[len(stages)-1].BaseName)
	}
	var said []string
	for _, command := range stages[1].Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			said = append(said, "user "+c.User)
		case *instructions.EnvCommand:
			for _, pair := range c.Env {
				said = append(said, "env "+pair.String())
			}
		case *instructions.VolumeCommand:
			said = append(said, "volume "+strings.Join(c.Volumes, " "))
		case *instructions.ExposeCommand:
			said = append(said, "ports "+strings.Join(c.Ports, " "))
		case *instructions.HealthCheckCommand:
			said = append(said, fmt.Sprint("health ", c.Health.Test, c.Health.Interval, c.Health.Timeout, c.Health.StartPeriod))
		case *instructions.EntrypointCommand:
			said = append(said, fmt.Sprint("entrypoint ", c.CmdLine))
		case *instructions.CmdCommand:
			said = append(said, fmt.Sprint("command ", c.CmdLine))
		case *instructions.RunCommand:
			t.Error("got a program run in the image, where there is none but keeper")
		}
	}
	want := []string{ // as imageConfig of packaging/release has it
		"user 65532:65532", "env PATH=/usr/bin", "env KEEPER_DATA=/data", "env KEEPER_URL=https://127.0.0.1:8701", "volume /data", "ports 8700 8701",
		"health [CMD /usr/bin/keeper status] 30s 5s 20s", "entrypoint [/usr/bin/keeper]", "command [serve --config /etc/keeper/keeper.yaml]",
	}
	if !slices.Equal(said, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

// tracked are the files of the repository.
func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
}

// Where a file were missing in the build, it would fail, or the version would say that
// the sources were changed.
func TestDockerBuildSeesTheSourcesAndNoKeys(t *testing.T) {
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	wantIgnored := func(name string, want bool) {
		t.Helper()
		got, err := ignored.MatchesOrParentMatches(name)
		if err != nil || got != want {
			t.Errorf("%s: got kept from the build %t (%v), want %t", name, got, err, want)
		}
	}
	for _, name := range append(tracked(t), ".git/HEAD") {
		wantIgnored(name, false)
	}
	for _, name := range []string{
		".keeper/vault.key", "packaging/secrets/vault-key", "packaging/secrets/admin-token", "keeper-data/vault.key", "keeper-data/keeper.db",
		"bin/keeper", "keeper", "dist/SHA256SUMS", "packaging/out/man/keeper.1.gz", "clients/node_modules/x/index.js", "internal/vault/vault.test",
	} {
		wantIgnored(name, true)
		if exec.Command("git", "-C", root, "check-ignore", "-q", name).Run() != nil {
			t.Errorf("%s: got git taking it, want it ignored", name)
		}
	}
}

// Without an engine: what the first stage runs is run here, in a copy of the sources and
// with folders of its own, and what the second one copies is looked at.
func TestDockerfileBuildsWhatTheImageHolds(t *testing.T) {
	scratch := t.TempDir()
	moved := strings.NewReplacer("/root-fs", scratch+"/root-fs", "/empty", scratch+"/empty", "$TARGETOS", "linux", "$TARGETARCH", "")
	source := filepath.Join(scratch, "src")
	for _, name := range tracked(t) {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stages, _ := dockerfile(t)
	for _, command := range stages[0].Commands {
		switch c := command.(type) {
		case *instructions.RunCommand:
			run := exec.Command("sh", "-ec", moved.Replace(strings.Join(c.CmdLine, " ")))
			run.Dir, run.Env = source, append(os.Environ(), "GOFLAGS=")
			if out, err := run.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v: %s", c.CmdLine, err, out)
			}
		case *instructions.CopyCommand:
			for _, path := range c.SourcePaths {
				if _, err := os.Stat(filepath.Join(source, path)); err != nil {
					t.Errorf("COPY %s: %v", path, err)
				}
			}
		}
	}
	got := map[string]string{}
	for _, folder := range []string{"root-fs", "empty"} {
		err := filepath.WalkDir(filepath.Join(scratch, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && (!d.IsDir() || info.Mode().Perm() != 0o755) {
				got[strings.TrimPrefix(path, scratch+"/")] = info.Mode().String()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"root-fs/usr/bin/keeper": "-rwxr-xr-x", "root-fs/etc/keeper/keeper.yaml": "-rw-r--r--", "root-fs/etc/passwd": "-rw-r--r--", "root-fs/etc/group": "-rw-r--r--",
		"root-fs/etc/ssl/certs/ca-certificates.crt": "-rw-r--r--", "root-fs/licenses/keeper": "-rw-r--r--", "root-fs/tmp": "dtrwxrwxrwx", "empty": "drwx------",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
