package scanner_test

import (
	"hash/crc32"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

const (
	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base36 = digits + "abcdefghijklmnopqrstuvwxyz"
)

// withSum is body and its CRC-32 in n digits.
func withSum(counted, digits string, n int) string {
	sum, end := crc32.ChecksumIEEE([]byte(counted)), ""
	for range n {
		end = string(digits[int(sum)%len(digits)]) + end
		sum /= uint32(len(digits))
	}
	return end
}

func TestChecksumThatHoldsRaisesConfidence(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	filler := strings.Repeat("token", 5) + pick(newRand(1), alnum, 5)
	routable := "glpat" + "-" + strings.Repeat("token-", 6) + pick(newRand(2), alnum, 4) + ".01.0w"
	for text, sum := range map[string]string{
		"ghp" + "_" + filler: withSum(filler, base62, 6),
		"npm" + "_" + filler: withSum(filler, base62, 6),
		routable:             withSum(routable, base36, 7),
	} {
		wrong := strings.Repeat("0", len(sum))
		for end, want := range map[string]bool{sum: true, wrong: false} {
			findings := s.Scan([]byte("it is "+text+end+" here"), "text")
			if len(findings) == 0 || findings[0].Blocks() != want {
				t.Errorf("%s…%s: got %+v, want it to block: %t", text[:4], end, findings, want)
			}
		}
	}
	body := pick(newRand(3), alnum, 30)
	if f := s.Scan([]byte("it is ghp"+"_"+body+"000000 here"), "text"); len(f) == 0 || !f[0].Blocks() {
		t.Errorf("a checksum that fails: got %+v, want it to block all the same", f)
	}
}
