package ca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/ca"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func open(t *testing.T, c ca.Config) *ca.Authority {
	t.Helper()
	a, err := ca.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trust reports whether a client that trusts a would take its certificate for name.
func trust(t *testing.T, a *ca.Authority, name string, at time.Time) error {
	t.Helper()
	pair, err := a.Certificate(name)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	if net.ParseIP(name) != nil {
		name = "[" + name + "]"
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: at})
	return err
}

func TestClientsThatTrustTheAuthorityTrustItsCertificates(t *testing.T) {
	a := open(t, ca.Config{Key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem")})
	for _, name := range []string{"api.openai.com", "127.0.0.1", "::1", "localhost"} {
		if err := trust(t, a, name, time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	first, err := a.Certificate("api.openai.com")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := a.Certificate("api.openai.com"); again != first {
		t.Error("a second certificate within the day: got another, want the same")
	}
}

func TestCertificatesAreShortAndRenewed(t *testing.T) {
	now := time.Now()
	a := open(t, ca.Config{Key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem"), Now: func() time.Time { return now }})
	first, err := a.Certificate("a.example")
	if err != nil {
		t.Fatal(err)
	}
	if life := first.Leaf.NotAfter.Sub(now); life > 49*time.Hour {
		t.Errorf("life of a certificate: got %v, want two days", life)
	}
	now = now.Add(25 * time.Hour)
	if second, _ := a.Certificate("a.example"); second == first || !second.Leaf.NotAfter.After(now.Add(24*time.Hour)) {
		t.Error("after a day: got the old certificate, want a new one")
	}
}

func TestTheAuthorityOutlivesARestart(t *testing.T) {
	c := ca.Config{Key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem")}
	before := open(t, c).PEM()
	if after := open(t, c).PEM(); string(after) != string(before) {
		t.Error("a second start: got another certificate, want the same")
	}
	held, err := os.ReadFile(c.File)
	if err != nil || string(held) != string(before) {
		t.Errorf("%s: got %v, want the certificate", c.File, err)
	}
	info, err := os.Stat(c.File)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode: got %v, %v, want 0644", info, err)
	}
}

func TestAFileOfAnotherKeyOrOfNoSenseIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	other := open(t, ca.Config{Key: newKey(t), File: file}).PEM()
	for name, text := range map[string][]byte{"another key's": other, "text": []byte("x"), "cut": other[:len(other)/2]} {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		a := open(t, ca.Config{Key: newKey(t), File: file})
		if err := trust(t, a, "a.example", time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if held, _ := os.ReadFile(file); string(held) != string(a.PEM()) {
			t.Errorf("%s: the file is not the authority's", name)
		}
	}
}

func TestAnAuthorityThatIsNearItsEndIsMadeAnewOfTheSameKey(t *testing.T) {
	now := time.Now()
	c := ca.Config{Key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem"), Now: func() time.Time { return now }}
	before := open(t, c).PEM()
	now = now.Add(9*365*24*time.Hour + time.Hour)
	a := open(t, c)
	if string(a.PEM()) == string(before) {
		t.Error("a year before its end: got the old authority, want a new one")
	}
	if err := trust(t, a, "a.example", now); err != nil {
		t.Error(err)
	}
}

func TestABoundAuthorityIsGoodForItsNamesAlone(t *testing.T) {
	file, key := filepath.Join(t.TempDir(), "ca.pem"), newKey(t)
	free := open(t, ca.Config{Key: key, File: file}).PEM()
	a := open(t, ca.Config{Key: key, File: file, Only: []string{"api.openai.com", "amazonaws.com", "127.0.0.1"}})
	if string(a.PEM()) == string(free) {
		t.Fatal("got the authority without bounds")
	}
	for name, want := range map[string]bool{
		"api.openai.com": true, "s3.eu-1.amazonaws.com": true, "127.0.0.1": true,
		"openai.com": false, "api.openai.com.evil.example": false, "evilamazonaws.com": false, "127.0.0.2": false, "::1": false,
	} {
		if err := trust(t, a, name, time.Now()); (err == nil) != want {
			t.Errorf("%s: got %v, want trusted %t", name, err, want)
		}
		if got := a.Covers(name); got != want {
			t.Errorf("Covers(%s): got %t, want %t", name, got, want)
		}
	}
	if _, err := ca.Open(ca.Config{Key: key, File: file, Only: []string{"a.example"}}); err == nil {
		t.Error("names without addresses: got no error, want one, as it would be good for every address")
	}
}

func TestCertificatesServeTLS(t *testing.T) {
	a := open(t, ca.Config{Key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem")})
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		pair, err := a.Certificate("a.example")
		if err == nil {
			err = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{*pair}}).Handshake()
		}
		if err != nil {
			t.Error(err)
		}
	}()
	defer client.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	if err := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: "a.example"}).Handshake(); err != nil {
		t.Error(err)
	}
}

func BenchmarkNewCertificate(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	a, err := ca.Open(ca.Config{Key: key, File: filepath.Join(b.TempDir(), "ca.pem"), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := a.Certificate("h" + time.Duration(i).String() + ".example"); err != nil {
			b.Fatal(err)
		}
	}
}
