//go:build !amd64

package scanner

// whole classifies the blocks that p fills.
func (c *classifier) whole(dst []block, p []byte) { c.portable(dst, p) }
