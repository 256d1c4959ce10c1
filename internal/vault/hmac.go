package vault

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

// macHashes are the hashes of an HMAC. SHA-1 is still sound in one (RFC 2104).
var macHashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

var macEncodings = map[string]func([]byte) string{
	"hex": hex.EncodeToString, "base64": base64.StdEncoding.EncodeToString, "base64url": base64.RawURLEncoding.EncodeToString,
}

// injectHMAC signs the body, and what of the call the definition names.
func injectHMAC(req *http.Request, how *policy.HMACInjection, value secret.Value, now time.Time) error {
	key, err := parseMACKey(value.Expose(), how.HasKeyID())
	if err != nil {
		return err
	}
	newHash, encode := macHashes[how.Algorithm], macEncodings[how.Encoding]
	if newHash == nil || encode == nil {
		return errors.New("the provider's definition does not say how")
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	fill := strings.NewReplacer("{timestamp}", stamp, "{method}", req.Method, "{path}", req.URL.RequestURI(), "{keyId}", key.id)
	before, after, _ := strings.Cut(how.Signs, "{body}")
	mac := hmac.New(newHash, []byte(key.key))
	io.WriteString(mac, fill.Replace(before)) // a hash takes all
	body, err := openBody(req)
	if err != nil {
		return err
	}
	if body != nil {
		defer body.Close()
		if _, err := io.Copy(mac, body); err != nil {
			return errors.New("the body cannot be read again")
		}
	}
	io.WriteString(mac, fill.Replace(after))
	told := strings.NewReplacer("{timestamp}", stamp, "{keyId}", key.id, "{signature}", encode(mac.Sum(nil)))
	for name, template := range how.Headers {
		req.Header.Set(name, told.Replace(template))
	}
	return nil
}
