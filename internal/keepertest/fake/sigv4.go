package fake

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockSkew is by how much the time of a signature may be off.
const clockSkew = 15 * time.Minute

// signature is an Authorization header of AWS's Signature Version 4
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
type signature struct {
	keyID, date, region, service string
	headers                      []string // signed, in their order
	value                        string   // hex
	time                         string   // x-amz-date
	key                          []byte   // for signing, of that day
}

// signed verifies that one of keys ("id:secret") signed the request, for the
// service. It returns that key, and the body as the service takes it: without
// the chunks of an upload. An error says what is wrong and quotes nothing.
func signed(r *http.Request, body []byte, service string, keys []string) (key string, payload []byte, err error) {
	sig, err := parseSignature(r.Header)
	if err != nil {
		return "", nil, err
	}
	if sig.service != service {
		return "", nil, fmt.Errorf("signed for %s, want %s", sig.service, service)
	}
	at, err := time.Parse("20060102T150405Z", sig.time)
	if err != nil || sig.date != sig.time[:8] || time.Since(at).Abs() > clockSkew {
		return "", nil, errors.New("the signature's time is not now")
	}
	for _, key = range keys {
		if id, secret, ok := strings.Cut(key, ":"); ok && id == sig.keyID {
			sig.key = sig.signingKey(secret)
			break
		}
	}
	if sig.key == nil {
		return "", nil, errors.New("the access key is not known")
	}
	sum, err := payloadHash(r, body, service)
	if err != nil {
		return "", nil, err
	}
	canonical, err := sig.canonical(r, sum)
	if err != nil {
		return "", nil, err
	}
	if sig.sign("AWS4-HMAC-SHA256", hexSum([]byte(canonical))) != sig.value {
		return "", nil, errors.New("the signature does not match")
	}
	if payload, err = sig.unchunked(r, body, sum); err != nil {
		return "", nil, err
	}
	return key, payload, nil
}

func parseSignature(h http.Header) (*signature, error) {
	fields, ok := strings.CutPrefix(h.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok || len(h.Values("Authorization")) != 1 {
		return nil, errors.New("there is no signature")
	}
	given := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		given[name] = value
	}
	credential := strings.Split(given["Credential"], "/")
	if len(credential) != 5 || credential[4] != "aws4_request" {
		return nil, errors.New("the signature's scope is malformed")
	}
	sig := &signature{
		keyID: credential[0], date: credential[1], region: credential[2], service: credential[3],
		headers: strings.Split(given["SignedHeaders"], ";"), value: given["Signature"], time: h.Get("X-Amz-Date"),
	}
	if !slices.Contains(sig.headers, "host") || len(sig.time) < 8 {
		return nil, errors.New("host is not signed, or there is no date")
	}
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(sig.headers, name) {
			return nil, fmt.Errorf("the header %s is not signed", name)
		}
	}
	return sig, nil
}

func hmacOf(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hexSum(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

func (s *signature) signingKey(secret string) []byte {
	return hmacOf(hmacOf(hmacOf(hmacOf([]byte("AWS4"+secret), s.date), s.region), s.service), "aws4_request")
}

func (s *signature) scope() string {
	return s.date + "/" + s.region + "/" + s.service + "/aws4_request"
}

// sign signs lines under the algorithm's name, the time and the scope.
func (s *signature) sign(algorithm string, lines ...string) string {
	text := strings.Join(append([]string{algorithm, s.time, s.scope()}, lines...), "\n")
	return hex.EncodeToString(hmacOf(s.key, text))
}

// canonical is the request as it is signed.
func (s *signature) canonical(r *http.Request, payload string) (string, error) {
	raw, query, _ := strings.Cut(r.RequestURI, "?")
	path := raw
	if s.service == "s3" { // S3 signs the path once encoded, all others the encoded one encoded again
		plain, err := url.PathUnescape(raw)
		if err != nil {
			return "", errors.New("the path is malformed")
		}
		path = plain
	}
	lines := []string{r.Method, awsEscape(path, true), sortedQuery(query)}
	for _, name := range s.headers {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		if len(values) == 0 {
			return "", fmt.Errorf("the signed header %s is missing", name)
		}
		for i, value := range values {
			values[i] = strings.Join(strings.Fields(value), " ")
		}
		lines = append(lines, name+":"+strings.Join(values, ","))
	}
	return strings.Join(append(lines, "", strings.Join(s.headers, ";"), payload), "\n"), nil
}

func sortedQuery(raw string) string {
	var pairs []string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		plainName, _ := url.QueryUnescape(name) // what does not decode does not match either
		plainValue, _ := url.QueryUnescape(value)
		pairs = append(pairs, awsEscape(plainName, false)+"="+awsEscape(plainValue, false))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// awsEscape leaves nothing but the unreserved characters of RFC 3986, and
// slashes in paths.
func awsEscape(text string, path bool) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		if strings.IndexByte(base62+"-._~", b) >= 0 || path && b == '/' {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

const streaming = "STREAMING-"

// payloadHash is what stands for the body in the canonical request. A hash that
// is given must be the body's.
func payloadHash(r *http.Request, body []byte, service string) (string, error) {
	given := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case given == "" && service != "s3":
		return hexSum(body), nil
	case given == "UNSIGNED-PAYLOAD", strings.HasPrefix(given, streaming):
		return given, nil
	case given != hexSum(body):
		return "", errors.New("the body is not what x-amz-content-sha256 says")
	}
	return given, nil
}

// unchunked takes the chunks of an upload apart, and verifies their signatures
// and their trailer's checksum
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// sigv4-streaming-trailers.html there).
func (s *signature) unchunked(r *http.Request, body []byte, sum string) ([]byte, error) {
	if !strings.HasPrefix(sum, streaming) {
		return body, nil
	}
	chunks := &chunked{sig: s, rest: body, before: s.value, signed: strings.HasPrefix(sum, streaming+"AWS4-HMAC-SHA256-PAYLOAD")}
	for {
		data, err := chunks.next()
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			break
		}
		chunks.payload = append(chunks.payload, data...)
	}
	if declared := r.Header.Get("X-Amz-Decoded-Content-Length"); declared != strconv.Itoa(len(chunks.payload)) {
		return nil, errors.New("x-amz-decoded-content-length is not the length of the chunks")
	}
	if strings.HasSuffix(sum, "-TRAILER") {
		if err := chunks.trailer(r.Header.Get("X-Amz-Trailer")); err != nil {
			return nil, err
		}
	}
	return chunks.payload, nil
}

// chunked is an aws-chunked body on its way through.
type chunked struct {
	sig     *signature
	rest    []byte
	before  string // the signature before
	signed  bool
	payload []byte
}

var errChunk = errors.New("a chunk of the body is malformed")

func (c *chunked) line() (string, error) {
	at := bytes.Index(c.rest, []byte("\r\n"))
	if at < 0 {
		return "", errChunk
	}
	line := string(c.rest[:at])
	c.rest = c.rest[at+2:]
	return line, nil
}

// next returns a chunk's data; the last has none.
func (c *chunked) next() ([]byte, error) {
	head, err := c.line()
	if err != nil {
		return nil, err
	}
	length, extension, _ := strings.Cut(head, ";")
	n, err := strconv.ParseUint(length, 16, 31)
	if err != nil || uint64(len(c.rest)) < n {
		return nil, errChunk
	}
	data := c.rest[:n]
	c.rest = c.rest[n:]
	if c.signed {
		want := c.sig.sign("AWS4-HMAC-SHA256-PAYLOAD", c.before, hexSum(nil), hexSum(data))
		if extension != "chunk-signature="+want {
			return nil, errors.New("a chunk's signature does not match")
		}
		c.before = want
	}
	if n > 0 {
		if end, err := c.line(); err != nil || end != "" {
			return nil, errChunk
		}
	}
	return data, nil
}

// trailer verifies the checksum that a trailer of that name holds and, where the
// chunks are signed, the trailer's own signature.
func (c *chunked) trailer(name string) error {
	line, err := c.line()
	if err != nil {
		return err
	}
	given, value, _ := strings.Cut(line, ":")
	sum := checksum(strings.ToLower(name))
	if sum == nil || !strings.EqualFold(given, name) {
		return errors.New("the trailer is not the one that was announced")
	}
	if _, err := io.Copy(sum, bytes.NewReader(c.payload)); err != nil || base64.StdEncoding.EncodeToString(sum.Sum(nil)) != strings.TrimSpace(value) {
		return errors.New("the trailer's checksum does not match")
	}
	if !c.signed {
		return nil
	}
	last, err := c.line()
	if err != nil || last != "x-amz-trailer-signature:"+c.sig.sign("AWS4-HMAC-SHA256-TRAILER", c.before, hexSum([]byte(given+":"+value+"\n"))) {
		return errors.New("the trailer's signature does not match")
	}
	return nil
}

func checksum(name string) hash.Hash {
	switch strings.TrimPrefix(name, "x-amz-checksum-") {
	case "crc32":
		return crc32.NewIEEE()
	case "crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "crc64nvme":
		return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5))
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	}
	return nil
}
