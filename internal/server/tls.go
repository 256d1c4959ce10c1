package server

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/superinstance/keeper/internal/ca"
	"github.com/superinstance/keeper/internal/secret"
)

const (
	caFile = "ca.pem"
	// inheritedCAKey is where earlier versions had the authority's key.
	inheritedCAKey = "ca.key"
)

// openAuthority opens keeper's certificate authority, whose key the vault has.
func (s *Server) openAuthority(ctx context.Context) error {
	old := filepath.Join(s.config.DataDir, inheritedCAKey)
	inherited, err := readAuthorityKey(old)
	if err != nil {
		return err
	}
	if _, err := s.vault.AuthorityKey(ctx, inherited); err != nil {
		return err
	}
	if err := s.showAuthority(ctx, s.first); err != nil {
		return err
	}
	if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the authority's key, which the vault has now: %w", err)
	}
	return nil
}

// showAuthority issues by the current key of the vault's, and has clients trust the next
// and the previous one, too, for the names that a generation has.
func (s *Server) showAuthority(ctx context.Context, g *generation) error {
	keys, err := s.vault.AuthorityKeys(ctx)
	if err != nil {
		return err
	}
	opened, err := ca.Open(ca.Config{Key: keys.Current, Also: keys.Also(), File: s.CAFile(), Only: g.only})
	if err != nil {
		return err
	}
	s.ca.Store(opened)
	s.caKeys.Store(&keys)
	return nil
}

// authorityNow is the certificate authority as it is now.
type authorityNow struct{ *Server }

// Certificate implements proxy.Authority.
func (a authorityNow) Certificate(names ...string) (*tls.Certificate, error) {
	return a.ca.Load().Certificate(names...)
}

// Covers implements proxy.Authority.
func (a authorityNow) Covers(name string) bool { return a.ca.Load().Covers(name) }

// readAuthorityKey reads the key of an earlier version; it is empty where there is
// none.
func readAuthorityKey(path string) (secret.Value, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, nil
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the authority's key: %w", err)
	}
	defer clear(text)
	block, _ := pem.Decode(text)
	if block == nil {
		return secret.Value{}, fmt.Errorf("reading the authority's key: %s holds no PEM; delete it and ca.pem to have new ones made", path)
	}
	return secret.New(block.Bytes), nil
}

// authorityNames are the names that the authority is bound to, where the operator
// wants it to be good for the providers' hosts alone.
func (g *generation) authorityNames() ([]string, error) {
	if !g.config.Forward.Closed {
		return nil, nil
	}
	names, closed := g.catalogue.ConstrainedHosts()
	if !closed {
		return nil, errors.New(`forward.closed: a provider has every host ("*"), so that the certificate authority cannot be good for some alone; leave one out`)
	}
	names = append(names, g.config.certificateNames()...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// load reads the certificate of CertFile and KeyFile; nil where none is named.
func (t TLS) load() (*tls.Certificate, error) {
	if t.CertFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate of tls.certFile and tls.keyFile: %w", err)
	}
	return &pair, nil
}

// tlsConfig returns nil where a listener speaks no TLS. Which certificate it shows is
// asked for at each handshake: another one may be in force.
func (s *Server) tlsConfig(use string) (*tls.Config, error) {
	if !s.config.isSecured(use) {
		return nil, nil
	}
	if _, err := s.certificate(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}, nil
}

// certificate is the one in force: that of tls.certFile, or one under keeper's own names
// by its own authority.
func (s *Server) certificate() (*tls.Certificate, error) {
	now := s.now()
	if now.certificate != nil {
		return now.certificate, nil
	}
	return s.ca.Load().Certificate(now.config.certificateNames()...)
}

// certificateNames are the names under which agents may reach keeper.
func (c Config) certificateNames() []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, c.TLS.Names...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for _, addr := range c.listenAddrs() {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			names = append(names, host)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		addr, err := netip.ParseAddr(name)
		return err == nil && addr.IsUnspecified()
	})
	slices.Sort(names)
	return slices.Compact(names)
}
