package keepertest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// sign puts a signature of AWS's version 4 on a request without a query, whose
// path needs no escaping.
func sign(r *http.Request, key, service, payload string, now time.Time) {
	id, secret, _ := strings.Cut(key, ":")
	stamp := now.UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	canonical := strings.Join([]string{
		r.Method, r.URL.Path, "", "host:" + r.URL.Host, "x-amz-content-sha256:" + payload, "x-amz-date:" + stamp, "",
		"host;x-amz-content-sha256;x-amz-date", payload,
	}, "\n")
	scope := stamp[:8] + "/eu-west-1/" + service + "/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	derived := []byte("AWS4" + secret)
	for _, text := range []string{stamp[:8], "eu-west-1", service, "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		m := hmac.New(sha256.New, derived)
		m.Write([]byte(text))
		derived = m.Sum(nil)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+id+"/"+scope+", SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="+hex.EncodeToString(derived))
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestProviderTakesAnAWSCallOnlyWithItsOwnSignature(t *testing.T) {
	p := keepertest.NewProvider(t)
	const hello = `{"messages":[]}`
	now := time.Now()
	for name, c := range map[string]struct {
		vendor, method, path, body string
		sign                       func(r *http.Request, key string)
		status                     int
	}{
		"bedrock":           {"aws-bedrock", "POST", "/model/m/converse", hello, func(r *http.Request, key string) { sign(r, key, "bedrock", hashOf(hello), now) }, 200},
		"s3":                {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, key string) { sign(r, key, "s3", hashOf("x"), now) }, 200},
		"s3, unsigned body": {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, key string) { sign(r, key, "s3", "UNSIGNED-PAYLOAD", now) }, 200},
		"no signature":      {"aws-s3", "GET", "/b/hello.txt", "", func(*http.Request, string) {}, 403},
		"another secret":    {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, key string) { sign(r, key+"x", "s3", hashOf("x"), now) }, 403},
		"another key":       {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, _ string) { sign(r, fake.NewKey("aws-s3"), "s3", hashOf("x"), now) }, 403},
		"another body":      {"aws-s3", "PUT", "/b/k", "y", func(r *http.Request, key string) { sign(r, key, "s3", hashOf("x"), now) }, 403},
		"another service":   {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, key string) { sign(r, key, "bedrock", hashOf("x"), now) }, 403},
		"another time":      {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, key string) { sign(r, key, "s3", hashOf("x"), now.Add(-time.Hour)) }, 403},
		"a header beside it": {"aws-s3", "PUT", "/b/k", "x", func(r *http.Request, key string) {
			sign(r, key, "s3", hashOf("x"), now)
			r.Header.Set("X-Amz-Acl", "public-read")
		}, 403},
		"a bad chunk": {"aws-s3", "PUT", "/b/k", "1;chunk-signature=00\r\nx\r\n0\r\n", func(r *http.Request, key string) {
			sign(r, key, "s3", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", now)
		}, 403},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, p.URL(c.vendor)+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		c.sign(r, p.Key(c.vendor))
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status {
			t.Errorf("%s: got %d %s (%s) and %v, want %d", name, res.StatusCode, body, p.Last().Refused, err, c.status)
		}
	}
}
