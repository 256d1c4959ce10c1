package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// diagnosed is what the doctor says of a keeper that answers health with the body.
func diagnosed(t *testing.T, status int, body string) []diagnosis {
	t.Helper()
	keeper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Keeper-Request-Id", "req_1")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer keeper.Close()
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	a.env = map[string]string{"HOME": t.TempDir()}
	root := newRoot(a)
	root.SetArgs([]string{"doctor", "--json", "--url", keeper.URL})
	_ = root.Execute() // the exit code is the scripts' to look at
	var found examination
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatalf("the doctor's answer: got %q and %q, want JSON", out.String(), errs.String())
	}
	return found.Findings
}

func health(at time.Time, more string) string {
	return fmt.Sprintf(`{"status":"healthy","version":%q,"timestamp":%q%s}`, version(), at.Format(time.RFC3339Nano), more)
}

func wantFinding(t *testing.T, all []diagnosis, state, check, what string) {
	t.Helper()
	holds := func(d diagnosis) bool { return d.State == state && d.Check == check && strings.Contains(d.What, what) }
	i := slices.IndexFunc(all, holds)
	if i < 0 {
		t.Fatalf("findings: got %v, want %s of %s: %s", all, state, check, what)
	}
	if all[i].Why == "" || all[i].Mend == "" {
		t.Errorf("finding: got %+v, want why it matters and its mend", all[i])
	}
}

func TestDoctorFindsClocksThatDiffer(t *testing.T) {
	wantFinding(t, diagnosed(t, http.StatusOK, health(time.Now().Add(time.Hour+30*time.Second), "")), stateProblem, "clock", "differ by 1h0m")
	wantFinding(t, diagnosed(t, http.StatusOK, health(time.Now().Add(-10*time.Second), "")), stateWarning, "clock", "differ by")
	for _, d := range diagnosed(t, http.StatusOK, health(time.Now(), "")) {
		if strings.Contains(d.What, "differ") {
			t.Errorf("finding of a right clock: got %+v, want none", d)
		}
	}
}

func TestDoctorTellsWhatKeeperSaysOfItself(t *testing.T) {
	warned := health(time.Now(), `,"warnings":[{"what":"audit sink","problem":"\u001b[2Jconnection refused","since":"2026-01-01T00:00:00Z"}]`)
	wantFinding(t, diagnosed(t, http.StatusOK, warned), stateWarning, "keeper", "audit sink is in trouble")
	ill := `{"status":"unhealthy","version":"v0","timestamp":"2026-01-01T00:00:00Z","reason":"the disk is full"}`
	found := diagnosed(t, http.StatusServiceUnavailable, ill)
	wantFinding(t, found, stateProblem, "keeper", "serves no calls: the disk is full")
	wantFinding(t, found, stateWarning, "keeper", "keeper runs version v0")
}

func TestDoctorFindsCertificatesThatEnd(t *testing.T) {
	for left, state := range map[time.Duration]string{-time.Hour: stateProblem, 5 * 24 * time.Hour: stateWarning, 90 * 24 * time.Hour: ""} {
		file := filepath.Join(t.TempDir(), "cert.pem")
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(left)}
		der, err := x509.CreateCertificate(rand.Reader, cert, cert, private.Public(), private)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		d := &doctor{}
		d.checkCertificate(file, "the certificate", "", "")
		got := ""
		if len(d.found.Findings) > 0 {
			got = d.found.Findings[0].State
		}
		if got != state {
			t.Errorf("of a certificate that is good for %v: got %q, want %q", left, got, state)
		}
	}
}
