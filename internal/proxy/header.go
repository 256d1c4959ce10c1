package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// hopByHop are the headers that belong to one connection (RFC 9110, 7.6.1).
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// addressing are the headers that would tell the provider of the agent's
// address or of its way here.
var addressing = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
	"X-Forwarded-Server", "X-Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Forwarded-For",
	"X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
	"Cf-Connecting-Ipv6", "Fastly-Client-Ip", "Fly-Client-Ip", "X-Azure-Clientip", "X-Envoy-External-Address",
}

// dropHopByHop takes the connection's own headers off h, those that Connection
// names among them.
func dropHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	dropAll(h, hopByHop)
}

func dropAll(h http.Header, names []string) {
	for _, name := range names {
		delete(h, name)
	}
}

// decodable are the content codings whose bodies can be scanned.
var decodable = []string{"gzip", "br", "zstd", "deflate", "identity"}

// acceptDecodable leaves in Accept-Encoding what keeper can decode. A part of
// an encoded body could not be decoded at all.
func acceptDecodable(h http.Header) {
	if h.Get("Range") != "" {
		h.Set("Accept-Encoding", "identity")
		return
	}
	offered := h.Values("Accept-Encoding")
	if len(offered) == 0 {
		return
	}
	var kept []string
	for coding := range strings.SplitSeq(strings.Join(offered, ","), ",") {
		name, _, _ := strings.Cut(coding, ";")
		if slices.Contains(decodable, strings.ToLower(strings.TrimSpace(name))) {
			kept = append(kept, strings.TrimSpace(coding))
		}
	}
	if len(kept) == 0 {
		kept = []string{"identity"}
	}
	h.Set("Accept-Encoding", strings.Join(kept, ", "))
}

// outgoing makes the request's headers fit to be sent to a provider: what
// belongs to the agent's connection comes off, and the route's own headers go
// on where the caller sent none.
func outgoing(h http.Header, defaults map[string]string) {
	trailers := slices.Contains(h.Values("Te"), "trailers")
	dropHopByHop(h)
	dropAll(h, addressing)
	dropAll(h, []string{"Expect", "Content-Length", "Host"})
	if trailers {
		h.Set("Te", "trailers")
	}
	if _, sent := h["User-Agent"]; !sent {
		h["User-Agent"] = nil // the transport would name itself
	}
	for name, value := range defaults {
		if h.Get(name) == "" {
			h.Set(name, value)
		}
	}
	acceptDecodable(h)
}
