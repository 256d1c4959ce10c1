package vault_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// pemOf is a PEM block of random bytes in lines of that length.
// tells reports whether a short last line surely is a telling part: one run, with digits
// enough to be no word. Without, it may pass by itself.
func tells(tail []byte) bool {
	line := base64.StdEncoding.EncodeToString(tail)
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, line)
	return len(digits) >= 6 && !strings.ContainsAny(line, "+/")
}

func pemOf(label string, size, line int) (block string, lines []string) {
	body := make([]byte, size)
	rand.Read(body)
	for !tells(body[size-size%48:]) {
		rand.Read(body[size-size%48:])
	}
	for rest := base64.StdEncoding.EncodeToString(body); rest != ""; rest = rest[min(line, len(rest)):] {
		lines = append(lines, rest[:min(line, len(rest))])
	}
	return "-----BEGIN " + label + "-----\n" + strings.Join(lines, "\n") + "\n-----END " + label + "-----\n", lines
}

func TestStructuredValueIsFoundByItsTellingPartsAndNoOthers(t *testing.T) {
	key, id := rand.Text(), rand.Text()[:12]
	private, privateLines := pemOf("PRIVATE KEY", 300, 64)
	certificate, certificateLines := pemOf("CERTIFICATE", 300, 64)
	document, _ := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "proj-" + id, "private_key_id": id + id, "private_key": private,
		"client_email": "robot@proj-" + id + ".iam.gserviceaccount.com", "client_id": "104857600011122233344",
		"token_uri": "https://oauth2.example.com/token", "client_x509_cert_url": "https://www.example.com/x509/robot%40proj-" + id,
	})
	serviceAccount := []string{
		"service_account", "proj-" + id, id + id, "robot@proj-" + id + ".iam.gserviceaccount.com", "104857600011122233344",
		"https://oauth2.example.com/token", "private_key", "client_email", "https://www.example.com/x509/robot%40proj-" + id,
	}
	for name, c := range map[string]struct {
		value         string
		telling, free []string
	}{
		"plain":                  {key, []string{key, "a" + key + "b", "/" + key + "="}, nil},
		"8 characters":           {"Zq7k" + key[:4], []string{"Zq7k" + key[:4], "ab-Zq7k" + key[:4] + "-cd"}, []string{"Zq7k" + key[:3]}},
		"punctuation":            {"p$!" + key + "#x", []string{"p$!" + key + "#x", key, "<" + key + ">"}, []string{"p$!", "#x"}},
		"spaces":                 {"the key is " + key, []string{key}, []string{"the key is"}},
		"words around a key":     {"password-for-production:" + key, []string{key}, []string{"password-for-production"}},
		"at sign":                {key + "@" + strings.ToLower(key), []string{key, strings.ToLower(key)}, nil},
		"name, password at host": {"postgres:" + key + "@db.example.com", []string{key}, []string{"db.example.com", "postgres"}},
		"database URL": {
			"postgres://keeper:" + key + "@db-7.internal.example.com:5432/production?sslmode=require",
			[]string{key},
			[]string{"postgres", "db-7.internal.example.com", "production", "sslmode=require", "keeper", "postgres://db-7.internal.example.com:5432/production"},
		},
		"user of a URL":         {"postgres://u" + id + ":" + key + "@db.example.com/x", []string{key}, []string{"u" + id}},
		"token as user":         {"https://" + key + ":x-oauth-basic@git.example.com/a/b.git", []string{key}, []string{"git.example.com", "x-oauth-basic"}},
		"several hosts":         {"mongodb://app:" + key + "@a.example.com:27017,b.example.com:27017/shop?replicaSet=main", []string{key}, []string{"a.example.com:27017", "replicaSet=main"}},
		"unencoded password":    {"postgres://u" + id + ":" + key + "/%zz@db.example.com/orders-" + id[:4], []string{key + "/", key + "/%zz"}, []string{"u" + id, "db.example.com"}},
		"encoded password":      {"mysql://root:" + key + "%40%2F!@mysql.example.com/shop", []string{key + "@/!", key + "%40%2f!", key}, []string{"mysql.example.com"}},
		"signature in a query":  {"https://api.example.com/run?user=u" + id + "&sig=" + key + "%2B" + key, []string{key + "+" + key}, []string{"api.example.com", "u" + id}},
		"webhook":               {"https://hooks.example.com/services/T0" + id[:8] + "/" + key, []string{key}, []string{"https://hooks.example.com/services/", "T0" + id[:8]}},
		"name, password":        {id + "@example.com:" + key, []string{key}, []string{id + "@example.com", "example.com"}},
		"key pair":              {"AKIA" + key[:16] + ":" + key + "/" + key, []string{"AKIA" + key[:16], key + "/" + key}, nil},
		"bearer":                {"Bearer " + key, []string{key}, []string{"Bearer"}},
		"fields":                {"Server=tcp:sql.example.com;User Id=u" + id + ";Password=" + key + ";Encrypt=true", []string{key}, []string{"u" + id, "sql.example.com", "Password"}},
		"account":               {"DefaultEndpointsProtocol=https;AccountName=a" + id + ";AccountKey=" + key + "==;EndpointSuffix=core.windows.net", []string{key + "=="}, []string{"a" + id, "core.windows.net"}},
		"block":                 {private, append(privateLines, strings.Join(privateLines, "")), []string{"-----BEGIN PRIVATE KEY-----", "PRIVATE"}},
		"block on one line":     {strings.ReplaceAll(private, "\n", `\n`), privateLines, nil},
		"block of spaces":       {strings.ReplaceAll(private, "\n", " "), privateLines, nil},
		"block and certificate": {certificate + private, privateLines, certificateLines},
		"certificate alone":     {certificate, certificateLines, nil},
		"service account":       {string(document), privateLines, serviceAccount},
		"in base64":             {base64.StdEncoding.EncodeToString(document), privateLines, serviceAccount},
		"JSON Web Key":          {`{"kty":"OKP","crv":"Ed25519","x":"` + key + `","d":"` + strings.ToLower(key) + `"}`, []string{strings.ToLower(key)}, []string{key}},
		"public names alone":    {`{"client_id":"` + key + `"}`, []string{key}, nil},
		"URL in a public field": {`{"endpoint":"amqp://app:` + key + `@mq.example.com","token":"` + strings.ToLower(key) + `"}`, []string{key, strings.ToLower(key)}, []string{"mq.example.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := knowing(c.value)
			for i, text := range c.telling {
				if hits := matches(m, "x "+text+" y"); len(hits) != 1 {
					t.Errorf("part %d of %d: got hits %v, want one", i+1, len(c.telling), hits)
				}
			}
			for _, text := range c.free {
				if hits := matches(m, "x "+text+" y"); len(hits) > 0 {
					t.Errorf("%q: got hits %v, want none", text, hits)
				}
			}
		})
	}
}

func TestStructuredValueIsCoveredWhole(t *testing.T) {
	value := "postgres://keeper:" + rand.Text() + "@db.example.com/production"
	got := matches(knowing(value), "url: "+value+".")
	want := []hit{{5, 5 + len(value), "vault:p"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
