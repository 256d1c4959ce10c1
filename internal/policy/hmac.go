package policy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// completeHMAC checks the templates and fills in the defaults.
func (in *Injection) completeHMAC() error {
	h := in.HMAC
	if h == nil {
		return nil
	}
	h.Algorithm, h.Encoding, h.Signs = or(h.Algorithm, "sha256"), or(h.Encoding, "hex"), or(h.Signs, "{body}")
	if err := oneOf(".hmac.algorithm", h.Algorithm, "sha256", "sha512", "sha1"); err != nil {
		return err
	}
	if err := oneOf(".hmac.encoding", h.Encoding, "hex", "base64", "base64url"); err != nil {
		return err
	}
	if !onlyPlaceholders(h.Signs, "body", "timestamp", "method", "path", "keyId") || strings.Count(h.Signs, "{body}") != 1 {
		return errors.New(".hmac.signs: want a template that holds {body} once, and beside it {timestamp}, {method}, {path} or {keyId}")
	}
	if err := checkHeaders(".hmac.headers", h.Headers); err != nil {
		return err
	}
	return h.checkHeaders()
}

// checkHeaders: what is signed can be checked by its receiver alone who is told
// signature and time.
func (h *HMACInjection) checkHeaders() error {
	all := ""
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		if !onlyPlaceholders(h.Headers[name], "signature", "timestamp", "keyId") {
			return fmt.Errorf(".hmac.headers.%s: want a template of {signature}, {timestamp} and {keyId}", name)
		}
		all += h.Headers[name]
	}
	switch {
	case !strings.Contains(all, "{signature}"):
		return errors.New(".hmac.headers: want a header that holds {signature}")
	case strings.Contains(h.Signs, "{timestamp}") && !strings.Contains(all, "{timestamp}"):
		return errors.New(".hmac.headers: want a header that holds {timestamp}, since it is signed")
	}
	return nil
}

// HasKeyID reports whether the credential needs the field keyId.
func (h *HMACInjection) HasKeyID() bool {
	for _, template := range h.Headers {
		if strings.Contains(template, "{keyId}") {
			return true
		}
	}
	return strings.Contains(h.Signs, "{keyId}")
}

// onlyPlaceholders reports whether each {…} of a template is one of names.
func onlyPlaceholders(template string, names ...string) bool {
	for _, match := range placeholder.FindAllStringSubmatch(template, -1) {
		if !slices.Contains(names, match[1]) {
			return false
		}
	}
	return !strings.ContainsAny(placeholder.ReplaceAllString(template, ""), "{}")
}

func (in *Injection) checkRoots() error {
	if in.ClientCertificate == nil || in.ClientCertificate.Roots == "" {
		return nil
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(in.ClientCertificate.Roots)) {
		return errors.New(".clientCertificate.roots: want certificates in PEM")
	}
	return nil
}
