package sink

import (
	"slices"

	"github.com/superinstance/keeper/internal/store"
)

// selection is which entries a sink takes.
type selection struct {
	minRisk int
	events  []string // empty: all
}

func newSelection(s Spec) selection {
	wants := selection{minRisk: s.MinRisk, events: s.Events}
	if s.Type == "alert" && wants.minRisk == 0 && len(wants.events) == 0 {
		wants.minRisk = alertRisk
	}
	return wants
}

// of returns the entries that are wanted. It may return the slice it is given.
func (w selection) of(entries []store.AuditEntry) []store.AuditEntry {
	if w.minRisk <= 0 && len(w.events) == 0 {
		return entries
	}
	var chosen []store.AuditEntry
	for _, e := range entries {
		if e.Risk >= w.minRisk && (len(w.events) == 0 || slices.Contains(w.events, e.Event)) {
			chosen = append(chosen, e)
		}
	}
	return chosen
}
