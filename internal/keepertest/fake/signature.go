package fake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"
)

// AWSKey is what AWS knows of a key.
type AWSKey struct {
	ID, Secret, SessionToken string // a token for temporary keys alone
	ExpiresAt                time.Time
}

// AWSCall is a request that bears a signature, as it arrived.
type AWSCall struct {
	Method, Path, RawQuery, Host string // the path escaped, as sent
	Header                       http.Header
	Body                         []byte
}

// Signature is what an Authorization header says, taken apart.
type Signature struct {
	KeyID, Date, Region, Service string
	Signed                       []string
	Hex                          string
}

// ParseSignature reads "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…,
// Signature=…".
func ParseSignature(authorization string) (Signature, error) {
	rest, found := strings.CutPrefix(authorization, "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if !found || len(scope) != 5 || scope[4] != "aws4_request" {
		return Signature{}, errors.New("IncompleteSignature")
	}
	return Signature{scope[0], scope[1], scope[2], scope[3], strings.Split(fields["SignedHeaders"], ";"), fields["Signature"]}, nil
}

// Sign works the signature of a call out, by what AWS writes in "Create a signed
// AWS API request" and, for S3, in "Authenticating Requests: Using the
// Authorization Header". It shares no code with keeper's signer.
func (s Signature) Sign(c AWSCall, secret string) string {
	var headers strings.Builder
	for _, name := range s.Signed {
		value := strings.Join(c.Header.Values(name), ",")
		if name == "host" {
			value = c.Host
		}
		headers.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical := strings.Join([]string{
		c.Method, s.canonicalPath(c.Path), canonicalQuery(c.RawQuery), headers.String(), strings.Join(s.Signed, ";"),
		c.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
	scope := strings.Join([]string{s.Date, s.Region, s.Service, "aws4_request"}, "/")
	digest := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", c.Header.Get("X-Amz-Date"), scope, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, step := range []string{s.Date, s.Region, s.Service, "aws4_request"} {
		key = mac(key, step)
	}
	return hex.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// canonicalPath: S3 takes the object's key encoded once, all others the path as
// sent encoded once more.
func (s Signature) canonicalPath(path string) string {
	if s.Service == "s3" {
		path, _ = url.PathUnescape(path)
	}
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = uriEncode(segments[i])
	}
	return strings.Join(segments, "/")
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, _ = url.QueryUnescape(name)
		value, _ = url.QueryUnescape(value)
		pairs = append(pairs, uriEncode(name)+"="+uriEncode(value))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, "&")
}

func uriEncode(text string) string {
	const hexDigits = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(text) {
		c := text[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out.WriteByte(c)
		} else {
			out.WriteString("%" + string(hexDigits[c>>4]) + string(hexDigits[c&15]))
		}
	}
	return out.String()
}

// Verify returns what the signature is for, or AWS's code of why it is refused.
func (c AWSCall) Verify(keys []AWSKey, now time.Time) (Signature, error) {
	values := c.Header.Values("Authorization")
	if len(values) != 1 {
		return Signature{}, errors.New("MissingAuthenticationToken")
	}
	s, err := ParseSignature(values[0])
	if err != nil {
		return s, err
	}
	at := slices.IndexFunc(keys, func(k AWSKey) bool { return k.ID == s.KeyID })
	if at < 0 {
		return s, errors.New("InvalidClientTokenId")
	}
	key := keys[at]
	signedAt, err := time.Parse("20060102T150405Z", c.Header.Get("X-Amz-Date"))
	switch {
	case err != nil || signedAt.Format("20060102") != s.Date || now.Sub(signedAt).Abs() > 5*time.Minute:
		return s, errors.New("RequestTimeTooSkewed")
	case c.Header.Get("X-Amz-Security-Token") != key.SessionToken || len(c.Header.Values("X-Amz-Security-Token")) > 1:
		return s, errors.New("InvalidClientTokenId")
	case !key.ExpiresAt.IsZero() && now.After(key.ExpiresAt):
		return s, errors.New("ExpiredTokenException")
	}
	for name := range c.Header {
		lower := strings.ToLower(name)
		if (strings.HasPrefix(lower, "x-amz-") || lower == "content-type") && !slices.Contains(s.Signed, lower) {
			return s, errors.New("SignatureDoesNotMatch")
		}
	}
	digest := sha256.Sum256(c.Body)
	if !slices.Contains(s.Signed, "host") || !sort.StringsAreSorted(s.Signed) || c.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(digest[:]) {
		return s, errors.New("SignatureDoesNotMatch")
	}
	if !hmac.Equal([]byte(s.Sign(c, key.Secret)), []byte(s.Hex)) {
		return s, errors.New("SignatureDoesNotMatch")
	}
	return s, nil
}
