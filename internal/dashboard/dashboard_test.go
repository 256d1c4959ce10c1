package dashboard_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/andybalholm/brotli"

	"github.com/superinstance/keeper/internal/dashboard"
)

var long = strings.Repeat("export const answer = 42\n", 100)

func files(t *testing.T) *dashboard.Files {
	t.Helper()
	made, err := dashboard.Of(fstest.MapFS{
		"index.html": {Data: []byte("<!doctype html><title>keeper</title>")}, "app.js": {Data: []byte(long)},
		"style.css": {Data: []byte("a{}")}, "vendor/lib-0123456789ab.js": {Data: []byte(long)}, "odd.bin": {Data: []byte{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func ask(s http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryAnswerForbidsWhatIsNotKeepersOwn(t *testing.T) {
	s := files(t)
	for _, path := range []string{"/dashboard/", "/dashboard/app.js", "/dashboard/nothing.js", "/dashboard/agents/%3Cscript%3E"} {
		h := ask(s, "GET", path).Header
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, part) || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: got policy %q, want it with %s", path, policy, part)
			}
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestFilesGoWithTheirTypesAndOthersAreNotFound(t *testing.T) {
	s := files(t)
	for path, want := range map[string]string{
		"/dashboard/": "text/html; charset=utf-8", "/dashboard/index.html": "text/html; charset=utf-8", "/dashboard/agents": "text/html; charset=utf-8",
		"/dashboard/agents/ci-bot": "text/html; charset=utf-8", "/dashboard/app.js": "text/javascript; charset=utf-8", "/dashboard/style.css": "text/css; charset=utf-8",
		"/dashboard/odd.bin": "application/octet-stream",
	} {
		if got := ask(s, "GET", path); got.StatusCode != 200 || got.Header.Get("Content-Type") != want {
			t.Errorf("%s: got %d %q, want 200 %q", path, got.StatusCode, got.Header.Get("Content-Type"), want)
		}
	}
	for _, path := range []string{"/dashboard/nothing.js", "/dashboard/../app.js", "/dashboard//app.js", "/dashboard/APP.js", "/dashboard/vendor/../app.js", "/dashboard/<b>.js"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 404 || strings.Contains(w.Body.String(), "<b>") {
			t.Errorf("%s: got %d %q, want 404 without the path", path, w.Code, w.Body)
		}
	}
	if got := ask(s, "POST", "/dashboard/"); got.StatusCode != 405 || got.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, want 405", got.StatusCode)
	}
	if got := ask(s, "HEAD", "/dashboard/app.js"); got.ContentLength != int64(len(long)) || text(t, got.Body) != "" {
		t.Errorf("HEAD: got length %d and a body, want %d and none", got.ContentLength, len(long))
	}
}

func TestFilesAreCompressedAsTheClientTakesThem(t *testing.T) {
	s := files(t)
	for accepted, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "gzip, deflate, br": "br", "br;q=0, gzip;q=0.5": "gzip", "gzip;q=0.0": "", "brotli, zip": "",
	} {
		got := ask(s, "GET", "/dashboard/app.js", "Accept-Encoding", accepted)
		var body io.Reader = got.Body
		switch encoding := got.Header.Get("Content-Encoding"); {
		case encoding != want:
			t.Errorf("%q: got %q, want %q", accepted, encoding, want)
		case encoding == "br":
			body = brotli.NewReader(body)
		case encoding == "gzip":
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal([]byte(text(t, body)), []byte(long)) || got.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: got another text, or no Vary", accepted)
		}
	}
	if got := ask(s, "GET", "/dashboard/style.css", "Accept-Encoding", "br").Header.Get("Content-Encoding"); got != "" {
		t.Errorf("a file that gets no smaller: got %q, want it as it is", got)
	}
}

func TestAFileThatIsKeptIsNotSentAgain(t *testing.T) {
	s := files(t)
	first := ask(s, "GET", "/dashboard/app.js", "Accept-Encoding", "gzip")
	tag := first.Header.Get("ETag")
	for _, sent := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if got := ask(s, "GET", "/dashboard/app.js", "Accept-Encoding", "gzip", "If-None-Match", sent); got.StatusCode != 304 || text(t, got.Body) != "" {
			t.Errorf("%s: got %d, want 304", sent, got.StatusCode)
		}
	}
	if got := ask(s, "GET", "/dashboard/app.js", "If-None-Match", tag); got.StatusCode != 200 {
		t.Errorf("another form: got %d, want 200", got.StatusCode)
	}
	if got := first.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("got %q, want it asked for again", got)
	}
	if got := ask(s, "GET", "/dashboard/vendor/lib-0123456789ab.js").Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("a name with a hash: got %q, want immutable", got)
	}
}

func TestTheBuiltInFilesAreThere(t *testing.T) {
	s, err := dashboard.New()
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(s, "GET", "/dashboard/"); got.StatusCode != 200 {
		t.Errorf("got %d, want the dashboard", got.StatusCode)
	}
	if _, err := dashboard.Of(fstest.MapFS{"app.js": {}}); err == nil {
		t.Error("a folder without index.html: got no error")
	}
	if _, err := dashboard.Of(broken{}); err == nil {
		t.Error("a folder that cannot be read: got no error")
	}
}

type broken struct{}

func (broken) Open(string) (fs.File, error) { return nil, fs.ErrPermission }
