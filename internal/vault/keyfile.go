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
	var encoded string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			encoded += line
		}
	}
	key, err := decodeKey(encoded)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the vault key file %s: %w; restore the file from its backup", path, err)
	}
	return key, nil
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
