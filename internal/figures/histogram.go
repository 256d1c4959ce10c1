package figures

import "math"

const (
	growth = 1.1
	bins   = 200 // milliseconds up to two days, microseconds up to three minutes
)

// histogram counts durations, all in one unit, in bins, each a tenth wider than the one
// before, so that its size does not depend on how many there are.
type histogram struct {
	total int64
	in    [bins]uint32
}

func (h *histogram) add(n int64) {
	h.total++
	h.in[binOf(n)]++
}

// binOf is 0 for less than one.
func binOf(n int64) int {
	if n < 1 {
		return 0
	}
	return min(bins-1, 1+int(math.Log(float64(n))/math.Log(growth)))
}

// middle is the duration that stands for a bin.
func middle(bin int) int64 {
	if bin == 0 {
		return 0
	}
	return int64(math.Round(math.Pow(growth, float64(bin)-0.5)))
}

func (h *histogram) join(o *histogram) {
	h.total += o.total
	for i, n := range o.in {
		h.in[i] += n
	}
}

func (h *histogram) durations() Durations {
	if h.total == 0 {
		return Durations{}
	}
	return Durations{h.quantile(0.5), h.quantile(0.95)}
}

// quantile is the duration that a share of them did not exceed.
func (h *histogram) quantile(share float64) *int64 {
	rank := max(1, int64(math.Ceil(share*float64(h.total))))
	for i, n := range h.in {
		if rank -= int64(n); rank <= 0 {
			ms := middle(i)
			return &ms
		}
	}
	ms := middle(bins - 1)
	return &ms
}
