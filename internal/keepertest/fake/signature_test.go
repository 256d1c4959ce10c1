package fake_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// The examples of "Authenticating Requests: Using the Authorization Header" in the
// Amazon S3 API Reference, with the key that AWS made up for them.
func TestSignaturesOfAWSsOwnExamplesComeOut(t *testing.T) {
	secret := strings.Join([]string{"wJalrXUtnFEMI", "K7MDENG", "bPxRfiCYEXAMPLEKEY"}, "/")
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for want, c := range map[string]struct {
		path, query string
		extra       []string
	}{
		"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41": {"/test.txt", "", []string{"range", "bytes=0-9"}},
		"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543": {"/", "lifecycle", nil},
		"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7": {"/", "max-keys=2&prefix=J", nil},
	} {
		header := http.Header{"X-Amz-Content-Sha256": {empty}, "X-Amz-Date": {"20130524T000000Z"}}
		signed := []string{"host", "x-amz-content-sha256", "x-amz-date"}
		if c.extra != nil {
			header.Set(c.extra[0], c.extra[1])
			signed = []string{"host", c.extra[0], "x-amz-content-sha256", "x-amz-date"}
		}
		s := fake.Signature{Date: "20130524", Region: "us-east-1", Service: "s3", Signed: signed}
		call := fake.AWSCall{Method: "GET", Path: c.path, RawQuery: c.query, Host: "examplebucket.s3.amazonaws.com", Header: header}
		if got := s.Sign(call, secret); got != want {
			t.Errorf("%s?%s: got %s, want %s", c.path, c.query, got, want)
		}
	}
}
