package proxy

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/auth"
)

// webSocketVersion is the one that there is (RFC 6455, 4.1).
const webSocketVersion = "13"

// keyProtocol is what OpenAI's clients in browsers put before the key, which they
// send as a subprotocol since they can set no header.
const keyProtocol = "openai-insecure-api-key."

// handshake are the headers that keeper alone says on each side of a WebSocket.
// Extensions are never agreed on: keeper reads every message as it is.
var handshake = []string{"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Accept"}

// upgrade is an agent's wish to speak WebSocket.
type upgrade struct {
	key     string   // the agent's
	sent    string   // keeper's own, to the provider
	offered []string // subprotocols that the provider may choose among
	fault   string   // why it cannot be granted; empty: it can
}

// takeUpgrade notes whether the agent asks for a WebSocket, before the headers come
// off that say so. No other protocol is ever switched to: what else Upgrade names
// is passed over, as a server may (RFC 9110, 7.8).
func (c *call) takeUpgrade(r *http.Request) {
	c.takeProtocols()
	asked := r.ProtoMajor == 1 && r.ProtoMinor >= 1 && r.Method == http.MethodGet &&
		slices.ContainsFunc(listed(r.Header["Connection"]), func(name string) bool { return strings.EqualFold(name, "upgrade") }) &&
		strings.EqualFold(strings.Join(listed(r.Header["Upgrade"]), ","), "websocket")
	if !asked {
		return
	}
	u := &upgrade{key: r.Header.Get("Sec-Websocket-Key"), sent: newKey(), offered: listed(c.header["Sec-Websocket-Protocol"])}
	nonce, err := base64.StdEncoding.DecodeString(u.key)
	switch {
	case err != nil || len(nonce) != 16 || len(r.Header["Sec-Websocket-Key"]) > 1:
		u.fault = "Sec-WebSocket-Key must be one, of 16 bytes in base64"
	case strings.Join(r.Header["Sec-Websocket-Version"], ",") != webSocketVersion:
		u.fault = "Sec-WebSocket-Version must be " + webSocketVersion
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		u.fault = "a request to speak WebSocket has no body"
	}
	dropAll(c.header, handshake)
	c.stream, c.upgrade = webSocket, u
}

// takeProtocols takes the agent's token out of the subprotocols that it offers.
func (c *call) takeProtocols() {
	var kept []string
	offered := listed(c.header["Sec-Websocket-Protocol"])
	for _, one := range offered {
		key, named := strings.CutPrefix(one, keyProtocol)
		if !named && !auth.LooksLikeToken(one) {
			kept = append(kept, one)
			continue
		}
		c.taken.token(key)
	}
	if len(kept) == len(offered) {
		return
	}
	c.taken.names = append(c.taken.names, "sec-websocket-protocol")
	delete(c.header, "Sec-Websocket-Protocol")
	if kept != nil {
		c.header.Set("Sec-Websocket-Protocol", strings.Join(kept, ", "))
	}
}

// listed are the elements of a header that is a list.
func listed(values []string) (all []string) {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			if one = textproto.TrimString(one); one != "" {
				all = append(all, one)
			}
		}
	}
	return all
}

// newKey is a nonce for one handshake (RFC 6455, 4.1).
func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:])
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// acceptOf answers a key (RFC 6455, 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// ask puts on h what asks the provider for a WebSocket.
func (u *upgrade) ask(h http.Header) {
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-Websocket-Version", webSocketVersion)
	h.Set("Sec-Websocket-Key", u.sent)
}

// granted says whether a provider's answer, which switches protocols, is to what
// was asked for (RFC 6455, 4.1).
func (u *upgrade) granted(h http.Header) bool {
	chosen := h["Sec-Websocket-Protocol"]
	return strings.EqualFold(h.Get("Upgrade"), "websocket") &&
		h.Get("Sec-Websocket-Accept") == acceptOf(u.sent) &&
		len(listed(h["Sec-Websocket-Extensions"])) == 0 &&
		(len(chosen) == 0 || len(chosen) == 1 && slices.Contains(u.offered, chosen[0]))
}

// accept puts on h what tells the agent that it may speak WebSocket.
func (u *upgrade) accept(h http.Header) {
	dropAll(h, handshake)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-Websocket-Accept", acceptOf(u.key))
}
