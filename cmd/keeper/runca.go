package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// systemRoots are where systems keep the authorities that they trust, as one
// PEM file.
var systemRoots = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // Alpine, BSD, macOS
}

// trustVariables name a file that replaces what a program trusts.
var trustVariables = []string{
	"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT", "PIP_CERT",
	"CARGO_HTTP_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE",
}

// nodeTrust names a file that comes on top of what Node.js trusts.
const nodeTrust = "NODE_EXTRA_CA_CERTS"

// proxyAuthority returns the certificate by which keeper, as a proxy, vouches for the
// hosts that it stands in for, in PEM; nil where this keeper is no proxy.
func (c *client) proxyAuthority(ctx context.Context) ([]byte, error) {
	var health struct {
		Proxy bool `json:"proxy"` // of which an older keeper says nothing
	}
	if _, err := c.call(ctx, http.MethodGet, "/health", nil, &health); err != nil {
		return nil, err
	}
	if !health.Proxy {
		return nil, nil
	}
	text, err := c.authority(ctx)
	if err != nil {
		return nil, err
	}
	_, clean, err := parseAuthority(text)
	return clean, err
}

// trust makes the command trust the authority beside all that it trusts anyway, by
// bundles in a folder that the caller removes.
func (e *childEnv) trust(authority []byte, folder string) error {
	bundles := map[string]string{} // by the file that says what is trusted now
	for _, name := range trustVariables {
		set := e.vars[name]
		if bundles[set] == "" {
			others, err := trusted(set)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			file := filepath.Join(folder, "trusted-"+strconv.Itoa(len(bundles))+".pem")
			if err := writeBundle(file, others, authority); err != nil {
				return err
			}
			bundles[set] = file
		}
		e.vars[name] = bundles[set]
	}
	file := filepath.Join(folder, "keeper.pem")
	var others []byte
	if set := e.vars[nodeTrust]; set != "" {
		var err error
		if others, err = os.ReadFile(set); err != nil && !errors.Is(err, fs.ErrNotExist) { // Node goes on without, too
			return fmt.Errorf("%s: reading certificates: %w", nodeTrust, err)
		}
	}
	e.vars[nodeTrust] = file
	return writeBundle(file, others, authority)
}

func writeBundle(file string, parts ...[]byte) error {
	text := bytes.TrimLeft(bytes.Join(parts, []byte("\n")), "\n")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("writing a bundle of certificates: %w", err)
	}
	return nil
}

// trusted returns what the file says to trust, where one is named, else what the
// system does.
func trusted(named string) ([]byte, error) {
	files := systemRoots
	if named != "" {
		files = []string{named}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			return text, nil
		}
		if named != "" || !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading certificates: %w", err)
		}
	}
	return nil, nil
}

// preloaded is run by Node.js before a program: see its own comment.
//
//go:embed runpreload.js
var preloaded []byte

// preload has every Node.js that the command starts load what leads its connections
// through the proxy.
func (e *childEnv) preload(folder string) error {
	file := filepath.Join(folder, "preload.cjs")
	if err := os.WriteFile(file, preloaded, 0o600); err != nil {
		return fmt.Errorf("writing what Node.js loads: %w", err)
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(file) + `"`
	e.vars["NODE_OPTIONS"] = strings.TrimSpace(e.vars["NODE_OPTIONS"] + " --require=" + quoted)
	return nil
}
