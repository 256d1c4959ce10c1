package index

import (
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

const pruneEntries = 8 * BlockEntries // in one transaction, so that others get their turn

// errPrune: what is to be pruned is no run of whole blocks, or the newest block is in
// it.
var errPrune = errors.New("entries are pruned in whole blocks of 256, and the newest block stays")

// PruneSteps are the numbers up to which entries of a log are deleted, one transaction
// after the other, so that in the end those up to last are. What is left after a crash
// begins with a whole block.
func PruneSteps(t store.AuditTotals, last int64) (steps []int64, err error) {
	if last%BlockEntries != 0 || last > t.LastSeq-BlockEntries {
		return nil, fmt.Errorf("pruning the audit log up to entry %d of %d: %w", last, t.LastSeq, errPrune)
	}
	for upTo := (t.First/pruneEntries + 1) * pruneEntries; upTo < last; upTo += pruneEntries {
		steps = append(steps, upTo)
	}
	return append(steps, last), nil
}
