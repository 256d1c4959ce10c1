package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	caKeyFile    = "ca.key"
	caFile       = "ca.pem"
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 90 * 24 * time.Hour
	leafRenewal  = 30 * 24 * time.Hour // before it ends
	clockSkew    = time.Hour           // of agents whose clock is behind
)

// tlsConfig returns nil where keeper speaks no TLS.
func (c Config) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	switch {
	case c.TLS.CertFile != "":
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("loading the certificate of tls.certFile and tls.keyFile: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	case c.TLS.OwnCA:
		ca, err := openAuthority(c.DataDir)
		if err != nil {
			return nil, fmt.Errorf("opening keeper's certificate authority: %w", err)
		}
		issuer := &issuer{authority: ca, names: c.certificateNames(), now: time.Now}
		if _, err := issuer.certificate(nil); err != nil {
			return nil, err
		}
		config.GetCertificate = issuer.certificate
	default:
		return nil, nil
	}
	return config, nil
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
	return names
}

// authority is a certificate authority of keeper's own.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// openAuthority reads the authority in dir, or makes one. The key's file is
// written before the certificate's: a start that was cut between them leaves a
// key without a certificate, for which one is made.
func openAuthority(dir string) (*authority, error) {
	key, err := openAuthorityKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, caFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthority(key, path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("reading the certificate: %s holds no PEM; delete it and ca.key to have new ones made", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("reading the certificate: %s is not of the key %s; delete both to have new ones made", path, caKeyFile)
	}
	return &authority{key, cert}, nil
}

func openAuthorityKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthorityKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	defer clear(text)
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("reading the key: %s holds no PEM; delete it and ca.pem to have new ones made", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("reading the key: %s is no ECDSA key; delete it and ca.pem to have new ones made", path)
	}
	return key, nil
}

func newAuthorityKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	if err := writePrivate(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("writing the key: %w", err)
	}
	return key, nil
}

func newAuthority(key *ecdsa.PrivateKey, path string) (*authority, error) {
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "keeper certificate authority"},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	if err := writePrivate(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, fmt.Errorf("writing the certificate: %w", err)
	}
	if err := os.Chmod(path, 0o644); err != nil { // it is for others
		return nil, fmt.Errorf("writing the certificate: %w", err)
	}
	return &authority{key, cert}, nil
}

// issuer hands out one certificate, and makes another before it ends.
type issuer struct {
	authority *authority
	names     []string
	now       func() time.Time

	mu   sync.Mutex // guards leaf
	leaf *tls.Certificate
}

func (i *issuer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf == nil || i.now().After(i.leaf.Leaf.NotAfter.Add(-leafRenewal)) {
		leaf, err := i.authority.issue(i.names, i.now())
		if err != nil {
			return nil, fmt.Errorf("making keeper's certificate: %w", err)
		}
		i.leaf = leaf
	}
	return i.leaf, nil
}

func (a *authority) issue(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "keeper"},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(leafLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
