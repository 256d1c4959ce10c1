package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/secret"
)

const leastAdminToken = 32

// AdminToken is a bearer of the operator's, which is good until a time; zero: for good.
type AdminToken struct {
	Value secret.Value
	Until time.Time
}

// adminToken knows a static admin token by its hash. The zero adminToken is
// shown by nobody.
type adminToken struct {
	given bool
	hash  [sha256.Size]byte
	until time.Time
}

func newAdminToken(t AdminToken) (adminToken, error) {
	token := t.Value.Expose()
	if len(token) == 0 {
		return adminToken{}, nil
	}
	if utf8.RuneCount(token) < leastAdminToken {
		return adminToken{}, fmt.Errorf("the admin token must have at least %d characters", leastAdminToken)
	}
	return adminToken{given: true, hash: sha256.Sum256(token), until: t.Until}, nil
}

// SetAdmins changes which tokens are the operator's, from now on. Of an error, nothing
// changes.
func (a *Authority) SetAdmins(tokens ...AdminToken) error {
	all := make([]adminToken, len(tokens))
	for i, t := range tokens {
		var err error
		if all[i], err = newAdminToken(t); err != nil {
			return err
		}
	}
	a.admins.Store(&all)
	return nil
}

// IsAdmin reports whether raw is a static admin token, in a time that does
// not depend on how much of it is right.
func (a *Authority) IsAdmin(raw string) bool {
	hash := sha256.Sum256([]byte(raw))
	is := false
	for _, t := range *a.admins.Load() {
		same := subtle.ConstantTimeCompare(hash[:], t.hash[:]) == 1
		is = is || same && t.given && (t.until.IsZero() || a.now().Before(t.until))
	}
	return is
}
