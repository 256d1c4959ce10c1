package source

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/secret"
)

// Kinds of a reference.
const (
	kindEnv     = "env"
	kindFile    = "file"
	kindOpenBao = "openbao"
	kindExec    = "exec"
)

const maxReferenceBytes = 1024

// split takes a reference apart: kind:name#part.
func split(text string) (kind, name, part string) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case kindOpenBao, kindExec:
		name, part, _ = strings.Cut(rest, "#")
		return kind, name, part
	default: // a file may have any name
		return kind, rest, ""
	}
}

// Check reports whether text is a reference of a known kind. Its error repeats
// nothing of it: it could be a secret in the wrong place.
func Check(text string) error {
	if len(text) > maxReferenceBytes || strings.ContainsFunc(text, isControl) || !utf8.ValidString(text) {
		return fmt.Errorf("it is longer than %d bytes, or holds control characters", maxReferenceBytes)
	}
	switch kind, name, _ := split(text); {
	case name == "":
	case kind == kindEnv, kind == kindFile, kind == kindOpenBao, kind == kindExec:
		return nil
	}
	return errors.New("want env:NAME, file:PATH, openbao:PATH#FIELD or exec:HELPER#KEY")
}

// fetcher makes what a spec's reference names.
func (c Config) fetcher(spec Spec, bao *session, running chan struct{}) (fetcher, error) {
	if spec.Slot == nil {
		return nil, errors.New("it has no slot")
	}
	if err := Check(spec.From); err != nil {
		return nil, err
	}
	kind, name, part := split(spec.From)
	switch kind {
	case kindEnv:
		return c.variable(name)
	case kindFile:
		return newFile(name, c.Logger)
	case kindOpenBao:
		if bao == nil {
			return nil, errors.New("it names OpenBao, of which sources.openbao must say the address and how to log in")
		}
		return newBaoSecret(bao, name, part)
	}
	helper, found := c.Exec[name]
	if !found {
		return nil, fmt.Errorf("it names the helper %q, which sources.exec does not have", name)
	}
	return &program{helper: helper, env: c.environment(helper), ask: question(spec, part), running: running, mask: c.Mask, name: name, logger: c.Logger}, nil
}

// Same reports whether what a reference names is the same in both.
func (c Config) Same(other Config, from string) bool {
	switch kind, name, _ := split(from); kind {
	case kindEnv:
		return c.sameVariables(other, name)
	case kindOpenBao:
		return c.sameOpenBao(other)
	case kindExec:
		return reflect.DeepEqual(c.Exec[name], other.Exec[name]) && c.sameVariables(other, c.Exec[name].Env...)
	}
	return true
}

func (c Config) sameVariables(other Config, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !c.Env[name].Equal(other.Env[name]) })
}

func (c Config) sameOpenBao(other Config) bool {
	read, _ := Config{OpenBao: c.OpenBao}.Variables()
	return reflect.DeepEqual(c.OpenBao, other.OpenBao) && c.sameVariables(other, read...)
}

// credential is what keeper shows a source of its own: env:NAME or file:PATH. It
// is asked each time, since files change.
func (c Config) credential(text string) (fetcher, error) {
	switch kind, name, _ := split(text); kind {
	case kindEnv:
		return c.variable(name)
	case kindFile:
		return newFile(name, c.Logger)
	}
	return nil, errors.New("want env:NAME or file:PATH, never the secret itself")
}

// variable is a value that the environment had at the start. What is not there
// then never will be, so it is an error at once.
func (c Config) variable(name string) (fetcher, error) {
	held, found := c.Env[name]
	if name == "" || strings.ContainsRune(name, '=') {
		return nil, errors.New("want env:NAME with the name of a variable")
	}
	if !found || held.Len() == 0 {
		return nil, fmt.Errorf("the variable %s is not set in keeper's environment, which is read once, at the start", name)
	}
	return constant{held}, nil
}

// constant is a source whose value never changes.
type constant struct{ held secret.Value }

func (c constant) fetch(context.Context) (value, error) {
	return value{secret: c.held, next: never}, nil
}

// absolute is where a file is, whatever the working folder becomes.
func absolute(path string) (string, error) {
	if path == "" {
		return "", errors.New("want file:PATH with the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding the file: %w", err)
	}
	return path, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
