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

// AWSKey is what AWS knows of a key.
type AWSKey struct {
	ID, Secret, SessionToken string    // a token for temporary keys alone
	ExpiresAt                time.Time // zero for never
}

// NewAWSKey makes a random key.
func NewAWSKey() AWSKey { return awsKey(NewKey("aws-s3")) }

// awsKey takes a vendor's key, "id:secret", apart.
func awsKey(text string) AWSKey {
	id, secret, _ := strings.Cut(text, ":")
	return AWSKey{ID: id, Secret: secret}
}

// clockSkew is by how much the time of a signature may be off.
const clockSkew = 5 * time.Minute

// Signature is an Authorization header of AWS's Signature Version 4
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
// It shares no code with keeper's signer.
type Signature struct {
	Key             AWSKey // that it was made with
	Region, Service string
	Payload         []byte // the body as the service takes it: without the chunks of an upload

	keyID, date string
	headers     []string // signed, in their order
	value       string   // hex
	time        string   // x-amz-date
	signingKey  []byte   // of that day
}

// VerifySignature returns what a request with that body is signed for, by one of
// keys. An error begins with AWS's code for it and a colon, and quotes nothing.
func VerifySignature(r *http.Request, body []byte, keys []AWSKey, now time.Time) (*Signature, error) {
	sig, err := parseSignature(r.Header)
	if err != nil {
		return nil, err
	}
	if err := sig.find(r.Header, keys, now); err != nil {
		return nil, err
	}
	sum, err := sig.payloadHash(r, body)
	if err != nil {
		return nil, err
	}
	canonical, err := sig.canonical(r, sum)
	if err != nil {
		return nil, err
	}
	if sig.sign("AWS4-HMAC-SHA256", hexSum([]byte(canonical))) != sig.value {
		return nil, mismatch("it is another one than the request's")
	}
	if sig.Payload, err = sig.unchunked(r, body, sum); err != nil {
		return nil, err
	}
	return sig, nil
}

// mismatch is AWS's error of a signature that does not fit what arrived.
func mismatch(why string) error { return errors.New("SignatureDoesNotMatch: " + why) }

func parseSignature(h http.Header) (*Signature, error) {
	fields, ok := strings.CutPrefix(h.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok || len(h.Values("Authorization")) != 1 {
		return nil, errors.New("MissingAuthenticationToken: there is no signature, or more than one")
	}
	given := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		given[name] = value
	}
	credential := strings.Split(given["Credential"], "/")
	if len(credential) != 5 || credential[4] != "aws4_request" {
		return nil, errors.New("IncompleteSignature: its scope is malformed")
	}
	sig := &Signature{
		keyID: credential[0], date: credential[1], Region: credential[2], Service: credential[3],
		headers: strings.Split(given["SignedHeaders"], ";"), value: given["Signature"], time: h.Get("X-Amz-Date"),
	}
	if !slices.Contains(sig.headers, "host") || !slices.IsSorted(sig.headers) {
		return nil, mismatch("host is not signed, or the headers are not in order")
	}
	for name := range h {
		lower := strings.ToLower(name)
		if (strings.HasPrefix(lower, "x-amz-") || lower == "content-type") && !slices.Contains(sig.headers, lower) {
			return nil, mismatch("the header " + lower + " is not signed")
		}
	}
	return sig, nil
}

// find looks for the key that the signature names, as it is at that time.
func (s *Signature) find(h http.Header, keys []AWSKey, now time.Time) error {
	at := slices.IndexFunc(keys, func(k AWSKey) bool { return k.ID == s.keyID })
	if at < 0 {
		return errors.New("InvalidClientTokenId: the access key is not known")
	}
	s.Key = keys[at]
	signedAt, err := time.Parse("20060102T150405Z", s.time)
	switch tokens := h.Values("X-Amz-Security-Token"); {
	case err != nil || s.date != signedAt.Format("20060102") || now.Sub(signedAt).Abs() > clockSkew:
		return errors.New("RequestTimeTooSkewed: the signature's time is not now")
	case len(tokens) > 1 || strings.Join(tokens, "") != s.Key.SessionToken:
		return errors.New("InvalidClientTokenId: the session token is not the key's")
	case !s.Key.ExpiresAt.IsZero() && now.After(s.Key.ExpiresAt):
		return errors.New("ExpiredTokenException: the key has expired")
	}
	s.signingKey = []byte("AWS4" + s.Key.Secret)
	for _, step := range []string{s.date, s.Region, s.Service, "aws4_request"} {
		s.signingKey = hmacOf(s.signingKey, step)
	}
	return nil
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

func (s *Signature) scope() string {
	return s.date + "/" + s.Region + "/" + s.Service + "/aws4_request"
}

// sign signs lines under the algorithm's name, the time and the scope.
func (s *Signature) sign(algorithm string, lines ...string) string {
	text := strings.Join(append([]string{algorithm, s.time, s.scope()}, lines...), "\n")
	return hex.EncodeToString(hmacOf(s.signingKey, text))
}

// canonical is the request as it is signed.
func (s *Signature) canonical(r *http.Request, payload string) (string, error) {
	raw, query, _ := strings.Cut(r.RequestURI, "?")
	path := raw
	if s.Service == "s3" { // S3 signs the path once encoded, all others the encoded one encoded again
		plain, err := url.PathUnescape(raw)
		if err != nil {
			return "", errors.New("InvalidURI: the path is malformed")
		}
		path = plain
	}
	lines := []string{r.Method, awsEscape(path, true), sortedQuery(query)}
	for _, name := range s.headers {
		values := slices.Clone(r.Header.Values(name))
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		if len(values) == 0 {
			return "", mismatch("the signed header " + name + " is missing")
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
func (s *Signature) payloadHash(r *http.Request, body []byte) (string, error) {
	given := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case given == "" && s.Service != "s3":
		return hexSum(body), nil
	case given == "UNSIGNED-PAYLOAD", strings.HasPrefix(given, streaming):
		return given, nil
	case given != hexSum(body):
		return "", errors.New("XAmzContentSHA256Mismatch: the body is not what x-amz-content-sha256 says")
	}
	return given, nil
}

// unchunked takes the chunks of an upload apart, and verifies their signatures
// and their trailer's checksum
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// sigv4-streaming-trailers.html there).
func (s *Signature) unchunked(r *http.Request, body []byte, sum string) ([]byte, error) {
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
		return nil, errors.New("IncompleteBody: x-amz-decoded-content-length is not the length of the chunks")
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
	sig     *Signature
	rest    []byte
	before  string // the signature before
	signed  bool
	payload []byte
}

var errChunk = errors.New("IncompleteBody: a chunk of the body is malformed")

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
			return nil, mismatch("a chunk's is another one")
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
		return errors.New("MalformedTrailerError: the trailer is not the one that was announced")
	}
	if _, err := io.Copy(sum, bytes.NewReader(c.payload)); err != nil || base64.StdEncoding.EncodeToString(sum.Sum(nil)) != strings.TrimSpace(value) {
		return errors.New("BadDigest: the trailer's checksum does not match")
	}
	if !c.signed {
		return nil
	}
	last, err := c.line()
	if err != nil || last != "x-amz-trailer-signature:"+c.sig.sign("AWS4-HMAC-SHA256-TRAILER", c.before, hexSum([]byte(given+":"+value+"\n"))) {
		return mismatch("the trailer's is another one")
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
