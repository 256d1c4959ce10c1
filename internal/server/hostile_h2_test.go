package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is a request of HTTP/2 as a list of headers in their order, of which values may
// hold anything, and the pieces of its body.
type frames struct {
	headers [][2]string
	body    []string
	trailer [][2]string
}

// sendFrames sends a request on a new connection of HTTP/2 and returns the status that
// came, or how it was refused. A second request that is honest follows it.
func sendFrames(t testing.TB, conn net.Conn, all ...frames) string {
	t.Helper()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return err.Error()
	}
	framer := http2.NewFramer(conn, conn)
	framer.AllowIllegalWrites = true
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoded := func(headers [][2]string) []byte {
		block.Reset()
		for _, h := range headers {
			_ = encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) // a buffer has no error
		}
		return bytes.Clone(block.Bytes())
	}
	_ = framer.WriteSettings() // what the other side thinks of it shows in its answer
	for i, one := range all {
		id := uint32(2*i + 1)
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encoded(one.headers), EndHeaders: true, EndStream: one.body == nil && one.trailer == nil})
		for k, piece := range one.body {
			_ = framer.WriteData(id, k == len(one.body)-1 && one.trailer == nil, []byte(piece))
		}
		if one.trailer != nil {
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encoded(one.trailer), EndHeaders: true, EndStream: true})
		}
	}
	return answersOf(framer, len(all))
}

// answersOf reads until as many streams have ended.
func answersOf(framer *http2.Framer, streams int) string {
	var said strings.Builder
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			said.WriteString(f.Value + " ")
		}
	})
	for streams > 0 {
		frame, err := framer.ReadFrame()
		if err != nil {
			return said.String() + err.Error()
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			_, _ = decoder.Write(f.HeaderBlockFragment())
		case *http2.GoAwayFrame:
			return said.String() + "GOAWAY"
		case *http2.RSTStreamFrame:
			said.WriteString("RST ")
			streams--
			continue
		}
		if frame.Header().Flags.Has(http2.FlagDataEndStream) && (frame.Header().Type == http2.FrameData || frame.Header().Type == http2.FrameHeaders) {
			streams--
		}
	}
	return said.String()
}

// changed returns headers with one replaced, or more behind them.
func changed(headers [][2]string, name, value string, more ...string) [][2]string {
	var out [][2]string
	for _, h := range headers {
		if h[0] == name {
			h[1] = value
		}
		out = append(out, h)
	}
	for i := 0; i+1 < len(more); i += 2 {
		out = append(out, [2]string{more[i], more[i+1]})
	}
	return out
}

// misshapen are requests of HTTP/2 that HTTP/1.1 would read otherwise, or that name more
// than one host.
func misshapen(get, post [][2]string, front, host string) map[string]frames {
	header := func(base [][2]string, more ...string) [][2]string { return changed(base, "", "", more...) }
	path := func(p string) frames { return frames{headers: changed(get, ":path", p)} }
	authority := func(a string, more ...string) frames { return frames{headers: changed(get, ":authority", a, more...)} }
	body := []string{"0\r\n\r\n", "GET " + front + "/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"}
	all := map[string]frames{
		"H2.TE":                     {headers: header(post, "transfer-encoding", "chunked"), body: body},
		"H2.TE, upper case":         {headers: header(post, "Transfer-Encoding", "chunked"), body: body},
		"H2.CL, less":               {headers: header(post, "content-length", "0"), body: body},
		"H2.CL, more":               {headers: header(post, "content-length", "4000"), body: body},
		"H2.CL, twice":              {headers: header(post, "content-length", "5", "content-length", "60"), body: body},
		"H2.CL, a sign":             {headers: header(post, "content-length", "+5"), body: body},
		"H2.CL, without a body":     {headers: header(get, "content-length", "60")},
		"a body with GET":           {headers: get, body: body},
		"CRLF in a value":           {headers: header(post, "x-a", "b\r\ntransfer-encoding: chunked"), body: body},
		"LF in a value":             {headers: header(post, "x-a", "b\ntransfer-encoding: chunked"), body: body},
		"NUL in a value":            {headers: header(post, "x-a", "b\x00"), body: body},
		"CRLF in a name":            {headers: header(post, "x-a: b\r\ntransfer-encoding", "chunked"), body: body},
		"a colon in a name":         {headers: header(post, "transfer-encoding:chunked\r\nx", "y"), body: body},
		"a space in a name":         {headers: header(post, "x a", "b"), body: body},
		"an empty name":             {headers: header(post, "", "b"), body: body},
		"connection":                {headers: header(post, "connection", "content-length, authorization"), body: body},
		"upgrade":                   {headers: header(get, "upgrade", "h2c", "http2-settings", "AAMAAABk")},
		"te":                        {headers: header(get, "te", "trailers, chunked")},
		"expect":                    {headers: header(post, "expect", "100-continue"), body: body},
		"trailers":                  {headers: post, body: body, trailer: [][2]string{{"content-length", "60"}, {"transfer-encoding", "chunked"}, {"host", "beta.example"}, {"authorization", "Bearer x"}, {"x-a", "b"}}},
		"trailers with a path":      {headers: post, body: body, trailer: [][2]string{{":path", "/other"}, {":authority", "beta.example"}}},
		"CRLF in the method":        {headers: changed(post, ":method", "GET / HTTP/1.1\r\nX: y"), body: body},
		"a space in the method":     {headers: changed(post, ":method", "GET /smuggled"), body: body},
		"CONNECT with a path":       {headers: changed(get, ":method", "CONNECT")},
		"CONNECT":                   {headers: append([][2]string{{":method", "CONNECT"}, {":authority", host + ":443"}}, get[4:]...), body: []string{"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"}},
		"extended CONNECT":          {headers: header(changed(get, ":method", "CONNECT"), ":protocol", "websocket")},
		"TRACE":                     {headers: changed(get, ":method", "TRACE")},
		"another scheme":            {headers: changed(get, ":scheme", "ftp")},
		"a scheme with a host":      {headers: changed(get, ":scheme", "http://beta.example/p?")},
		"no scheme":                 {headers: append([][2]string{get[0]}, get[2:]...)},
		"two paths":                 {headers: append([][2]string{{":path", front + "/other"}}, get...)},
		"two hosts":                 {headers: append([][2]string{{":authority", "beta.example"}}, get...)},
		"a pseudo-header behind":    {headers: header(get, ":authority", "beta.example")},
		"an unknown pseudo-header":  {headers: append([][2]string{{":x", "y"}}, get...)},
		"host beside :authority":    {headers: header(get, "host", "beta.example")},
		"an address of the trap":    {headers: header(get, "x-forwarded-host", "beta.example", "x-original-url", "/other")},
		"a cookie in crumbs":        {headers: header(get, "cookie", "a=b", "cookie", "c=d")},
		"an authority with a user":  authority("u@" + host),
		"an authority with a user2": authority("beta.example@" + host),
		"another authority":         authority("beta.example"),
		"another authority, host":   authority("beta.example", "host", host),
		"an authority with a path":  authority(host + "/p"),
		"an authority with CRLF":    authority(host + "\r\nX: y"),
		"an authority with a space": authority(host + " beta.example"),
		"an empty authority":        authority("", "host", "beta.example"),
		"an authority with a dot":   authority(host + "."),
	}
	for i, p := range []string{
		front + "/p?#x", front + "/p#/../x", "http://beta.example/p", "http://127.0.0.1/p", "https://" + host + "/p", "//beta.example/p", "\\\\beta.example\\p", "", "*", "beta.example:443", "p",
		front + "/p HTTP/1.1\r\nHost: beta.example\r\n\r\nGET /smuggled", front + "/p\nx", front + "/p\x00", front + "/p q", front + "/p\tq", front + "/%2e%2e/beta/p", front + "/../beta/p", front + "/p%0d%0aX:%20y", "@beta.example/p", front + "/p HTTP/1.1", front + "/p?x HTTP/1.1", front + "/p?x#y", front + "/p?x\u00a0y",
	} {
		all[fmt.Sprint("path ", i)] = path(p)
	}
	return all
}

// TestMisshapenHTTP2ArrivesExactlyFramedOrNotAtAll is the like of the test for HTTP/1.1.
// An honest request follows each on its connection.
func TestMisshapenHTTP2ArrivesExactlyFramedOrNotAtAll(t *testing.T) {
	s := newTheatre(t)
	in := doors(s)
	for name, d := range map[string]door{
		"base URL":         in["base URL"],
		"listener":         in["listener"],
		"tunnel, in clear": in["tunnel, in clear"],
		"tunnel": {open: func(t testing.TB, s *theatre) net.Conn {
			conn, _ := s.client.tunnel(t, "alpha.example:443")
			return tls.Client(conn, &tls.Config{ServerName: "alpha.example", RootCAs: s.client.roots, NextProtos: []string{"h2"}})
		}, host: "alpha.example"},
	} {
		scheme := "http"
		if name == "tunnel" {
			scheme = "https"
		}
		base := [][2]string{{":method", "GET"}, {":scheme", scheme}, {":path", d.front + "/p"}, {":authority", d.host}}
		if d.token != "" {
			base = append(base, [2]string{"authorization", "Bearer " + s.token})
		}
		honest := frames{headers: changed(base, ":path", d.front+"/honest")}
		before := len(s.alpha.seen())
		if said := sendFrames(t, d.open(t, s), honest); said != "200 " || len(s.alpha.seen()) != before+1 {
			t.Errorf("%s: an honest call: got %q, want 200", name, said)
		}
		var all sync.WaitGroup
		for _, one := range misshapen(base, changed(base, ":method", "POST"), d.front, d.host) {
			conn := d.open(t, s)
			all.Go(func() { sendFrames(t, conn, one, honest) })
		}
		all.Wait()
	}
	s.check(t)
	if got := s.beta.seen(); len(got) > 0 {
		t.Errorf("beta got %v, for which nobody asked at its own host", got)
	}
}

// TestAnotherHostOnTheSameConnectionIsRefused: a client may take the connection of one
// host for another's, if its certificate covers both.
func TestAnotherHostOnTheSameConnectionIsRefused(t *testing.T) {
	s := newTheatre(t)
	conn, _ := s.client.tunnel(t, "alpha.example:443")
	secured := tls.Client(conn, &tls.Config{ServerName: "alpha.example", RootCAs: s.client.roots, NextProtos: []string{"h2"}})
	to := func(host string) frames {
		return frames{headers: [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", "/p"}, {":authority", host}}}
	}
	if said := sendFrames(t, secured, to("alpha.example"), to("beta.example")); strings.Count(said, "200") != 1 || strings.Count(said, "421") != 1 {
		t.Errorf("got %q, want 200 for the tunnel's host and 421 for the other", said)
	}
	s.check(t)
	if got := s.beta.seen(); len(got) > 0 {
		t.Errorf("beta got %v, want nothing", got)
	}
}
