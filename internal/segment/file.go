package segment

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

const (
	magic      = "kprseg\r\n"
	version    = 1
	headerSize = 48

	suffix   = ".seg"
	halfMade = ".tmp"
	lockName = "lock"

	maxCarried = 8 << 20 // bytes of records in one frame of carried ones, unless one alone is larger
)

// file is one file. What it has of its own is in frames.
type file struct {
	path   string
	first  int64  // Seq of the first record of its own
	last   int64  // of the last; first-1: there is none
	salt   uint32 // the checksum of its salt
	start  int64  // where its own frames begin
	end    int64  // where they end: what is behind is not known to be on disk
	frames []frame
}

// frame is one Append in a file.
type frame struct{ first, at int64 }

func pathOf(dir string, first int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, suffix))
}

// firstOf returns the number that a file's name bears.
func firstOf(name string) (first int64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && first > 0 && first <= maxSeq
}

// add takes in a frame that is on disk, of n records from first on.
func (f *file) add(first int64, n int, size int64) {
	f.frames = append(f.frames, frame{first: first, at: f.end})
	f.last = first + int64(n) - 1
	f.end += size
}

// frameOf returns the place in frames of the one that holds seq, or else of the first one
// behind it.
func (f *file) frameOf(seq int64) int {
	behind := sort.Search(len(f.frames), func(i int) bool { return f.frames[i].first > seq })
	return max(behind-1, 0)
}

// bytesAfter returns how many bytes those frames take that hold records after seq.
func (f *file) bytesAfter(seq int64) int64 {
	switch {
	case f.last <= seq:
		return 0
	case f.first > seq:
		return f.end - f.start
	}
	return f.end - f.frames[f.frameOf(seq+1)].at
}

// header is what a file begins with.
type header struct {
	carried        uint32
	first, shipped int64
	salt           [8]byte
}

func newHeader(carried int, first, shipped int64) header {
	h := header{carried: uint32(carried), first: first, shipped: shipped}
	rand.Read(h.salt[:]) // never fails
	return h
}

func (h header) sum() uint32 { return sum(0, h.salt[:]) }

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, h.carried)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.first))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.shipped))
	b = append(b, h.salt[:]...)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, sum(0, b))
}

// errNewer is what a later format leads to.
type errNewer uint32

func (v errNewer) Error() string {
	return fmt.Sprintf("it has version %d of the format, and this program knows no later one than %d: run one that does", uint32(v), version)
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerSize {
		return h, fault("it ends within its header")
	}
	if !bytes.HasPrefix(b, []byte(magic)) {
		return h, fault("it does not begin as such a file does")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > version {
		return h, errNewer(v)
	}
	if sum(0, b[:44]) != binary.LittleEndian.Uint32(b[44:]) {
		return h, fault("its header's checksum is wrong")
	}
	h.carried = binary.LittleEndian.Uint32(b[12:])
	h.first = int64(binary.LittleEndian.Uint64(b[16:]))
	h.shipped = int64(binary.LittleEndian.Uint64(b[24:]))
	copy(h.salt[:], b[32:])
	if h.first < 1 || h.first > maxSeq || h.shipped < 0 || h.shipped >= h.first {
		return h, fault("its header's numbers are wrong")
	}
	return h, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// carry returns open as frames, and makes their Data point into these.
func carry(salt uint32, open []Record) []byte {
	var all []byte
	for len(open) > 0 {
		n, size := 0, int64(0)
		for n < len(open) && (n == 0 || size < maxCarried) {
			size += recordHead + int64(len(open[n].Data))
			n++
		}
		all = append(all, encode(salt, open[:n], flagCarried)...)
		open = open[n:]
	}
	return all
}
