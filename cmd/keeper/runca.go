package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// systemRoots are where systems keep the authorities that they trust, as one
// PEM file.
var systemRoots = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // Alpine, BSD, macOS
}

// trustVariables name a file that replaces what a program trusts; of Node's
// alone, the file comes on top.
var trustVariables = []string{
	"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
}

// trust makes the command trust the authority in the PEM file ca beside all
// that it trusts anyway, by a bundle in a folder that the caller removes.
func (e *childEnv) trust(ca, folder string) error {
	own, err := os.ReadFile(ca)
	if err != nil {
		return fmt.Errorf("reading the certificate authority: %w", err)
	}
	for _, name := range trustVariables {
		others, err := e.trusted(name)
		if err != nil {
			return err
		}
		bundle := filepath.Join(folder, name+".pem")
		if err := os.WriteFile(bundle, bytes.Join([][]byte{others, own}, []byte("\n")), 0o600); err != nil {
			return fmt.Errorf("writing a bundle of certificates: %w", err)
		}
		e.vars[name] = bundle
	}
	return nil
}

// trusted returns what the variable says to trust, else what the system does.
func (e *childEnv) trusted(name string) ([]byte, error) {
	files := systemRoots
	if set := e.vars[name]; set != "" {
		files = []string{set}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, nil
}
