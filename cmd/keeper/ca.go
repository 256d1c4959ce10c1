package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
)

const maxAuthorityBytes = 64 << 10

// authorityInfo is a certificate authority, for scripts.
type authorityInfo struct {
	Subject     string           `json:"subject"`
	Fingerprint string           `json:"sha256"`
	NotBefore   time.Time        `json:"notBefore"`
	NotAfter    time.Time        `json:"notAfter"`
	Names       *nameConstraints `json:"nameConstraints"`
	PEM         string           `json:"pem"`
}

// nameConstraints are the names that an authority may vouch for (RFC 5280,
// section 4.2.1.10).
type nameConstraints struct {
	Critical     bool     `json:"critical"`
	PermittedDNS []string `json:"permittedDns"`
	ExcludedDNS  []string `json:"excludedDns"`
	PermittedIP  []string `json:"permittedIp"`
	ExcludedIP   []string `json:"excludedIp"`
}

func newCA(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Print the certificate of keeper's authority, which tools that use it as a proxy must trust",
		Long: `Print the certificate of keeper's authority in PEM: what must be trusted by tools that
use keeper as their proxy, so that it can look into what they send by TLS. It is asked
of keeper; with --data it is read from that data folder, where no keeper runs. The
authority's key never leaves keeper.

` + "`keeper ca trust`" + ` says how each tool is made to trust it.`,
		Example: "  keeper ca > keeper-ca.pem\n  keeper ca --out keeper-ca.pem\n  keeper ca --json\n  keeper ca --data /var/lib/keeper",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return helpOrUnknown(cmd, args)
			}
			text, err := a.authorityPEM(cmd.Context())
			if err != nil {
				return err
			}
			return a.showAuthority(text, out)
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "write the certificate to the `FILE` instead")
	cmd.AddCommand(newCATrust(a))
	return cmd
}

// authorityPEM is what the data folder or keeper says its authority is.
func (a *app) authorityPEM(ctx context.Context) ([]byte, error) {
	if a.dataFlag != "" {
		text, err := readFile(filepath.Join(a.dataFlag, "ca.pem"), maxAuthorityBytes)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate authority: %w", err)
		}
		return text, nil
	}
	c, err := a.connectBare()
	if err != nil {
		return nil, err
	}
	return c.authority(ctx)
}

func (c *client) authority(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String()+"/ca.pem", nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	text, err := readAtMost(resp.Body, maxAuthorityBytes)
	switch {
	case resp.StatusCode == http.StatusNotFound && resp.Header.Get("Keeper-Request-Id") != "":
		return nil, &failure{code: exitNotFound, message: fmt.Sprintf("keeper at %s has no certificate authority", c.base)}
	case resp.StatusCode != http.StatusOK:
		return nil, c.refusal(resp, text)
	case err != nil:
		return nil, c.unreachable(err)
	}
	return text, nil
}

// parseAuthority reads certificates and nothing else: what holds a key, say, is
// not printed. The first is keeper's authority.
func parseAuthority(text []byte) (*x509.Certificate, []byte, error) {
	var first *x509.Certificate
	var clean bytes.Buffer
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, nil, errors.New("reading the certificate authority: there is something beside certificates in it")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the certificate authority: %w", err)
		}
		if !cert.IsCA {
			return nil, nil, errors.New("reading the certificate authority: its certificate is no authority's")
		}
		if first == nil {
			first = cert
		}
		if err := pem.Encode(&clean, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, nil, fmt.Errorf("encoding the certificate authority: %w", err)
		}
	}
	if first == nil {
		return nil, nil, errors.New("reading the certificate authority: there is no certificate in PEM")
	}
	return first, clean.Bytes(), nil
}

func (a *app) showAuthority(text []byte, out string) error {
	cert, clean, err := parseAuthority(text)
	if err != nil {
		return err
	}
	info := describeAuthority(cert, clean)
	if out != "" {
		if err := renameio.WriteFile(out, clean, 0o644); err != nil {
			return fmt.Errorf("writing the certificate authority: %w", err)
		}
		return a.say(info, "%s: %s, SHA-256 %s, good until %s", out, info.Subject, info.Fingerprint, when(info.NotAfter))
	}
	return a.show(info, func() error {
		_, err := a.out.Write(clean)
		return err
	})
}

func describeAuthority(cert *x509.Certificate, clean []byte) authorityInfo {
	sum := sha256.Sum256(cert.Raw)
	info := authorityInfo{
		Subject: cert.Subject.String(), Fingerprint: hex.EncodeToString(sum[:]),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), PEM: string(clean),
	}
	names := nameConstraints{
		Critical: cert.PermittedDNSDomainsCritical, PermittedDNS: orEmpty(cert.PermittedDNSDomains), ExcludedDNS: orEmpty(cert.ExcludedDNSDomains),
		PermittedIP: []string{}, ExcludedIP: []string{},
	}
	for _, ip := range cert.PermittedIPRanges {
		names.PermittedIP = append(names.PermittedIP, ip.String())
	}
	for _, ip := range cert.ExcludedIPRanges {
		names.ExcludedIP = append(names.ExcludedIP, ip.String())
	}
	if len(names.PermittedDNS)+len(names.ExcludedDNS)+len(names.PermittedIP)+len(names.ExcludedIP) > 0 {
		info.Names = &names
	}
	return info
}

// trustText says how tools are made to trust an authority: FILE is its PEM file,
// BUNDLE that and the system's.
const trustText = `keeper run makes what it starts trust keeper's authority, and keeper setup the tools
that it sets up. By hand, with

    keeper ca --out keeper-ca.pem
    cat /etc/ssl/certs/ca-certificates.crt keeper-ca.pem > bundle.pem

where a variable replaces what a program trusts otherwise, hence the bundle:

  curl               CURL_CA_BUNDLE=bundle.pem, or --cacert
  git                GIT_SSL_CAINFO=bundle.pem, or git config http.sslCAInfo
  Go (gh and others) SSL_CERT_FILE=bundle.pem
  Rust, Codex        SSL_CERT_FILE=bundle.pem
  OpenSSL, Ruby      SSL_CERT_FILE=bundle.pem
  Python: requests   REQUESTS_CA_BUNDLE=bundle.pem
  Python: httpx, urllib, the OpenAI and Anthropic SDKs
                     SSL_CERT_FILE=bundle.pem
  AWS CLI, boto3     AWS_CA_BUNDLE=bundle.pem, or ca_bundle in ~/.aws/config
  Node, Claude Code, Gemini CLI, Cursor
                     NODE_EXTRA_CA_CERTS=keeper-ca.pem (comes on top; no bundle)
  Java               keytool -importcert -cacerts -alias keeper -file keeper-ca.pem

For every program of a machine, which lets keeper's authority vouch for what its name
constraints allow (` + "`keeper ca --json`" + `) to all of its users:

  Debian, Ubuntu     cp keeper-ca.pem /usr/local/share/ca-certificates/keeper.crt && update-ca-certificates
  Fedora, RHEL       cp keeper-ca.pem /etc/pki/ca-trust/source/anchors/ && update-ca-trust
  macOS              security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain keeper-ca.pem
`

func newCATrust(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "trust",
		Short:   "Say how each tool is made to trust keeper's authority",
		Example: "  keeper ca trust",
		Args:    arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.out, strings.ReplaceAll(trustText, "    keeper ca ", "    "+ownName()+" ca "))
			return err
		},
	}
}
