package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/renameio/v2"
)

var agentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// configFolder is where the user's settings for keeper are; "" where the
// environment does not say.
func (a *app) configFolder() string { return a.userFolder("XDG_CONFIG_HOME", ".config") }

// cacheFolder is where what can be had again is kept.
func (a *app) cacheFolder() string { return a.userFolder("XDG_CACHE_HOME", ".cache") }

func (a *app) userFolder(variable, inHome string) string {
	if named := a.env[variable]; filepath.IsAbs(named) {
		return filepath.Join(named, "keeper")
	}
	if home := a.env["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, inHome, "keeper")
	}
	return ""
}

// agentSecretFile is where the secret of an agent that this user may act as is
// kept.
func (a *app) agentSecretFile(id string) (string, error) {
	if !agentID.MatchString(id) {
		return "", usagef("--agent: want an agent's id, of letters, digits, dots, dashes and underscores")
	}
	folder := a.configFolder()
	if folder == "" {
		return "", fmt.Errorf("finding the agent's secret: neither HOME nor XDG_CONFIG_HOME names a folder: %w", fs.ErrNotExist)
	}
	return filepath.Join(folder, "agents", id+".secret"), nil
}

// agentSecret is the stored secret of an agent; fs.ErrNotExist where there is
// none. One that others could read is refused, as ssh refuses such keys.
func (a *app) agentSecret(id string) (string, error) {
	file, err := a.agentSecretFile(id)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("reading the secret of agent %s: %w", id, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("reading the secret of agent %s: others can read %s; `chmod 600` it, and revoke the agent if they may have", id, file)
	}
	text, err := readToken(file)
	if err != nil {
		return "", err
	}
	if text == "" {
		return "", fmt.Errorf("reading the secret of agent %s: %s is empty", id, file)
	}
	return text, nil
}

// storeAgentSecret keeps the secret for the user alone.
func (a *app) storeAgentSecret(id, secret string) error {
	file, err := a.agentSecretFile(id)
	if err != nil {
		return err
	}
	return writePrivate(file, []byte(secret+"\n"))
}

// writePrivate writes a file that only this user reads, whole or not at all.
func writePrivate(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if err := renameio.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// askAgentSecret reads an agent's secret: typed, piped in as it is, or as the
// answer of `keeper agent add --json`.
func (a *app) askAgentSecret(id string) (string, error) {
	text, err := a.readSecret("the secret of agent "+id, "")
	if err != nil {
		var f *failure
		if errors.As(err, &f) && f.code == exitUsage {
			err = usagef("there is no secret of agent %s yet; type it at the prompt, or pipe it in: `keeper agent add %s --scopes SCOPES --json | keeper setup TOOL --agent %s`", id, id, id)
		}
		return "", err
	}
	var answer struct {
		Agent  agentInfo `json:"agent"`
		Secret string    `json:"agentSecret"`
	}
	if text[0] != '{' {
		return strings.TrimSpace(string(text)), nil
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Secret == "" {
		return "", usagef("what was piped in is JSON, but not what `keeper agent add --json` prints")
	}
	if answer.Agent.ID != id {
		return "", usagef("the secret that was piped in is of agent %s, not of %s", answer.Agent.ID, id)
	}
	return answer.Secret, nil
}

// storedSecret is agentSecret, and "" where there is none.
func (a *app) storedSecret(id string) (string, error) {
	secret, err := a.agentSecret(id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return secret, err
}
