package auth

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/superinstance/keeper/internal/store"
)

const (
	issuer        = "keeper"
	maxTokenBytes = 8 << 10
	shortestToken = len("eyJ.e.s")
)

// payload is the claims of a token (RFC 7519), in the order in which keeper
// writes them.
type payload struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"` // the agent's id
	Name     string   `json:"name"`
	Scopes   []string `json:"scopes"` // canonical and sorted; never null
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	JTI      string   `json:"jti"`
}

// LooksLikeToken reports whether raw has the shape of a token: three parts of
// base64url characters (a JWS in compact serialization, RFC 7515), within
// 8 KiB. It says nothing of who signed it.
func LooksLikeToken(raw string) bool {
	if len(raw) < shortestToken || len(raw) > maxTokenBytes || !strings.HasPrefix(raw, "eyJ") {
		return false
	}
	dots, previous := 0, byte('.')
	for i := range len(raw) {
		c := raw[i]
		switch {
		case c == '.' && previous == '.':
			return false
		case c == '.':
			dots++
		case !isBase64URL(c):
			return false
		}
		previous = c
	}
	return dots == 2 && previous != '.'
}

func isBase64URL(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// read returns what a token of this keeper says, by whichever of the keys it
// is signed, and ErrTokenInvalid for everything else. Neither its times nor its
// standing are checked.
//
// Only the very bytes that keeper writes are taken: the header by keySet, the
// payload by encoding it again. So no two readers can understand a token
// differently, whatever they make of duplicate names, exotic numbers, unknown
// claims or trailing bits.
func (k *keySet) read(raw string) (payload, error) {
	if !LooksLikeToken(raw) {
		return payload{}, ErrTokenInvalid
	}
	header, _, _ := strings.Cut(raw, ".")
	key, known := k.byHeader[header]
	if !known {
		return payload{}, ErrTokenInvalid
	}
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return payload{}, ErrTokenInvalid
	}
	said, err := signed.Verify(key)
	if err != nil {
		return payload{}, ErrTokenInvalid
	}
	if again, err := signed.CompactSerialize(); err != nil || again != raw {
		return payload{}, ErrTokenInvalid
	}
	return decodePayload(said)
}

func decodePayload(said []byte) (payload, error) {
	var p payload
	if json.Unmarshal(said, &p) != nil || p.Issuer != issuer {
		return payload{}, ErrTokenInvalid
	}
	if again, err := json.Marshal(p); err != nil || !bytes.Equal(again, said) {
		return payload{}, ErrTokenInvalid
	}
	return p, nil
}

func (p payload) expired(now time.Time) bool { return now.Unix() >= p.Expires }

// matches reports whether the token says what was issued under its jti.
func (p payload) matches(row store.Token) bool {
	return p.JTI == row.JTI && p.Subject == row.AgentID &&
		p.Expires == row.ExpiresAt.Unix() && slices.Equal(p.Scopes, row.Scopes)
}
