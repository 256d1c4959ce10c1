package vault_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

// BenchmarkScanWithEverythingOn scans clean JSON with all rules, a vault of ten
// secrets and one of ten thousand, and takes SHA-256 of it, by turns. It reports
// the rates in rates of SHA-256, and what the ten thousand cost in costs of the ten,
// by the fastest run of each: what else the machine does slows some runs of all.
func BenchmarkScanWithEverythingOn(b *testing.B) {
	few, many := everythingOn(b, 10), everythingOn(b, 10_000)
	for _, size := range []int{16 << 10, 1 << 20} {
		text := chatJSON(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			best := [3]time.Duration{time.Hour, time.Hour, time.Hour}
			for b.Loop() {
				for i, run := range []func(){
					func() { few.Scan(text, "body") }, func() { many.Scan(text, "body") }, func() { sha256.Sum256(text) },
				} {
					began := time.Now()
					run()
					best[i] = min(best[i], time.Since(began))
				}
			}
			b.ReportMetric(float64(best[2])/float64(best[0]), "x-sha256-10")
			b.ReportMetric(float64(best[2])/float64(best[1]), "x-sha256-10000")
			b.ReportMetric(float64(best[1])/float64(best[0]), "10000/10")
		})
	}
}

// everythingOn is the scanner that a keeper with count secrets has.
func everythingOn(b *testing.B, count int) *scanner.Scanner {
	b.Helper()
	f := bulk(b, count)
	s, err := scanner.New(scanner.Config{Matchers: []scanner.Matcher{f.Vault, vault.NewMatcher("vault:keeper", secret.New([]byte(newValue())))}})
	if err != nil {
		b.Fatal(err)
	}
	return s
}
