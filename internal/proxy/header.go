package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/policy"
)

// hopByHop are the headers that belong to one connection (RFC 9110, 7.6.1).
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// addressing are the headers that would tell the provider of the agent's
// address or of its way here.
var addressing = []string{
	"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-originating-ip",
	"x-remote-ip", "x-remote-addr", "client-ip", "true-client-ip", "cf-connecting-ip",
	"cf-connecting-ipv6", "fastly-client-ip", "fly-client-ip", "x-azure-clientip", "x-azure-socketip",
	"x-envoy-external-address", "x-appengine-user-ip", "x-proxyuser-ip", "proxy-client-ip", "wl-proxy-client-ip",
	"x-nf-client-connection-ip", "do-connecting-ip", "x-sucuri-clientip",
}

// isAddressing knows a header also where "_" stands for "-", as servers behind
// CGI read it.
func isAddressing(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.HasPrefix(name, "x-forwarded") || strings.HasSuffix(name, "-forwarded-for") || slices.Contains(addressing, name)
}

// framing are the headers that say what a body is. What comes after it must
// not say otherwise.
var framing = []string{"Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Host", "Expect"}

// reserved are the headers that keeper alone sets on an answer, and one that
// would lead around it.
var reserved = []string{"Keeper-Code", "Keeper-Request-Id", "Alt-Svc"}

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

func dropAddressing(h http.Header) {
	for name := range h {
		if isAddressing(name) {
			delete(h, name)
		}
	}
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

// outgoing takes what belongs to the agent's connection, and what tells of its
// address, off a request's headers.
func outgoing(h http.Header) {
	trailers := slices.Contains(h.Values("Te"), "trailers")
	dropHopByHop(h)
	dropAll(h, []string{"Expect", "Content-Length", "Host"})
	dropAddressing(h)
	if trailers {
		h.Set("Te", "trailers")
	}
}

// outgoingTrailer returns what of a request's trailer may go to a provider. A
// trailer bears neither credentials nor anything that changes what the call
// means (RFC 9110, 6.5.1): the call was decided by its headers.
func outgoingTrailer(t http.Header) http.Header {
	out := t.Clone()
	dropHopByHop(out)
	dropAddressing(out)
	dropAll(out, framing)
	dropAll(out, alsoDropped)
	for _, c := range carriers {
		delete(out, c.header)
	}
	for name := range out {
		if policy.IsOverride(name) {
			delete(out, name)
		}
	}
	return out
}

// fromProvider takes off an answer's headers what belongs to the provider's
// connection, and what keeper alone may say.
func fromProvider(h http.Header) {
	dropHopByHop(h)
	dropAll(h, reserved)
}

// withDefaults makes a request's headers fit to be sent to a provider: the
// route's own go on where the caller sent none.
func withDefaults(h http.Header, defaults map[string]string) {
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
