package vault

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
)

// maxCertificates bounds a chain.
const maxCertificates = 16

// parseCertificate reads certificate, chain and private key from PEM blocks in
// any order; of the certificates, the key's own counts as the first. The error
// is a *FieldError.
func parseCertificate(value []byte) (*tls.Certificate, error) {
	var chain, key bytes.Buffer
	for rest := bytes.ReplaceAll(value, []byte(`\n`), []byte("\n")); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			_ = pem.Encode(&chain, block) // a buffer takes all
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			_ = pem.Encode(&key, block)
		}
	}
	defer clear(key.Bytes())
	switch {
	case chain.Len() == 0:
		return nil, &FieldError{"value", "must hold a CERTIFICATE block in PEM"}
	case key.Len() == 0:
		return nil, &FieldError{"value", "must hold a PRIVATE KEY block in PEM"}
	}
	pair, err := tls.X509KeyPair(ownFirst(chain.Bytes(), key.Bytes()), key.Bytes())
	if err != nil || len(pair.Certificate) > maxCertificates {
		return nil, &FieldError{"value", fmt.Sprintf("must hold a certificate, its private key without a passphrase, and at most %d certificates in all", maxCertificates)}
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, &FieldError{"value", "must hold a private key that can sign"}
	}
	pair.PrivateKey = opaqueSigner{signer.Public, signer.Sign}
	return &pair, nil
}

// ownFirst moves the certificate of the key to the front of the chain.
func ownFirst(chain, key []byte) []byte {
	for rest := chain; len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		own := rest[:len(rest)-len(after)]
		if _, err := tls.X509KeyPair(own, key); err == nil {
			return bytes.Join([][]byte{own, chain[:len(chain)-len(rest)], after}, nil)
		}
		rest = after
	}
	return chain
}

// opaqueSigner signs with a key that neither reflection nor a type assertion
// finds.
type opaqueSigner struct {
	public func() crypto.PublicKey
	sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
}

// Public returns the public half.
func (s opaqueSigner) Public() crypto.PublicKey { return s.public() }

// Sign signs a digest.
func (s opaqueSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(random, digest, opts)
}

// ClientTLS returns what the connection for the call that r stands for must be
// made with, where its credential is a client certificate, and nil where it is
// not. Calls with the same version of a credential get the same pointer, and no
// others do: connections can be shared by it. It must not be changed.
func (v *Vault) ClientTLS(_ context.Context, r audit.Receipt) (*tls.Config, error) {
	if !r.Valid() || !r.Grant().Valid() || !r.Ref().Valid() {
		return nil, fmt.Errorf("reading a client certificate: %w", ErrUnproven)
	}
	in := r.Grant().Injection()
	if in.ClientCertificate == nil && len(in.Or) == 0 {
		return nil, nil
	}
	one, err := v.chosen(r)
	if err != nil {
		return nil, err
	}
	way, err := wayOf(in, one.value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	if way.ClientCertificate == nil {
		return nil, nil
	}
	return one.clientTLS(way.ClientCertificate)
}

func (one *version) clientTLS(how *policy.ClientCertificateInjection) (*tls.Config, error) {
	one.use.mu.Lock()
	defer one.use.mu.Unlock()
	if made := one.use.tls[how.Roots]; made != nil {
		return made, nil
	}
	pair, err := parseCertificate(one.value.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12}
	if how.Roots != "" {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM([]byte(how.Roots))
	}
	if one.use.tls == nil {
		one.use.tls = map[string]*tls.Config{}
	}
	one.use.tls[how.Roots] = config
	return config, nil
}
