// Package dashboard serves the files of the dashboard, which talks to the same
// JSON routes as everybody. Its one invariant: what it serves was built in; nothing
// of a request's, an agent's or a provider's is in it, and browsers are told to run
// nothing else. It imports nothing of keeper's.
package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
)

// Prefix is where the files are.
const Prefix = "/dashboard/"

const index = "index.html"

// brotliLevel makes files a fifteenth larger than the highest does, in a fraction of the
// time, for which whoever opens the dashboard first waits.
const brotliLevel = 6

//go:embed all:static
var static embed.FS

// headers are those of every answer. There is no inline code and no inline style, so
// that what an agent calls itself could not run even where it became markup.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

// types are the media types of files by their names' ends: a machine's own table may
// say otherwise.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2",
	".json": "application/json", ".webmanifest": "application/manifest+json", ".txt": "text/plain; charset=utf-8", ".map": "application/json",
}

// hashed tells names that change with what is in the file.
var hashed = regexp.MustCompile(`[.-][0-9a-f]{8,64}\.[a-z0-9]+$`)

// Files is the dashboard's files. It is safe for concurrent use.
type Files struct{ byName map[string]*file }

// file is one, with the forms in which it goes, which are made when they are first
// asked for.
type file struct {
	plain   []byte
	media   string
	tag     string // without quotes
	cache   string
	gzipped func() []byte // nil where it is no smaller
	brotli  func() []byte
}

// New reads the files that were built in.
func New() (*Files, error) {
	built, err := fs.Sub(static, "static")
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	return Of(built)
}

// Of serves the files of a folder, which must have an index.html.
func Of(folder fs.FS) (*Files, error) {
	all := &Files{byName: map[string]*file{}}
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		plain, err := fs.ReadFile(folder, name)
		if err == nil {
			all.byName[name] = newFile(name, plain)
		}
		return err
	})
	if err == nil && all.byName[index] == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	return all, nil
}

func newFile(name string, plain []byte) *file {
	sum := sha256.Sum256(plain)
	f := &file{plain: plain, media: types[path.Ext(name)], tag: base64.RawURLEncoding.EncodeToString(sum[:16]), cache: "no-cache"}
	if f.media == "" {
		f.media = "application/octet-stream"
	}
	if hashed.MatchString(name) {
		f.cache = "public, max-age=31536000, immutable"
	}
	f.gzipped = sync.OnceValue(func() []byte { return f.smaller(gzipped(plain)) })
	f.brotli = sync.OnceValue(func() []byte { return f.smaller(brotlied(plain)) })
	return f
}

func gzipped(plain []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil
	}
	w.Write(plain) // a buffer takes all
	w.Close()
	return out.Bytes()
}

func brotlied(plain []byte) []byte {
	var out bytes.Buffer
	w := brotli.NewWriterLevel(&out, brotliLevel)
	w.Write(plain) // a buffer takes all
	w.Close()
	return out.Bytes()
}

// smaller is a form of the file, or nil where it saves nothing.
func (f *file) smaller(form []byte) []byte {
	if len(form) >= len(f.plain) {
		return nil
	}
	return form
}

// ServeHTTP serves the file of the name behind Prefix. A name without an ending is one
// of the dashboard's own pages, all of which are index.html.
func (s *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the dashboard's files are only read", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, Prefix)
	if path.Ext(name) == "" {
		name = index
	}
	one := s.byName[name]
	if one == nil {
		http.Error(w, "the dashboard has no such file", http.StatusNotFound)
		return
	}
	one.serve(w, r)
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	body, encoding := f.form(r.Header.Get("Accept-Encoding"))
	tag := `"` + f.tag + `"`
	if encoding != "" {
		tag = `"` + f.tag + "-" + encoding + `"`
	}
	h := w.Header()
	h.Set("Cache-Control", f.cache)
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.media)
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		w.Write(body) // who has gone needs no answer
	}
}

// form is the smallest form that the client takes, and its name; empty: as it is.
func (f *file) form(accepted string) (body []byte, encoding string) {
	for _, one := range []struct {
		name string
		form func() []byte
	}{{"br", f.brotli}, {"gzip", f.gzipped}} {
		if !accepts(accepted, one.name) {
			continue
		}
		if body := one.form(); body != nil {
			return body, one.name
		}
	}
	return f.plain, ""
}

// accepts reports whether an Accept-Encoding names the coding, and not with q=0.
func accepts(header, coding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err == nil && name == coding {
			return strings.Trim(params["q"], "0.") != "" || params["q"] == ""
		}
	}
	return false
}

// matches reports whether an If-None-Match names the tag (RFC 9110, section 13.1.2).
func matches(header, tag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	return slices.ContainsFunc(strings.Split(header, ","), func(one string) bool {
		return strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag
	})
}
