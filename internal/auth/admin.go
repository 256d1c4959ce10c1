package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/secret"
)

const leastAdminToken = 32

// adminToken knows the static admin token by its hash. The zero adminToken is
// shown by nobody.
type adminToken struct {
	given bool
	hash  [sha256.Size]byte
}

func newAdminToken(v secret.Value) (adminToken, error) {
	token := v.Expose()
	if len(token) == 0 {
		return adminToken{}, nil
	}
	if utf8.RuneCount(token) < leastAdminToken {
		return adminToken{}, fmt.Errorf("the admin token must have at least %d characters", leastAdminToken)
	}
	return adminToken{given: true, hash: sha256.Sum256(token)}, nil
}

// IsAdmin reports whether raw is the static admin token, in a time that does
// not depend on how much of it is right.
func (a *Authority) IsAdmin(raw string) bool {
	hash := sha256.Sum256([]byte(raw))
	return subtle.ConstantTimeCompare(hash[:], a.admin.hash[:]) == 1 && a.admin.given
}
