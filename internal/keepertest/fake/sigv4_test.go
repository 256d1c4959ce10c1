package fake_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// example is a request that AWS published with its signature.
type example struct {
	method, host, target, body, signature string
	headers                               []string // name, value, …, all signed
	signed                                string
}

// verify judges an example by the key that AWS made up for them.
func (e example) verify(change func(e *example)) (*fake.Signature, error) {
	if change != nil {
		change(&e)
	}
	key := fake.AWSKey{ID: "AKIA" + "IOSFODNN7EXAMPLE", Secret: strings.Join([]string{"wJalrXUtnFEMI", "K7MDENG", "bPxRfiCYEXAMPLEKEY"}, "/")}
	r := httptest.NewRequest(e.method, e.target, strings.NewReader(e.body))
	r.Host = e.host
	r.Header.Set("X-Amz-Date", "20130524T000000Z")
	for i := 0; i < len(e.headers); i += 2 {
		r.Header.Set(e.headers[i], e.headers[i+1])
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key.ID+"/20130524/us-east-1/s3/aws4_request,SignedHeaders="+e.signed+",Signature="+e.signature)
	return fake.VerifySignature(r, []byte(e.body), []fake.AWSKey{key}, time.Date(2013, 5, 24, 0, 1, 0, 0, time.UTC))
}

// chunks are the body of the examples of uploads in chunks: 65 KiB of one letter.
func chunks(first, second, last, trailer string) string {
	return "10000;chunk-signature=" + first + "\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=" + second + "\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=" + last + "\r\n" + trailer + "\r\n"
}

// The examples of "Authenticating Requests: Using the Authorization Header" and of
// the two chapters on uploads in chunks after it in the Amazon S3 API Reference.
func examples() map[string]example {
	const (
		empty  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		bucket = "examplebucket.s3.amazonaws.com"
	)
	upload := []string{"X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "Content-Encoding", "aws-chunked", "X-Amz-Decoded-Content-Length", "66560"}
	return map[string]example{
		"object": {"GET", bucket, "/test.txt", "", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			[]string{"X-Amz-Content-Sha256", empty, "Range", "bytes=0-9"}, "host;range;x-amz-content-sha256;x-amz-date"},
		"put": {"PUT", bucket, "/test%24file.text", "Welcome to Amazon S3.", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			[]string{"X-Amz-Content-Sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "Date", "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class", "REDUCED_REDUNDANCY"},
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class"},
		"lifecycle": {"GET", bucket, "/?lifecycle", "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
			[]string{"X-Amz-Content-Sha256", empty}, "host;x-amz-content-sha256;x-amz-date"},
		"list": {"GET", bucket, "/?max-keys=2&prefix=J", "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
			[]string{"X-Amz-Content-Sha256", empty}, "host;x-amz-content-sha256;x-amz-date"},
		"chunks": {"PUT", "s3.amazonaws.com", "/examplebucket/chunkObject.txt",
			chunks("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
				"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", ""),
			"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
			append([]string{"X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, upload...),
			"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"},
		"chunks with a trailer": {"PUT", "s3.amazonaws.com", "/examplebucket/chunkObject.txt",
			chunks("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
				"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
				"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"),
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
			append([]string{"X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "X-Amz-Trailer", "x-amz-checksum-crc32c"}, upload...),
			"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"},
	}
}

func TestAWSsOwnExamplesVerify(t *testing.T) {
	for name, e := range examples() {
		sig, err := e.verify(nil)
		if err != nil {
			t.Errorf("%s: got %v, want the signature taken", name, err)
			continue
		}
		want := e.body
		if strings.HasPrefix(name, "chunks") {
			want = strings.Repeat("a", 66560)
		}
		if string(sig.Payload) != want {
			t.Errorf("%s: got a body of %d bytes, want %d", name, len(sig.Payload), len(want))
		}
	}
}

func TestAWSsOwnExamplesDoNotVerifyChanged(t *testing.T) {
	for name, c := range map[string]struct {
		example string
		change  func(e *example)
		code    string
	}{
		"method":          {"object", func(e *example) { e.method = "HEAD" }, "SignatureDoesNotMatch"},
		"path":            {"object", func(e *example) { e.target += "x" }, "SignatureDoesNotMatch"},
		"query":           {"list", func(e *example) { e.target += "K" }, "SignatureDoesNotMatch"},
		"signed header":   {"object", func(e *example) { e.headers[3] = "bytes=0-10" }, "SignatureDoesNotMatch"},
		"header unsigned": {"object", func(e *example) { e.headers = append(e.headers, "X-Amz-Acl", "public-read") }, "SignatureDoesNotMatch"},
		"type unsigned":   {"put", func(e *example) { e.headers = append(e.headers, "Content-Type", "text/plain") }, "SignatureDoesNotMatch"},
		"session's token": {"put", func(e *example) {
			e.headers, e.signed = append(e.headers, "X-Amz-Security-Token", "x"), strings.Replace(e.signed, "x-amz-st", "x-amz-security-token;x-amz-st", 1)
		}, "InvalidClientTokenId"},
		"body":                {"put", func(e *example) { e.body += "!" }, "XAmzContentSHA256Mismatch"},
		"another day":         {"object", func(e *example) { e.headers = append(e.headers, "X-Amz-Date", "20130525T000000Z") }, "RequestTimeTooSkewed"},
		"chunk":               {"chunks", func(e *example) { e.body = strings.Replace(e.body, "aaaa", "aaab", 1) }, "SignatureDoesNotMatch"},
		"trailer":             {"chunks with a trailer", func(e *example) { e.body = strings.Replace(e.body, "sOO8", "tOO8", 1) }, "BadDigest"},
		"trailer's signature": {"chunks with a trailer", func(e *example) { e.body = strings.Replace(e.body, "d81f", "d81e", 1) }, "SignatureDoesNotMatch"},
	} {
		e := examples()[c.example]
		if _, err := e.verify(c.change); err == nil || !strings.HasPrefix(err.Error(), c.code+":") {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
	}
}
