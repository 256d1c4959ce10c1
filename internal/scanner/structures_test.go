package scanner_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// armoured makes a block as PEM has it, of random bytes behind start.
func armoured(r *mathrand.Rand, label, start string, headers map[string]string) string {
	body := append([]byte(start), randomBytes(r, 600)...)
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Headers: headers, Bytes: body}))
}

// structures are texts in which a secret is known by what it is made of.
func structures(r *mathrand.Rand) []string {
	var list []string
	for _, label := range []string{"RSA ", "EC ", "DSA ", "", "ENCRYPTED ", "OPENSSH "} {
		start := "0\x82\x04"
		if label == "OPENSSH " {
			start = "openssh-key-v1\x00"
		}
		key := armoured(r, label+"PRIVATE "+"KEY", start, nil)
		quoted, _ := json.Marshal(key)
		list = append(list, key, `{"private_key":`+string(quoted)+`,"x":1}`, strings.ReplaceAll(key, "\n", " "), strings.ReplaceAll(key, "\n", "\r\n"), "  key: |\n    "+strings.ReplaceAll(key, "\n", "\n    "))
	}
	list = append(list, armoured(r, "RSA PRIVATE "+"KEY", "0\x82\x04", map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC," + strings.ToUpper(pick(r, hexes, 32))}))
	list = append(list, piecesOf(armoured(r, "RSA PRIVATE "+"KEY", "0\x82\x04", nil))...)
	return append(list, pgpKey(r), puttyKey(r))
}

// piecesOf are the ways in which code puts a key together.
func piecesOf(key string) []string {
	rows := strings.Split(strings.TrimSpace(key), "\n")
	return []string{
		`key := "` + strings.Join(rows, `\n" +`+"\n\t\"") + `\n"`,
		`["` + strings.Join(rows, `", "`) + `"].join("\n")`,
		`'` + strings.Join(rows, `\n' . '`) + `'`,
	}
}

func pgpKey(r *mathrand.Rand) string {
	key := armoured(r, "PGP PRIVATE "+"KEY BLOCK", "\x95\x05", nil)
	return strings.Replace(key, "-----\n", "-----\nVersion: GnuPG v2\n\n", 1)
}

func puttyKey(r *mathrand.Rand) string {
	wrap := func(n int) string {
		text := base64.StdEncoding.EncodeToString(randomBytes(r, n*48))
		var b strings.Builder
		for ; text != ""; text = text[min(64, len(text)):] {
			b.WriteString(text[:min(64, len(text))] + "\n")
		}
		return b.String()
	}
	return "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nComment: imported\nPublic-Lines: 6\n" + wrap(6) + "Private-Lines: 14\n" + wrap(14) + "Private-MAC: " + pick(r, hexes, 40) + "\n"
}

func TestPrivateKeysAreFoundInEveryStructure(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, text := range structures(newRand(3)) {
		found := s.Scan([]byte(text), "text")
		f := find(found, "private-key")
		if f == nil || !f.Blocks() {
			t.Errorf("%.60q…: got %+v, want a private key that blocks", text, found)
			continue
		}
		clean, _ := s.Sanitize([]byte(text))
		body := text[f.Start:f.End]
		if tail := body[len(body)/2:]; strings.Contains(string(clean), tail[:min(40, len(tail))]) {
			t.Errorf("%.60q…: the key's second half is left", text)
		}
	}
}

func number(p []byte) string { return base64.RawURLEncoding.EncodeToString(p) }

// rsaMembers are those of an RSA key as a JSON Web Key.
func rsaMembers(tb testing.TB, bits int) (public, private map[string]string) {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	pre := key.Precomputed
	return map[string]string{"kty": "RSA", "n": number(key.N.Bytes()), "e": "AQAB", "kid": "1", "use": "sig", "alg": "RS256"},
		map[string]string{"d": number(key.D.Bytes()), "p": number(key.Primes[0].Bytes()), "q": number(key.Primes[1].Bytes()),
			"dp": number(pre.Dp.Bytes()), "dq": number(pre.Dq.Bytes()), "qi": number(pre.Qinv.Bytes())}
}

func ecMembers(tb testing.TB) (public map[string]string, private string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]string{"kty": "EC", "crv": "P-256", "x": number(point[1:33]), "y": number(point[33:])}, number(scalar)
}

// object writes members in the order of names.
func object(names []string, of ...map[string]string) string {
	var parts []string
	for _, name := range names {
		for _, m := range of {
			if v, ok := m[name]; ok {
				parts = append(parts, fmt.Sprintf("%q:%q", name, v))
			}
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestPrivateMembersOfWebKeysAreFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	public, private := rsaMembers(t, 2048)
	scalarPublic, scalar := ecMembers(t)
	asWritten := strings.Fields("kty n e d p q dp dq qi kid use alg crv x y k")
	sorted := strings.Fields("alg crv d dp dq e k kid kty n p q qi use x y")
	for _, names := range [][]string{asWritten, sorted} {
		for _, text := range []string{object(names, public, private), object(names, scalarPublic, map[string]string{"d": scalar})} {
			clean, _ := s.Sanitize([]byte(text))
			for name, value := range private {
				if strings.Contains(string(clean), value) {
					t.Errorf("%v: %s is left", names, name)
				}
			}
			if strings.Contains(string(clean), scalar) {
				t.Errorf("%v: the scalar is left", names)
			}
		}
		for _, text := range []string{object(names, public), object(names, scalarPublic)} {
			if clean, _ := s.Sanitize([]byte(`{"keys":[` + text + `]}`)); string(clean) != `{"keys":[`+text+`]}` {
				t.Errorf("public key: got %q", clean)
			}
		}
	}
	symmetric := fmt.Sprintf(`{"kty":"oct","alg":"HS256","k":%q}`, number(randomBytes(newRand(5), 32)))
	if f := find(s.Scan([]byte(symmetric), "text"), "private-key"); f == nil {
		t.Error("symmetric key: got nothing")
	}
}

func TestSecretManifestsAreReadByTheirData(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(4)
	secret := pick(r, alnum, 10) + "-" + pick(r, alnum, 14)
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	for text, want := range map[string]bool{
		"apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\ndata:\n  mode: b25l\n  other.name: " + encoded + "\n":                      true,
		"apiVersion: v1\ndata:\n  other: " + encoded + "\nkind: Secret\n":                                                               true,
		"apiVersion: v1\nkind: Secret\nstringData:\n  other: " + secret + "\n":                                                          true,
		"apiVersion: v1\nkind: ConfigMap\ndata:\n  digest: " + pick(r, hexes, 64) + "\n":                                                false,
		"apiVersion: v1\nkind: ConfigMap\ndata:\n  version: " + secret + "\n":                                                           false,
		"x:\n  metadata:\n    " + pick(r, hexes, 40) + "\n":                                                                             false,
		"data:\n  x: y\nmetadata:\n  checksum: " + encoded + "\n":                                                                       false,
		"kind: Secret\ndata:\n  tls.crt: " + base64.StdEncoding.EncodeToString([]byte(armoured(r, "CERTIFICATE", "0\x82", nil))) + "\n": false,
	} {
		if _, findings := s.Sanitize([]byte(text)); (len(findings) > 0 && findings[0].Redacts()) != want {
			t.Errorf("%q: got %+v, want found %t", text, findings, want)
		}
	}
}

func TestStoresOfCredentialsBlock(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	password := pick(newRand(8), alnum, 14) + "7q"
	auth := base64.StdEncoding.EncodeToString([]byte("joe:" + password))
	for text, want := range map[string]bool{
		"machine api.invalid login joe password " + password:                          true,
		"machine api.invalid\n\tlogin joe\n\tpassword " + password + "\n":             true,
		`{"auths":{"https://index.invalid/v1/":{"auth":"` + auth + `"}}}`:             true,
		"{\n\t\"auths\": {\n\t\t\"r.invalid\": {\n\t\t\t\"auth\": \"" + auth + "\"\n": true,
		"the password " + password:                                                    false,
		`{"auth":"` + auth + `"}`:                                                     false,
	} {
		_, findings := s.Sanitize([]byte(text))
		if len(findings) != 1 || !findings[0].Redacts() || findings[0].Blocks() != want {
			t.Errorf("%q: got %+v, want one finding, blocking %t", text, findings, want)
		}
	}
}

func TestCredentialsOfToolsAreFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(9)
	password := pick(r, alnum, 20)
	auth := base64.StdEncoding.EncodeToString([]byte("joe:" + password))
	key := base64.StdEncoding.EncodeToString([]byte(armoured(r, "RSA PRIVATE "+"KEY", "0\x82\x04", nil)))
	for text, secret := range map[string]string{
		"//registry.invalid/:_auth=" + auth + "\n": auth,
		"_auth = \"" + auth + "\"\n":               auth,
		"//registry.invalid/:_password=" + base64.StdEncoding.EncodeToString([]byte(password)) + "\n":         base64.StdEncoding.EncodeToString([]byte(password)),
		"users:\n- name: a\n  user:\n    client-key-data: " + key + "\n":                                      key,
		"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + std(r, 64) + ";EndpointSuffix=x.invalid": "",
		"Authorization: Basic " + auth + "\r\n":                                                               auth,
		"git clone https://x-access-token:" + password + "@github.invalid/a/b.git":                            password,
		"git clone https://" + password + "@github.invalid/a/b.git":                                           password,
		`{"type":"service_account","private_key_id":"` + hexText(r, 20) + `","client_email":"a@x.invalid"}`:   "none",
	} {
		clean, findings := s.Sanitize([]byte(text))
		if secret == "none" {
			if len(findings) > 0 && findings[0].Redacts() {
				t.Errorf("%q: got %+v, want nothing", text, findings)
			}
			continue
		}
		if string(clean) == text || secret != "" && strings.Contains(string(clean), secret) {
			t.Errorf("%q: got %q", text, clean)
		}
	}
}

// TestPrivateKeysInPiecesAreFound is about keys that code puts together.
func TestPrivateKeysInPiecesAreFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	key := armoured(newRand(6), "RSA PRIVATE "+"KEY", "0\x82\x04", nil)
	rows := strings.Split(strings.TrimSpace(key), "\n")
	for _, text := range piecesOf(key) {
		clean, findings := s.Sanitize([]byte(text))
		for _, row := range rows[1 : len(rows)-1] {
			if strings.Contains(string(clean), row) {
				t.Errorf("%.90q…: got %+v, and a line of the key is left", text, findings)
				break
			}
		}
	}
}

// TestPublishedExamplesPass puts the examples together here, so that no file holds
// one.
func TestPublishedExamplesPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, text := range []string{
		"aws_access_key_id = AKIA" + "I44QH8DHB" + "EXAMPLE", "aws_secret_access_key = je7MtGbClwBF" + "/2Zp9Utk/h3yCo8nvb" + "EXAMPLEKEY", "STRIPE_KEY=sk_" + "test_4eC39HqLyjW" + "DarjtT1zdp7dc",
		"Authorization: Bearer " + "mF_9." + "B5f-4.1JqM", `"refresh_token":"tGzv3JOk` + `F0XG5Qx2TlKWIA"`, "Authorization: Basic QWxhZGRpbjpv" + "cGVuIHNlc2FtZQ==",
	} {
		for _, f := range s.Scan([]byte(text), "text") {
			if f.Redacts() {
				t.Errorf("%.40s…: got %s (%s), want nothing", text, f.Rule, f.Confidence)
			}
		}
	}
}
