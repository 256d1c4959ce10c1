package fake

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// s3 keeps objects and gives them out again. The object hello.txt is there from
// the beginning, and says what the scenario wants said.
func (a *answer) s3() {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(a.rec.Path, "/"), "/")
	name, err := url.PathUnescape(key)
	if bucket == "" || err != nil {
		a.fail(http.StatusNotFound)
		return
	}
	switch {
	case a.r.Method == http.MethodPut && name != "":
		a.p.keep(bucket+"/"+name, a.payload)
		a.w.Header().Set("Etag", etag(a.payload))
		a.plain(a.status(), "", nil)
	case a.r.Method == http.MethodDelete && name != "":
		a.p.keep(bucket+"/"+name, nil)
		a.plain(http.StatusNoContent, "", nil)
	case name == "" && a.r.Method == http.MethodGet:
		a.list(bucket)
	case a.r.Method == http.MethodGet || a.r.Method == http.MethodHead:
		a.object(bucket, name)
	default:
		a.fail(http.StatusBadRequest)
	}
}

func etag(object []byte) string {
	sum := md5.Sum(object) // as S3 does; it guards nothing
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (a *answer) object(bucket, name string) {
	body, found := a.p.kept(bucket + "/" + name)
	if !found && name == "hello.txt" {
		body, found = []byte(a.text()), true
	}
	if !found {
		a.fail(http.StatusNotFound)
		return
	}
	a.w.Header().Set("Etag", etag(body))
	a.w.Header().Set("Last-Modified", "Thu, 09 Oct 2025 00:00:00 GMT")
	a.plain(a.status(), "binary/octet-stream", body)
}

func (a *answer) list(bucket string) {
	type content struct {
		Key          string
		LastModified string
		ETag         string
		Size         int
	}
	listing := struct {
		XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Name        string
		IsTruncated bool
		KeyCount    int
		Contents    []content
	}{Name: bucket}
	for _, name := range a.p.objects(bucket) {
		body, _ := a.p.kept(bucket + "/" + name)
		listing.Contents = append(listing.Contents, content{name, "2025-10-09T00:00:00.000Z", etag(body), len(body)})
	}
	listing.KeyCount = len(listing.Contents)
	body, err := xml.Marshal(listing)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a.plain(a.status(), "application/xml", append([]byte(xml.Header), body...))
}

// s3Failure is S3's error document.
func (a *answer) s3Failure(status int, message string) {
	codes := map[int]string{
		http.StatusForbidden: "SignatureDoesNotMatch", http.StatusNotFound: "NoSuchKey", http.StatusBadRequest: "InvalidRequest",
		http.StatusTooManyRequests: "SlowDown",
	}
	code := codes[status]
	if code == "" {
		code = "InternalError"
	}
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: message})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a.plain(status, "application/xml", append([]byte(xml.Header), body...))
}

func (p *Provider) keep(name string, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if body == nil {
		delete(p.stored, name)
		return
	}
	p.stored[name] = body
}

func (p *Provider) kept(name string) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, found := p.stored[name]
	return body, found
}

// objects are the names in a bucket, sorted.
func (p *Provider) objects(bucket string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for path := range p.stored {
		if name, ok := strings.CutPrefix(path, bucket+"/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
