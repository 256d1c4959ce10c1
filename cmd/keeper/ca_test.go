package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAuthorityIsAskedOfKeeperWithoutAToken(t *testing.T) {
	authority := newAuthority(t, true)
	var tokens []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Keeper-Request-Id", "req_1")
		tokens = append(tokens, r.Header.Get("Authorization"))
		if r.URL.Path != "/ca.pem" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write(authority)
	}))
	defer s.Close()
	code, out, errs := keeperCommand(map[string]string{"KEEPER_URL": s.URL, "KEEPER_TOKEN": "t0ken"}, "ca", "--json")
	if code != exitOK {
		t.Fatalf("keeper ca: got code %d and %q, want 0", code, errs)
	}
	var info authorityInfo
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	if info.PEM != string(authority) || info.Names == nil || !slices.Equal(info.Names.PermittedDNS, []string{"api.example"}) || !slices.Equal(info.Names.ExcludedIP, []string{"10.0.0.0/8"}) {
		t.Errorf("keeper ca --json: got %+v, want the certificate with its name constraints", info)
	}
	if !slices.Equal(tokens, []string{""}) {
		t.Errorf("tokens sent: got %q, want one request without", tokens)
	}
}

func TestAnswersThatAreNoAuthorityAreRefused(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("k3y")})
	for _, c := range []struct {
		about  string
		status int
		answer string
		code   int
		want   string
	}{
		{"another server's", http.StatusOK, "<html>", exitError, "no certificate in PEM"},
		{"a leaf's", http.StatusOK, string(newAuthority(t, false)), exitError, "no authority's"},
		{"with a key in it", http.StatusOK, string(newAuthority(t, true)) + string(key), exitError, "beside certificates"},
		{"endless", http.StatusOK, strings.Repeat("-", maxAuthorityBytes+1), exitUnavailable, "longer than"},
		{"keeper's without one", http.StatusNotFound, `{"error":"There is no such route.","code":"not_found"}`, exitNotFound, "has no certificate authority"},
		{"elsewhere", http.StatusFound, "", exitError, "302"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Keeper-Request-Id", "req_1")
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(c.status)
			w.Write([]byte(c.answer))
		}))
		code, out, errs := keeperCommand(map[string]string{"KEEPER_URL": s.URL}, "ca")
		s.Close()
		if code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("an answer %s: got code %d, %q and %q, want %d, nothing and %q", c.about, code, out, errs, c.code, c.want)
		}
	}
}

// keeperCommand runs a command of keeper's in this process.
func keeperCommand(env map[string]string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &stdout, err: &stderr, env: env}
	root := newRoot(a)
	root.SetArgs(args)
	code = a.report(root.Execute())
	return code, stdout.String(), stderr.String()
}

func newAuthority(t *testing.T, isCA bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := net.ParseCIDR("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keeper"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: true,
	}
	if isCA {
		cert.PermittedDNSDomains, cert.ExcludedIPRanges, cert.PermittedDNSDomainsCritical = []string{"api.example"}, []*net.IPNet{private}, true
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
