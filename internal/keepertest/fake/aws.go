package fake

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// AWS is S3, Bedrock and STS on loopback. It takes what is signed as AWS demands
// and answers as AWS does otherwise. It is safe for concurrent use.
type AWS struct {
	server *httptest.Server

	mu      sync.Mutex
	keys    []AWSKey
	role    string // that the first key may assume, with its external id
	extern  string
	objects map[string][]byte // by path
	calls   []*Request
	assumed int
}

// NewAWS starts it. Close ends it.
func NewAWS(key AWSKey) *AWS {
	a := &AWS{keys: []AWSKey{key}, objects: map[string][]byte{}}
	a.server = httptest.NewServer(http.HandlerFunc(a.serve))
	return a
}

// Close ends the listener.
func (a *AWS) Close() { a.server.Close() }

// URL is the root of a service: "s3", "bedrock" or "sts".
func (a *AWS) URL(service string) string { return a.server.URL + "/" + service }

// Role lets the key assume a role with an external id.
func (a *AWS) Role(arn, externalID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.role, a.extern = arn, externalID
}

// Refuse takes all keys back.
func (a *AWS) Refuse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = nil
}

// Assumed is how often a role was assumed.
func (a *AWS) Assumed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assumed
}

// Keys are all that were made, the first one among them.
func (a *AWS) Keys() []AWSKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.keys)
}

// Object is what is stored under a path, nil for nothing.
func (a *AWS) Object(path string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects[path]
}

// Calls is how many calls arrived.
func (a *AWS) Calls() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

// Last is the latest call.
func (a *AWS) Last() *Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[len(a.calls)-1]
}

func (a *AWS) serve(w http.ResponseWriter, r *http.Request) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	c := &Request{Method: r.Method, Path: path, RawQuery: r.URL.RawQuery, Header: r.Header.Clone(), Body: body}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, c)
	service, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	s, err := VerifySignature(r, body, a.keys, time.Now())
	if err == nil && (s.Service != service || r.Header.Get("X-Amz-Content-Sha256") != hexSum(body)) {
		err = mismatch("it is for another service, or not over the body")
	}
	switch {
	case err != nil:
		code, _, _ := strings.Cut(err.Error(), ":")
		refuseAWS(w, service, code)
	case service == "sts":
		a.assume(w, c, s)
	case service == "s3":
		a.object(w, c, "/"+rest)
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"echo":%q}`, c.Header.Get("X-Echo"))
	}
}

func refuseAWS(w http.ResponseWriter, service, code string) {
	if service == "bedrock" {
		w.Header().Set("X-Amzn-Errortype", code+":http://internal.amazon.com/coral/com.amazon.coral.service/")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(map[string]string{"message": "refused"})
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>refused</Message></Error>", xml.Header, code)
}

// object stores and hands out; a checksum that does not fit is refused.
func (a *AWS) object(w http.ResponseWriter, c *Request, path string) {
	if sum := c.Header.Get("X-Amz-Checksum-Crc32"); sum != "" && sum != CRC32(c.Body) {
		refuseAWS(w, "s3", "BadDigest")
		return
	}
	switch c.Method {
	case http.MethodPut:
		a.objects[path] = c.Body
	case http.MethodGet:
		body, found := a.objects[path]
		if !found {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, "%s<Error><Code>NoSuchKey</Code></Error>", xml.Header)
			return
		}
		w.Write(body)
	}
}

// CRC32 is S3's checksum of that name, in base64.
func CRC32(body []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}

func (a *AWS) assume(w http.ResponseWriter, c *Request, s *Signature) {
	form, _ := url.ParseQuery(string(c.Body))
	if form.Get("Action") != "AssumeRole" || form.Get("Version") != "2011-06-15" || form.Get("RoleArn") != a.role ||
		form.Get("ExternalId") != a.extern || form.Get("RoleSessionName") == "" || s.Key.ID != a.keys[0].ID || a.role == "" {
		refuseAWS(w, "sts", "AccessDenied")
		return
	}
	a.assumed++
	made := NewAWSKey()
	made.ID, made.SessionToken = strings.Replace(made.ID, "AKIA", "ASIA", 1), NewKey("session")+NewKey("session")
	made.ExpiresAt = time.Now().Add(time.Hour).UTC()
	a.keys = append(a.keys, made)
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
		`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration>`+
		`</Credentials></AssumeRoleResult></AssumeRoleResponse>`, made.ID, made.Secret, made.SessionToken, made.ExpiresAt.Format(time.RFC3339))
}
