package scanner

import (
	"bytes"
	"hash/crc32"
	"strings"
)

const (
	base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base36Digits = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// checksum is a CRC-32 that ends a token.
type checksum struct {
	digits string // in the order of their worth
	length int
	prefix bool // whether the public prefix counts
}

// checksums are those that vendors document, by rule. One that holds raises a
// finding's confidence: no placeholder has it. One that fails acquits nothing,
// since one changed character would carry a token out.
var checksums = map[string]checksum{
	"github-pat": {base62Digits, 6, false}, "github-oauth": {base62Digits, 6, false},
	"github-app-token": {base62Digits, 6, false}, "github-refresh-token": {base62Digits, 6, false},
	"npm-access-token": {base62Digits, 6, false}, "vercel-token": {base62Digits, 6, false},
	"gitlab-token": {base36Digits, 7, true},
}

// vouched says whether the checksum of a secret of r holds, whose first public
// bytes are its prefix.
func (r *compiledRule) vouched(secret []byte, public int) bool {
	if !r.summed {
		return false
	}
	sum := checksums[r.ID]
	if len(secret) < public+sum.length {
		return false
	}
	if sum.prefix {
		public = 0
	}
	body, end := secret[public:len(secret)-sum.length], secret[len(secret)-sum.length:]
	n := crc32.ChecksumIEEE(body)
	for i := len(end) - 1; i >= 0; i-- {
		if strings.IndexByte(sum.digits, end[i]) != int(n%uint32(len(sum.digits))) {
			return false
		}
		n /= uint32(len(sum.digits))
	}
	return n == 0 && !bytes.Equal(body, bytes.Repeat(body[:1], len(body)))
}
