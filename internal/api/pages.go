package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/manual"
)

// pageHeaders are those of every page: it loads what is beside it, and nothing runs or
// is styled in it but by files of its own.
var pageHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-cache",
}

// servePages serves the manual, to anyone: it tells of this keeper what its version does.
func (s *surface) servePages(mux *http.ServeMux) {
	pages := manual.New(s.document)
	serve := func(w http.ResponseWriter, r *http.Request) {
		ctx := withRoute(r.Context(), "GET "+manual.Root, false)
		page, found, err := pages.Page(r.URL.Path)
		switch {
		case err != nil:
			s.refuse(ctx, err).write(w)
			return
		case !found:
			s.refuse(ctx, errNoRoute).write(w)
			return
		}
		for name, value := range pageHeaders {
			w.Header().Set(name, value)
		}
		w.Header().Set("ETag", page.ETag)
		if strings.Contains(r.Header.Get("If-None-Match"), page.ETag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", page.Type)
		w.Header().Set("Content-Length", strconv.Itoa(len(page.Body)))
		w.Write(page.Body) // a caller who has gone needs no page
	}
	mux.HandleFunc("GET "+manual.Root, serve)
	mux.HandleFunc("GET "+manual.Root+"/{page...}", serve)
}
