package server

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/superinstance/keeper/internal/secret"
)

const (
	minAdminToken  = 32
	maxAdminToken  = 1024
	adminTokenFile = "admin.token"
)

// bearerText is what can stand in a header as a bearer (RFC 6750, section 2.1).
var bearerText = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// adminToken returns the token that was given, or the one in the data folder,
// which is made where it is missing. The error never quotes it.
func adminToken(given secret.Value, dataDir string) (secret.Value, error) {
	if given.Len() > 0 {
		return given, checkAdminToken(given, "the admin token")
	}
	path := filepath.Join(dataDir, adminTokenFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(newAdminToken())
		err = writePrivate(path, append(text, '\n'))
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("keeping the admin token: %w", err)
	}
	token := secret.New([]byte(strings.TrimSpace(string(text))))
	return token, checkAdminToken(token, path)
}

func checkAdminToken(token secret.Value, where string) error {
	switch {
	case token.Len() < minAdminToken:
		return fmt.Errorf("%s has %d characters and needs at least %d; `openssl rand -hex 32` makes a good one", where, token.Len(), minAdminToken)
	case token.Len() > maxAdminToken || !bearerText.Match(token.Expose()):
		return fmt.Errorf("%s cannot stand in a header; use at most %d letters, digits and -._~+/", where, maxAdminToken)
	}
	return nil
}

func newAdminToken() string {
	var b [32]byte
	rand.Read(b[:])
	return "keeper_admin_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// writePrivate writes a file that its owner alone may read, whole or not at
// all, and returns when the disk has it.
func writePrivate(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
