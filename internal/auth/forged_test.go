package auth_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
)

// forger has a valid token and everything that a forger could have, and, to
// test what lies behind the signature, the signing key as well.
type forger struct {
	t         *testing.T
	authority *authtest.Authority
	good      auth.Issued
	header    string // JSON
	payload   string // JSON
	signature string // base64url
	kid       string
	key       crypto.Signer
	foreign   *rsa.PrivateKey
}

func newForger(t *testing.T) *forger {
	a := authtest.Open(t, nil)
	a.Token(t, "other", "*")
	f := &forger{t: t, authority: a, good: a.Token(t, "agent", "openai:chat")}
	parts := strings.Split(f.good.Token, ".")
	f.header, f.payload, f.signature = f.decode(parts[0]), f.decode(parts[1]), parts[2]
	f.kid, f.key = a.Keys.Current()
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f.foreign = foreign
	return f
}

func (f *forger) decode(part string) string {
	f.t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(decoded)
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (f *forger) sign(key crypto.Signer, header, payload string) string {
	f.t.Helper()
	signed := encode(header) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		f.t.Fatal(err)
	}
	return signed + "." + encode(string(signature))
}

func (f *forger) hmac(header string, key []byte) string {
	signed := encode(header) + "." + encode(f.payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + encode(string(mac.Sum(nil)))
}

// replaced returns s with old replaced, and fails where old is not in it.
func (f *forger) replaced(s, old, with string) string {
	f.t.Helper()
	if !strings.Contains(s, old) {
		f.t.Fatalf("%q is not in %q", old, s)
	}
	return strings.Replace(s, old, with, 1)
}

func (f *forger) refused(name, raw string) {
	f.t.Helper()
	f.t.Run(name, func(t *testing.T) {
		if raw == f.good.Token {
			t.Fatal("the forged token is the good one")
		}
		claims, err := f.authority.Verify(t.Context(), raw)
		if err == nil || claims.Valid() {
			t.Errorf("got claims of %q, error %v; want it refused", claims.AgentID(), err)
		}
		if claims, err := f.authority.Authenticate(t.Context(), raw); err == nil || claims.Valid() {
			t.Errorf("authenticating: got claims of %q, error %v; want it refused", claims.AgentID(), err)
		}
		if err := f.authority.RevokeToken(t.Context(), f.authority.Admin, raw); err == nil {
			t.Error("revoking it: got no error, want it refused")
		}
	})
}

// check shows, at the end, that the good token was good all along.
func (f *forger) check() {
	f.t.Helper()
	if got := f.sign(f.key, f.header, f.payload); got != f.good.Token {
		f.t.Error("the forger cannot even make the good token: the table proves nothing")
	}
	wantVerdict(f.t, f.authority, f.good.Token, nil)
}

func (f *forger) publicKeyForms() map[string][]byte {
	public := f.key.Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		f.t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	return map[string][]byte{
		"PKIX DER": der, "PKIX PEM": block("PUBLIC KEY", der), "trimmed PEM": bytes.TrimSpace(block("PUBLIC KEY", der)),
		"PKCS 1 DER": pkcs1, "PKCS 1 PEM": block("RSA PUBLIC KEY", pkcs1),
		"modulus": public.N.Bytes(), "JWKS": f.authority.JWKS(), "nothing": nil,
	}
}

func TestForgedAlgorithmsNeverPass(t *testing.T) {
	f := newForger(t)
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		header := f.replaced(f.header, "RS256", none)
		unsigned := encode(header) + "." + encode(f.payload) + "."
		f.refused("alg "+none+" unsigned", unsigned)
		f.refused("alg "+none+" with the old signature", unsigned+f.signature)
	}
	for name, key := range f.publicKeyForms() {
		f.refused("HS256 with "+name, f.hmac(f.replaced(f.header, "RS256", "HS256"), key))
		f.refused("RS256 said, HS256 done with "+name, f.hmac(f.header, key))
	}
	for _, alg := range []string{"HS256", "RS384", "PS256", "ES256", "EdDSA", "rs256", "RS256 ", "RSA"} {
		f.refused("right key under alg "+alg, f.sign(f.key, f.replaced(f.header, "RS256", alg), f.payload))
	}
	f.refused("alg missing", f.sign(f.key, fmt.Sprintf(`{"kid":%q,"typ":"JWT"}`, f.kid), f.payload))
	f.refused("alg no string", f.sign(f.key, f.replaced(f.header, `"RS256"`, `["RS256"]`), f.payload))

	sum := sha512.Sum384([]byte(encode(f.header) + "." + encode(f.payload)))
	signature, err := f.key.Sign(rand.Reader, sum[:], crypto.SHA384)
	if err != nil {
		t.Fatal(err)
	}
	f.refused("RS384 done", encode(f.header)+"."+encode(f.payload)+"."+encode(string(signature)))
	f.check()
}

func TestForgedKeysNeverPass(t *testing.T) {
	f := newForger(t)
	f.refused("foreign key under the same kid", f.sign(f.foreign, f.header, f.payload))
	public := f.foreign.PublicKey
	jwk := fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, encode(string(public.N.Bytes())))
	der, err := x509.MarshalPKIXPublicKey(&public)
	if err != nil {
		t.Fatal(err)
	}
	extra := map[string]string{
		"jwk":      `"jwk":` + jwk,
		"jku":      `"jku":"https://attacker.example/jwks.json"`,
		"x5u":      `"x5u":"https://attacker.example/cert.pem"`,
		"x5c":      `"x5c":["` + base64.StdEncoding.EncodeToString(der) + `"]`,
		"x5t":      `"x5t":"` + encode("thumbprint") + `"`,
		"crit":     `"crit":["exp"]`,
		"crit b64": `"b64":false,"crit":["b64"]`,
		"b64":      `"b64":false`,
		"b64 true": `"b64":true,"crit":["b64"]`,
		"nonce":    `"nonce":"x"`,
		"cty":      `"cty":"JWT"`,
		"zip":      `"zip":"DEF"`,
	}
	for name, member := range extra {
		header := strings.TrimSuffix(f.header, "}") + "," + member + "}"
		f.refused(name+" by a foreign key", f.sign(f.foreign, header, f.payload))
		f.refused(name+" by the right key", f.sign(f.key, header, f.payload))
		f.refused(name+" without kid", f.sign(f.foreign, fmt.Sprintf(`{"alg":"RS256","typ":"JWT",%s}`, member), f.payload))
	}
	for _, kid := range []string{
		"", "unknown", "../../../../dev/null", "/etc/passwd", "' OR 1=1 --", f.kid + " ", f.kid + "\x00",
		strings.ToUpper(f.kid), "https://attacker.example/key", f.kid[:len(f.kid)-1], "null",
	} {
		quoted, err := json.Marshal(kid)
		if err != nil {
			t.Fatal(err)
		}
		header := fmt.Sprintf(`{"alg":"RS256","kid":%s,"typ":"JWT"}`, quoted)
		f.refused("kid "+string(quoted)+" by a foreign key", f.sign(f.foreign, header, f.payload))
		f.refused("kid "+string(quoted)+" by the right key", f.sign(f.key, header, f.payload))
	}
	for name, header := range map[string]string{
		"kid missing": `{"alg":"RS256","typ":"JWT"}`,
		"kid null":    `{"alg":"RS256","kid":null,"typ":"JWT"}`,
		"kid number":  `{"alg":"RS256","kid":0,"typ":"JWT"}`,
		"kid twice":   fmt.Sprintf(`{"alg":"RS256","kid":"x","kid":%q,"typ":"JWT"}`, f.kid),
		"alg twice":   fmt.Sprintf(`{"alg":"none","alg":"RS256","kid":%q,"typ":"JWT"}`, f.kid),
		"other order": fmt.Sprintf(`{"kid":%q,"alg":"RS256","typ":"JWT"}`, f.kid),
		"white space": strings.Replace(f.header, ":", ": ", 1),
		"not JSON":    `eyJ`,
		"empty":       `{}`,
		"a list":      `[]`,
	} {
		f.refused(name, f.sign(f.key, header, f.payload))
	}
	f.check()
}

func TestEditedTokensNeverPass(t *testing.T) {
	f := newForger(t)
	head, body, signature := encode(f.header), encode(f.payload), f.signature
	f.refused("edited scopes", head+"."+encode(f.replaced(f.payload, "openai:chat", "*"))+"."+signature)
	f.refused("edited agent", head+"."+encode(f.replaced(f.payload, `"sub":"agent"`, `"sub":"other"`))+"."+signature)
	f.refused("edited header", encode(f.replaced(f.header, "JWT", "jwt"))+"."+body+"."+signature)
	for i := range 40 {
		at := i * len(signature) / 40
		with := byte('A')
		if signature[at] == 'A' {
			with = 'B'
		}
		f.refused(fmt.Sprintf("signature edited at %d", at), head+"."+body+"."+signature[:at]+string(with)+signature[at+1:])
	}
	// The last character of 342 has four bits that decoders ignore.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for bits := 1; bits < 16; bits++ {
		last := strings.IndexByte(alphabet, signature[len(signature)-1])
		f.refused(fmt.Sprintf("trailing bits %d", bits), head+"."+body+"."+signature[:len(signature)-1]+string(alphabet[last^bits]))
	}
	f.check()
}

func TestMisshapenTokensNeverPass(t *testing.T) {
	f := newForger(t)
	token, head, body, signature := f.good.Token, encode(f.header), encode(f.payload), f.signature
	for name, raw := range map[string]string{
		"empty": "", "dots": "..", "more dots": "....", "one part": head, "two parts": head + "." + body,
		"no header": "." + body + "." + signature, "no payload": head + ".." + signature,
		"no signature": head + "." + body + ".", "four parts": token + "." + signature, "ends in a dot": token + ".",
		"five parts (JWE)": head + "." + body + "." + signature + "." + body + "." + signature,
		"padded header":    head + "=." + body + "." + signature, "padded payload": head + "." + body + "==." + signature,
		"padded signature": token + "==", "padding escaped": token + "%3D%3D",
		"standard alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
		"leading space":     " " + token, "trailing space": token + " ", "trailing line break": token + "\n",
		"line break within": head + "." + body[:10] + "\n" + body[10:] + "." + signature, "null byte": token + "\x00",
		"scheme": "Bearer " + token, "quoted": `"` + token + `"`, "twice": token + token, "with comma": token + "," + token,
		"huge":           head + "." + strings.Repeat("A", 8<<10) + "." + signature,
		"huge header":    "eyJ" + strings.Repeat("A", 1<<20) + "." + body + "." + signature,
		"huge signature": head + "." + body + "." + strings.Repeat("A", 1<<20),
		"dots only":      strings.Repeat(".", 8<<10),
		"flattened JSON": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, head, body, signature),
		"JSON of two signatures": fmt.Sprintf(
			`{"payload":%q,"signatures":[{"protected":%q,"signature":%q},{"protected":%q,"signature":"AAAA"}]}`, body, head, signature, head),
	} {
		f.refused(name, raw)
	}
	f.check()
}

func TestClaimsBeyondWhatWasIssuedNeverPass(t *testing.T) {
	f := newForger(t)
	expires := fmt.Sprintf(`"exp":%d`, f.good.ExpiresAt.Unix())
	jti := fmt.Sprintf(`,"jti":%q`, f.good.JTI)
	with := func(member string) string { return strings.TrimSuffix(f.payload, "}") + "," + member + "}" }
	exp := func(as string) string { return f.replaced(f.payload, expires, as) }
	for name, payload := range map[string]string{
		"exp a string":         exp(fmt.Sprintf(`"exp":"%d"`, f.good.ExpiresAt.Unix())),
		"exp a float":          exp(fmt.Sprintf(`"exp":%d.0`, f.good.ExpiresAt.Unix())),
		"exp an exponent":      exp(`"exp":1e12`),
		"exp huge":             exp(`"exp":9223372036854775807`),
		"exp too huge":         exp(`"exp":92233720368547758070`),
		"exp negative":         exp(`"exp":-1`),
		"exp null":             exp(`"exp":null`),
		"exp later":            exp(fmt.Sprintf(`"exp":%d`, f.good.ExpiresAt.Unix()+1)),
		"exp missing":          exp(`"nope":1`),
		"exp twice":            with(`"exp":9999999999`),
		"EXP beside exp":       with(`"EXP":9999999999`),
		"iss other":            f.replaced(f.payload, `"iss":"keeper"`, `"iss":"Keeper"`),
		"iss a list":           f.replaced(f.payload, `"iss":"keeper"`, `"iss":["keeper"]`),
		"iss missing":          f.replaced(f.payload, `"iss":"keeper",`, ``),
		"sub other agent":      f.replaced(f.payload, `"sub":"agent"`, `"sub":"other"`),
		"sub unknown":          f.replaced(f.payload, `"sub":"agent"`, `"sub":"unknown"`),
		"sub twice":            with(`"sub":"other"`),
		"sub in other case":    f.replaced(f.payload, `"sub":"agent"`, `"sub":"Agent"`),
		"scopes wider":         f.replaced(f.payload, `"openai:chat"`, `"*"`),
		"scopes more":          f.replaced(f.payload, `"openai:chat"`, `"*","openai:chat"`),
		"scopes fewer":         f.replaced(f.payload, `"openai:chat"`, ``),
		"scopes a string":      f.replaced(f.payload, `["openai:chat"]`, `"openai:chat"`),
		"scopes null":          f.replaced(f.payload, `["openai:chat"]`, `null`),
		"scopes twice":         with(`"scopes":["*"]`),
		"jti missing":          f.replaced(f.payload, jti, ``),
		"jti empty":            f.replaced(f.payload, jti, `,"jti":""`),
		"jti unknown":          f.replaced(f.payload, jti, `,"jti":"UNKNOWN"`),
		"jti a number":         f.replaced(f.payload, jti, `,"jti":1`),
		"nbf future":           with(`"nbf":99999999999`),
		"nbf past":             with(`"nbf":1`),
		"aud":                  with(`"aud":"keeper"`),
		"unknown claim":        with(`"admin":true`),
		"white space":          strings.Replace(f.payload, ":", ": ", 1),
		"something after":      f.payload + f.payload,
		"escaped letters":      f.replaced(f.payload, `"sub":"agent"`, `"sub":"\u0061gent"`),
		"no JSON":              "payload",
		"a list":               "[]",
		"null":                 "null",
		"empty":                "",
		"name in broken UTF-8": f.replaced(f.payload, `"name":"agent"`, "\"name\":\"\xff\""),
	} {
		f.refused(name, f.sign(f.key, f.header, payload))
	}
	f.check()
}

func TestATokenOfAnotherKeeperDoesNotPass(t *testing.T) {
	ours, theirs := authtest.Open(t, nil), authtest.Open(t, nil)
	ours.Token(t, "agent", "openai:chat")
	wantVerdict(t, ours, theirs.Token(t, "agent", "openai:chat").Token, auth.ErrTokenInvalid)

	// Even with the same keys, a token must have been issued here.
	twin := authtest.OpenOn(t, authtest.NewStore(), ours.Keys, nil)
	wantVerdict(t, ours, twin.Token(t, "agent", "openai:chat").Token, auth.ErrTokenInvalid)
}

func TestOnlyTheShapeOfATokenLooksLikeOne(t *testing.T) {
	good := authtest.Open(t, nil).Token(t, "agent").Token
	for raw, want := range map[string]bool{
		good: true, "eyJ.a.b": true, "eyJhbGciOiJub25lIn0.e30.c2ln": true,
		"": false, "eyJ..b": false, ".eyJ.b": false, "eyJ.a.": false, "eyJ.a": false, "eyJ.a.b.c": false,
		"abc.def.ghi": false, "eyJ.a.b=": false, "eyJ.a b.c": false, "eyJ.a.é": false,
		"eyJ.a." + strings.Repeat("b", 8<<10-6): true, "eyJ.a." + strings.Repeat("b", 8<<10-5): false,
	} {
		if got := auth.LooksLikeToken(raw); got != want {
			t.Errorf("%.40q (%d bytes): got %v, want %v", raw, len(raw), got, want)
		}
	}
}

// FuzzNothingButTheIssuedTokenVerifies takes a good token, edits it, and
// expects a refusal of whatever is not the token itself.
func FuzzNothingButTheIssuedTokenVerifies(f *testing.F) {
	a := authtest.Open(f, nil)
	good := a.Token(f, "agent", "openai:chat").Token
	f.Add(0, 1, "")
	f.Add(10, 5, "AAAAA")
	f.Add(len(good), 0, ".")
	f.Add(strings.IndexByte(good, '.'), 1, "=.")
	f.Fuzz(func(t *testing.T, at, drop int, insert string) {
		at = min(max(at, 0), len(good))
		drop = min(max(drop, 0), len(good)-at)
		edited := good[:at] + insert + good[at+drop:]
		claims, err := a.Verify(t.Context(), edited)
		if got, want := err == nil && claims.Valid(), edited == good; got != want {
			t.Errorf("edited at %d, %d for %d bytes: verified %v, want %v", at, len(insert), drop, got, want)
		}
	})
}
