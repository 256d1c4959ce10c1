package segment_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superinstance/keeper/internal/segment"
)

// BenchmarkAppend appends 64 records of 400 bytes, half of them opening and half closing,
// and after each writes and syncs as many bytes to a bare file. "ratio" is of their times.
func BenchmarkAppend(b *testing.B) {
	l := mustOpen(b, b.TempDir(), 0, segment.Options{})
	bare, err := os.OpenFile(filepath.Join(b.TempDir(), "bare"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	const records, size = 64, 400
	batch, same := make([]segment.Record, records), make([]byte, records*(size+21)+8)
	for i := range batch {
		batch[i] = segment.Record{Opens: i%2 == 0, Data: make([]byte, size)}
	}
	b.SetBytes(records * size)
	b.ReportAllocs()
	var own, other time.Duration
	var at int64
	for b.Loop() {
		for i := 1; i < records; i += 2 {
			batch[i].Closes = l.Last() + int64(i)
		}
		start := time.Now()
		if err := l.Append(batch); err != nil {
			b.Fatal(err)
		}
		own += time.Since(start)
		if err := l.Shipped(l.Last()); err != nil {
			b.Fatal(err)
		}
		start = time.Now()
		if _, err := bare.WriteAt(same, at); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(bare.Fd())); err != nil {
			b.Fatal(err)
		}
		other += time.Since(start)
		at += int64(len(same))
	}
	b.ReportMetric(float64(own)/float64(other), "ratio")
	b.ReportMetric(float64(own)/float64(b.N), "ns/append")
}
