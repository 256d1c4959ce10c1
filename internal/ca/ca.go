// Package ca is keeper's own certificate authority: it makes the certificates that
// keeper shows to clients, under its own names and, where it is their proxy, under
// the names of the hosts that they ask for. Its one invariant: the private key of the
// authority is a crypto.Signer that the vault holds, and never in a file of this
// package. It imports nothing of this module.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	lifetime     = 10 * 365 * 24 * time.Hour
	renewal      = 365 * 24 * time.Hour // before the authority ends
	leafLifetime = 48 * time.Hour
	leafRenewal  = 24 * time.Hour // before a leaf ends
	clockSkew    = time.Hour      // of clients whose clock is behind
	mostLeaves   = 10_000
)

// Config is what an Authority needs. Key and File are required.
type Config struct {
	// Key is the authority's own, ECDSA on P-256.
	Key crypto.Signer
	// File is where the certificate is, in PEM, for others to read. One that is not
	// as Key and Only say is replaced.
	File string
	// Also are further keys whose certificates are in File, behind Key's, so that
	// clients trust them: of the authority that will be, or that was before.
	Also []crypto.Signer
	// Only, where it is not nil, are the names for which the authority is good
	// (RFC 5280, 4.2.1.10): host names, each with all below it, and addresses.
	Only []string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	cert   *x509.Certificate
	also   []*x509.Certificate
	key    crypto.Signer
	leaf   *ecdsa.PrivateKey // of all leaves
	leaves *otter.Cache[string, *tls.Certificate]
	now    func() time.Time
}

// Open reads the authority's certificate, or makes it where there is none for this
// key and these names.
func Open(c Config) (*Authority, error) {
	if c.Key == nil || c.File == "" {
		return nil, errors.New("opening the certificate authority: no key or no file")
	}
	a := &Authority{key: c.Key, now: c.Now}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making the key of certificates: %w", err)
	}
	if a.leaves, err = otter.New(&otter.Options[string, *tls.Certificate]{MaximumSize: mostLeaves}); err != nil {
		return nil, fmt.Errorf("making room for certificates: %w", err)
	}
	return a, a.certify(c)
}

// certify finds the certificates of the keys in the file, or makes them.
func (a *Authority) certify(c Config) error {
	found, err := read(c.File)
	if err != nil {
		return err
	}
	var all []*x509.Certificate
	for _, key := range append([]crypto.Signer{c.Key}, c.Also...) {
		cert, err := a.certificateOf(key, found, c.Only)
		if err != nil {
			return err
		}
		all = append(all, cert)
	}
	a.cert, a.also = all[0], all[1:]
	if slices.EqualFunc(all, found, (*x509.Certificate).Equal) {
		return nil
	}
	return write(c.File, a.PEM())
}

// certificateOf is the one of a key that was found and does, or a new one.
func (a *Authority) certificateOf(key crypto.Signer, found []*x509.Certificate, only []string) (*x509.Certificate, error) {
	wanted, err := a.template(key, only)
	if err != nil {
		return nil, err
	}
	for _, cert := range found {
		if a.serves(cert, key, wanted) {
			return cert, nil
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, wanted, wanted, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	return cert, nil
}

// read are the certificates in the file, up to what is none: it is made anew from the
// keys.
func read(file string) (all []*x509.Certificate, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return all, nil
		}
		all = append(all, cert)
	}
}

// serves reports whether a certificate is of the key, says what wanted does, and has a
// while to go.
func (a *Authority) serves(cert *x509.Certificate, key crypto.Signer, wanted *x509.Certificate) bool {
	public, ok := key.Public().(*ecdsa.PublicKey)
	return ok && public.Equal(cert.PublicKey) && a.now().Before(cert.NotAfter.Add(-renewal)) &&
		cert.CheckSignatureFrom(cert) == nil && cert.PermittedDNSDomainsCritical == wanted.PermittedDNSDomainsCritical &&
		slices.Equal(cert.PermittedDNSDomains, wanted.PermittedDNSDomains) &&
		slices.EqualFunc(cert.PermittedIPRanges, wanted.PermittedIPRanges, func(x, y *net.IPNet) bool { return x.String() == y.String() })
}

func (a *Authority) template(key crypto.Signer, only []string) (*x509.Certificate, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("reading the authority's key: %w", err)
	}
	id := sha256.Sum256(der)
	now := a.now()
	t := &x509.Certificate{
		// A new key has a new name: stores that hold both tell them apart.
		Subject:   pkix.Name{CommonName: fmt.Sprintf("keeper certificate authority %x", id[:4])},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, SubjectKeyId: id[:20],
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if only == nil {
		return t, nil
	}
	t.PermittedDNSDomainsCritical = true
	for _, name := range only {
		if addr, err := netip.ParseAddr(name); err == nil {
			t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())})
		} else {
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, name)
		}
	}
	if t.PermittedIPRanges == nil || t.PermittedDNSDomains == nil {
		return nil, errors.New("bounding the certificate authority: want names and addresses; of a kind that is left out, it would be good for all")
	}
	return t, nil
}

// write replaces file in one step, so that nobody reads half of it.
func write(file string, text []byte) error {
	part, err := os.CreateTemp(filepath.Dir(file), ".ca-*")
	if err != nil {
		return fmt.Errorf("writing the certificate authority: %w", err)
	}
	defer os.Remove(part.Name())
	_, err = part.Write(text)
	if err = errors.Join(err, part.Chmod(0o644), part.Sync(), part.Close()); err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("writing the certificate authority: %w", err)
	}
	return nil
}

// PEM is the authority's certificate, and those of the further keys behind it, for
// clients to trust.
func (a *Authority) PEM() (text []byte) {
	for _, cert := range append([]*x509.Certificate{a.cert}, a.also...) {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}

// Covers reports whether the authority is good for a host.
func (a *Authority) Covers(name string) bool {
	if !a.cert.PermittedDNSDomainsCritical {
		return true
	}
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(a.cert.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
	}
	return slices.ContainsFunc(a.cert.PermittedDNSDomains, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}

// Certificate returns one for the names, host names or addresses, made now or not
// long ago. It is good for two days.
func (a *Authority) Certificate(names ...string) (*tls.Certificate, error) {
	key := strings.Join(names, " ")
	if held, ok := a.leaves.GetIfPresent(key); ok && a.now().Before(held.Leaf.NotAfter.Add(-leafRenewal)) {
		return held, nil
	}
	made, err := a.issue(names)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	a.leaves.Set(key, made)
	return made, nil
}

func (a *Authority) issue(names []string) (*tls.Certificate, error) {
	now := a.now()
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
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf, Leaf: leaf}, nil
}
