package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// project is the sources and where what is made of them goes.
type project struct {
	root, dist string
	commit     string    // "" outside a repository
	at         time.Time // of the commit: what is made bears no other time
	version    string    // without the v; where it was not given, the binary's, once it is built
}

func openProject(ctx context.Context, root, dist string) (*project, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if dist, err = filepath.Abs(dist); err != nil {
		return nil, err
	}
	p := &project{root: root, dist: dist}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return nil, err
	}
	head, err := output(ctx, root, nil, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, fmt.Errorf("asking for the commit and its time: %w", err)
	}
	commit, seconds, _ := strings.Cut(strings.TrimSpace(string(head)), " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the time of the commit: %w", err)
	}
	p.commit, p.at = commit, time.Unix(unix, 0).UTC()
	return p, nil
}

// build makes the binary for linux on an architecture, as .goreleaser.yaml says, and
// returns its path.
func (p *project) build(ctx context.Context, arch string) (string, error) {
	binary := filepath.Join(p.dist, "keeper_linux_"+arch, "keeper")
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch, "GOFLAGS="}
	_, err := output(ctx, p.root, env, "go", "build", "-trimpath", "-buildvcs=auto", "-ldflags", "-s -w", "-o", binary, "./cmd/keeper")
	if err != nil {
		return "", fmt.Errorf("building keeper for %s: %w", arch, err)
	}
	return binary, nil
}

// buildHost makes the binary that runs here, and asks it for its version.
func (p *project) buildHost(ctx context.Context) (string, error) {
	binary, err := p.build(ctx, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	said, err := output(ctx, p.root, nil, binary, "version", "--json")
	if err != nil {
		return "", fmt.Errorf("asking keeper for its version: %w", err)
	}
	var v struct{ Version string }
	if err := json.Unmarshal(said, &v); err != nil {
		return "", fmt.Errorf("reading keeper's version: %w", err)
	}
	p.version = cmp.Or(p.version, packageVersion(v.Version, p.commit))
	return binary, nil
}

// packageVersion is the version as packages have it, without the v. Where Go
// recorded none, since the sources are not a clone, it sorts before all that it did
// record.
func packageVersion(recorded, commit string) string {
	if version, ok := strings.CutPrefix(recorded, "v"); ok && regexp.MustCompile(`^\d+\.\d+\.\d+([-+].*)?$`).MatchString(version) {
		return version
	}
	return "0.0.0-devel." + commit[:min(12, len(commit))]
}

// output runs a program in a folder and returns what it writes. Its error says what
// the program complained of.
func output(ctx context.Context, folder string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out, nil
}
