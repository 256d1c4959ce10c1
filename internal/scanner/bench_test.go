package scanner_test

import (
	"crypto/sha256"
	"strconv"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// BenchmarkCleanTraffic gives the rates of a scan beside SHA-256 of the same
// bytes.
func BenchmarkCleanTraffic(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	for _, kind := range cleanKinds {
		for _, size := range []int{16 << 10, 1 << 20} {
			p := kind.sample(newRand(1), size)
			b.Run(kind.name+"/"+strconv.Itoa(size>>10)+"KiB/scan", func(b *testing.B) {
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					s.Scan(p, "body")
				}
			})
		}
		p := kind.sample(newRand(1), 1<<20)
		b.Run(kind.name+"/1024KiB/sha256", func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				sha256.Sum256(p)
			}
		})
	}
}
