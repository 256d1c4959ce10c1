package scanner

import "testing"

// FuzzClassesDoNotDependOnTheProcessor holds the vector instructions against the
// portable code, and both against what a class is.
func FuzzClassesDoNotDependOnTheProcessor(f *testing.F) {
	all := make([]byte, 300)
	for i := range all {
		all[i] = byte(i)
	}
	f.Add(all)
	f.Add([]byte("key=ghp_ABC \xe2\x80\x8b: \x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		got := tokenClasses.blocks(nil, p)
		slow := make([]block, len(p)/blockBytes)
		tokenClasses.portable(slow, p)
		for i := range slow {
			if got[i] != slow[i] {
				t.Fatalf("block %d: got %x, want %x", i, got[i], slow[i])
			}
		}
		for i, c := range p {
			b, bit := got[i/blockBytes], uint64(1)<<(i%blockBytes)
			if in := b.in[inToken]&bit != 0; in != (runClass[c] != classNone) {
				t.Fatalf("byte %#x at %d: token %t", c, i, in)
			}
			if in := b.in[inBackslash]&bit != 0; in != (c == '\\') {
				t.Fatalf("byte %#x at %d: backslash %t", c, i, in)
			}
			if in := b.high&bit != 0; in != (c >= 0x80) {
				t.Fatalf("byte %#x at %d: high %t", c, i, in)
			}
		}
	})
}
