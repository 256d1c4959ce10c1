package fake

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// isGit reports whether a path is one of git's smart HTTP protocol.
func isGit(path string) bool {
	return strings.HasSuffix(path, "/info/refs") || strings.HasSuffix(path, "/git-upload-pack") || strings.HasSuffix(path, "/git-receive-pack")
}

// git hands the request to git's own server side.
func (a *answer) git() {
	folder, err := gitFolder(a.r.Context())
	if a.p.gitRoot == "" || err != nil {
		a.fail(http.StatusNotFound)
		return
	}
	inner := a.r.Clone(a.r.Context())
	inner.URL.Path = a.rec.Path
	inner.TransferEncoding, inner.ContentLength = nil, int64(len(a.rec.Body)) // CGI knows no chunks
	inner.Body = http.NoBody
	if len(a.rec.Body) > 0 {
		inner.Body = readCloser{bytes.NewReader(a.rec.Body)}
	}
	server := cgi.Handler{
		Path: filepath.Join(folder, "git-http-backend"), Root: "/", Stderr: discard{},
		Env: append(quiet(), "GIT_PROJECT_ROOT="+a.p.gitRoot, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=fake"),
	}
	server.ServeHTTP(a.w, inner)
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// gitFolder is where git keeps its own programs.
func gitFolder(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	return strings.TrimSpace(string(out)), err
}

// quiet is an environment in which git reads no configuration of the user's.
func quiet() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Fake", "GIT_AUTHOR_EMAIL=fake@example.org", "GIT_COMMITTER_NAME=Fake", "GIT_COMMITTER_EMAIL=fake@example.org",
	}
}

// MakeRepository makes a bare repository with one commit on its branch main,
// which holds files (name to content, without folders). The name is
// "owner/repo.git" below root. It needs the git program.
func MakeRepository(ctx context.Context, root, name string, files map[string]string) error {
	bare := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(bare, 0o700); err != nil {
		return fmt.Errorf("making a repository's folder: %w", err)
	}
	g := gitRun{ctx: ctx, dir: bare}
	g.run("", "init", "--quiet", "--bare", "--initial-branch=main")
	g.run("", "config", "http.receivepack", "true")
	g.run("", "config", "receive.advertisePushOptions", "true")
	var tree strings.Builder
	for file, content := range files {
		fmt.Fprintf(&tree, "100644 blob %s\t%s\n", g.run(content, "hash-object", "-w", "--stdin"), file)
	}
	commit := g.run("", "commit-tree", "-m", "first", g.run(tree.String(), "mktree"))
	g.run("", "update-ref", "refs/heads/main", commit)
	return g.err
}

// gitRun runs git in one folder until something fails.
type gitRun struct {
	ctx context.Context
	dir string
	err error
}

func (g *gitRun) run(input string, args ...string) string {
	if g.err != nil {
		return ""
	}
	cmd := exec.CommandContext(g.ctx, "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = g.dir, quiet(), strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		g.err = fmt.Errorf("running git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out))
}
