package toolsetup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// GitValue is one value of git's configuration; a key may have several.
type GitValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

const gitNothingToUnset = 5 // git-config(1)

func (e Edit) applyGit(before []byte) ([]byte, error) {
	return editWithGit(before, func(g gitFile) error {
		rewrites, err := g.run("--get-regexp", `^url\..*\.insteadof$`)
		var none *exec.ExitError
		if err != nil && (!errors.As(err, &none) || none.ExitCode() != 1) {
			return err
		}
		for _, v := range e.Git {
			if strings.HasSuffix(v.Key, ".insteadOf") {
				if other := rewriteOf(rewrites, v.Value); other != "" {
					return fmt.Errorf("it rewrites %s with %s already; take that out first", v.Value, other)
				}
			}
			if _, err := g.run("--add", v.Key, v.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// rewriteOf names the setting among those listed that rewrites the prefix.
func rewriteOf(listed, prefix string) string {
	for line := range strings.Lines(listed) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if value == prefix {
			return key
		}
	}
	return ""
}

func (e Edit) revertGit(now []byte) ([]byte, error) {
	return editWithGit(now, func(g gitFile) error {
		for _, v := range e.Git {
			_, err := g.run("--fixed-value", "--unset-all", v.Key, v.Value)
			var exit *exec.ExitError
			if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != gitNothingToUnset) {
				return err
			}
		}
		return nil
	})
}

// gitFile is a copy of a configuration that git may write.
type gitFile string

// editWithGit hands a copy of the text to edit, and returns what it has become.
func editWithGit(text []byte, edit func(gitFile) error) ([]byte, error) {
	folder, err := os.MkdirTemp("", "keeper-setup-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for git: %w", err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "config")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("copying the file for git: %w", err)
	}
	if err := edit(gitFile(file)); err != nil {
		return nil, err
	}
	text, err = os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading what git wrote: %w", err)
	}
	return text, nil
}

// run runs git config on the file. An *exec.ExitError says how git ended.
func (g gitFile) run(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"config", "--file", string(g)}, args...)...)
	cmd.Dir = filepath.Dir(string(g))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		says := strings.TrimSpace(strings.NewReplacer(" in file "+string(g), "", "fatal: ", "").Replace(errs.String()))
		if says == "" {
			return "", fmt.Errorf("running git config: %w", err)
		}
		return "", fmt.Errorf("git says: %s (%w)", says, err)
	}
	return out.String(), nil
}
