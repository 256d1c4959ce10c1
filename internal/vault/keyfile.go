package vault

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	keyFileNote  = "# The vault key of this keeper. Whoever has it and the store has every secret. Keep a copy apart from both.\n"
	nextSuffix   = ".next"
	maxFileBytes = 4096
)

// newRawKey returns 32 random bytes.
func newRawKey() secret.Value {
	key := make([]byte, keyBytes)
	rand.Read(key)
	defer clear(key)
	return secret.New(key)
}

// readKeyFile returns the key in the file at path. It is fs.ErrNotExist where
// there is no file; a file that others may read is refused.
func readKeyFile(path string) (secret.Value, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the vault key file: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f, path); err != nil {
		return secret.Value{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	defer clear(text)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the vault key file: %w", err)
	}
	key, err := decodeKeyFile(text)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the vault key file %s: %w; restore the file from its backup", path, err)
	}
	return key, nil
}

// KeyFileText returns the text of the key file that opens row: the one at path, or the
// one beside it that a rotation under way has not moved yet. The error wraps
// ErrWrongKey where neither does.
func KeyFileText(path string, row store.KEK) (secret.Value, error) {
	var failed error
	for _, file := range []string{path, path + nextSuffix} {
		if _, err := openKeyFile(file, row); err != nil {
			if failed == nil {
				failed = err
			}
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return secret.Value{}, fmt.Errorf("reading the vault key file: %w", err)
		}
		defer clear(text)
		return secret.New(text), nil
	}
	return secret.Value{}, failed
}

// ParseKeyFile returns the source whose key is in the text of a key file.
func ParseKeyFile(text secret.Value) (KeySource, error) {
	key, err := decodeKeyFile(text.Expose())
	if err != nil {
		return KeySource{}, fmt.Errorf("reading a vault key file: %w", err)
	}
	return KeySource{kind: kindRaw, material: key}, nil
}

// KeyFileMaterial is the key in the text of a key file, as [ParseKeySource] reads it;
// zero where it is none.
func KeyFileMaterial(text secret.Value) secret.Value {
	key, err := decodeKeyFile(text.Expose())
	if err != nil {
		return secret.Value{}
	}
	return secret.New([]byte(rawPrefix + base64.StdEncoding.EncodeToString(key.Expose())))
}

func decodeKeyFile(text []byte) (secret.Value, error) {
	var encoded string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			encoded += line
		}
	}
	return decodeKey(encoded)
}

func checkPrivate(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading the vault key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("reading the vault key file: %s is no regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("reading the vault key file: others may read %s (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// writeKeyFile writes key to path, whole or not at all, and returns when the
// disk has it. A file that is there already is replaced.
func writeKeyFile(path string, key secret.Value) error {
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the vault key file: %w", err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the vault key file: %w", err)
	}
	_, err = io.WriteString(f, keyFileNote+base64.StdEncoding.EncodeToString(key.Expose())+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the vault key file: %w", err)
	}
	return moveKeyFile(temp, path)
}

// moveKeyFile renames from to to and returns when the disk has it.
func moveKeyFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("moving the vault key file: %w", err)
	}
	if runtime.GOOS == "windows" { // a directory cannot be synced there
		return nil
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return fmt.Errorf("moving the vault key file: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("moving the vault key file: %w", err)
	}
	return nil
}
