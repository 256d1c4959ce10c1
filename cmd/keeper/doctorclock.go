package main

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	skewSeen    = 2 * time.Second
	skewHarmful = 30 * time.Second // beyond which fresh tokens are refused
	jumpSeen    = 2 * time.Second  // that the log's times may go back: concurrent calls share a commit
	jumpEntries = 1000             // of the log that are looked at

	setClock = "sudo timedatectl set-ntp true"
	whyClock = "Tokens are refused as expired or not valid yet, and the audit log's times are wrong."
)

// checkClock holds the clock against keeper's, the system's own word, and what was
// written here before.
func (d *doctor) checkClock(ctx context.Context) {
	before := len(d.found.Findings)
	if d.healthy != nil {
		d.checkSkew(d.healthy.ahead)
	}
	if synced, known := clockSynchronised(); known && !synced {
		d.warn("the system does not keep its clock synchronised", "It drifts until tokens are refused as expired or not valid yet.", setClock)
	}
	if built := buildTime(); time.Now().Before(built) {
		d.problem("the clock shows a time before this keeper was built, on "+when(built), whyClock, setClock)
	}
	if !d.elsewhere && d.data != "" {
		d.checkJumps(ctx)
	}
	if len(d.found.Findings) == before {
		d.ok("the clock is right, as far as can be told")
	}
}

func (d *doctor) checkSkew(ahead time.Duration) {
	if ahead.Abs() < skewSeen {
		return
	}
	what := "keeper's clock and this one differ by " + ahead.Abs().Round(time.Second).String()
	if ahead.Abs() < skewHarmful {
		d.warn(what, whyClock, setClock)
		return
	}
	d.problem(what, whyClock, setClock)
}

// checkJumps looks for times in the store that only a clock which was set can explain.
func (d *doctor) checkJumps(ctx context.Context) {
	db, err := d.place().OpenToRead(ctx)
	if err != nil {
		return // the store's own check says so
	}
	defer db.Close()
	page, err := db.AuditEntries(ctx, store.AuditFilter{Limit: jumpEntries})
	if err != nil || len(page.Entries) == 0 {
		return
	}
	newest := page.Entries[0].Time // they come newest first
	if ahead := time.Until(newest); ahead > skewSeen {
		d.problem("the audit log's newest entry is of "+when(newest)+", which is yet to come: the clock was set back", whyClock, setClock)
		return
	}
	for i := 1; i < len(page.Entries); i++ {
		later, earlier := page.Entries[i-1].Time, page.Entries[i].Time
		if back := earlier.Sub(later); back > jumpSeen {
			d.warn("the clock was set back by "+back.Round(time.Second).String()+" at "+when(later)+", says the audit log",
				"What happened before and after is told apart by the entries' numbers alone.", d.own("audit", "verify"))
			return
		}
	}
}

// buildTime is when the sources of this program were committed; zero where it is not
// known.
func buildTime() (at time.Time) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return at
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, _ = time.Parse(time.RFC3339, s.Value) // zero where it is none
		}
	}
	return at
}
