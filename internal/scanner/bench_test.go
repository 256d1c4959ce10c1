package scanner_test

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/scanner"
)

// beside runs scan and SHA-256 of the same bytes by turns, and reports the rate of
// the one in rates of the other, by the fastest run of each: what else the machine
// does slows some runs of both.
func beside(b *testing.B, p []byte, scan func()) {
	b.Helper()
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	fastest, baseline := time.Hour, time.Hour
	rounds := max(1, (64<<10)/len(p))
	for b.Loop() {
		began := time.Now()
		for range rounds {
			scan()
		}
		fastest = min(fastest, time.Since(began))
		began = time.Now()
		for range rounds {
			sha256.Sum256(p)
		}
		baseline = min(baseline, time.Since(began))
	}
	b.ReportMetric(float64(baseline)/float64(fastest), "x-sha256")
	b.ReportMetric(float64(len(p)*rounds)/1e6/fastest.Seconds(), "best-MB/s")
}

// BenchmarkCleanTraffic is of one thread.
func BenchmarkCleanTraffic(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	for _, kind := range cleanKinds {
		for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
			p := kind.sample(newRand(1), size)
			b.Run(kind.name+"/"+strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
				beside(b, p, func() { s.Scan(p, "body") })
			})
		}
	}
}

// besideClean scans p, clean chat and clean traffic of all kinds in equal parts, all of
// a size, by turns. It reports the time for the one in times of those for the others,
// by the fastest run of each.
func besideClean(b *testing.B, s *scanner.Scanner, p []byte) {
	b.Helper()
	b.SetBytes(int64(len(p)))
	texts := [3]string{string(p), string(chat(newRand(1), len(p))[:len(p)]), string(mixedTraffic(len(p)))}
	fastest := [3]time.Duration{time.Hour, time.Hour, time.Hour}
	for b.Loop() {
		for i, text := range texts {
			began := time.Now()
			scanBody(b, s, text)
			fastest[i] = min(fastest[i], time.Since(began))
		}
	}
	b.ReportMetric(float64(fastest[0])/float64(fastest[1]), "x-chat")
	b.ReportMetric(float64(fastest[0])/float64(fastest[2]), "x-clean")
}

// mixedTraffic is size bytes of all cleanKinds in equal parts.
func mixedTraffic(size int) (all []byte) {
	for _, kind := range cleanKinds {
		part := kind.sample(newRand(1), size/len(cleanKinds)+1)
		all = append(append(all, part[:min(len(part), size/len(cleanKinds)+1)]...), '\n')
	}
	return all[:min(size, len(all))]
}

// BenchmarkShortText reports the 99th percentile of the time for 1 KiB in times of
// its median.
func BenchmarkShortText(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	p := chat(newRand(1), 1<<10)
	var times []time.Duration
	for b.Loop() {
		for range 1000 {
			began := time.Now()
			s.Scan(p, "body")
			times = append(times, time.Since(began))
		}
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100])/float64(times[len(times)/2]), "p99/median")
}
