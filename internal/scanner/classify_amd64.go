package scanner

import "golang.org/x/sys/cpu"

var haveAVX2 = cpu.X86.HasAVX2

// classifyAVX2 fills the given number of blocks, one at least, from p, by t. It
// does what [classifier.portable] does.
//
//go:noescape
func classifyAVX2(dst *block, p *byte, blocks int, t *tables)

// whole classifies the blocks that p fills.
func (c *classifier) whole(dst []block, p []byte) {
	n := len(p) / blockBytes
	if n == 0 {
		return
	}
	if haveAVX2 {
		_, _ = dst[n-1], p[n*blockBytes-1]
		classifyAVX2(&dst[0], &p[0], n, &c.tables)
		return
	}
	c.portable(dst, p)
}
