package fleet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// entry is one of the audit log's.
type entry struct {
	ID        string
	Event     string
	RequestID string
	Details   struct{ Decision, Outcome, Code string }
}

// entries are all of the log, by the keeper's own route.
func (k *keeper) entries() []entry {
	k.t.Helper()
	var all []entry
	for cursor := ""; ; {
		var page struct {
			Entries    []entry
			NextCursor string
		}
		got := k.must(http.MethodGet, "/audit?limit=1000"+cursor, nil)
		if err := json.Unmarshal(got.body, &page); err != nil {
			k.t.Fatalf("reading the log: %v", err)
		}
		all = append(page.Entries, all...)
		if page.NextCursor == "" {
			return all
		}
		cursor = "&cursor=" + url.QueryEscape(page.NextCursor)
	}
}

// calls is what the log says of proxied calls, by request.
type calls struct {
	decisions map[string]int
	outcomes  map[string][]string
	forwarded map[string]bool
}

func callsOf(all []entry) calls {
	c := calls{decisions: map[string]int{}, outcomes: map[string][]string{}, forwarded: map[string]bool{}}
	for _, e := range all {
		switch e.Event {
		case "proxy.request":
			c.decisions[e.RequestID]++
			if e.Details.Decision == "forward" {
				c.forwarded[e.RequestID] = true
			}
		case "proxy.response":
			c.outcomes[e.RequestID] = append(c.outcomes[e.RequestID], e.Details.Outcome)
		}
	}
	return c
}

// open is how many decisions have no outcome yet.
func (c calls) open() (n int) {
	for request := range c.forwarded {
		if len(c.outcomes[request]) == 0 {
			n++
		}
	}
	return n
}

// prove holds the log, as a keeper shows it and as an auditor reads it in the database,
// against what callers know: each call that was answered was decided once and has one
// outcome, no entry is missing and none is there twice. All callers must be gone.
func (f *fleet) prove(at *keeper, answered map[string]bool) calls {
	f.t.Helper()
	var all []entry
	var found calls
	eventually(f.t, "each decision in the log has its outcome, and each call that was answered its decision", func() bool {
		all = at.entries()
		found = callsOf(all)
		return found.open() == 0 && missing(answered, found) == 0
	})
	seen := map[string]bool{}
	for _, e := range all {
		if seen[e.ID] {
			f.t.Errorf("entry %s is in the log twice", e.ID)
		}
		seen[e.ID] = true
	}
	for n := 1; n <= len(all); n++ {
		if !seen[fmt.Sprint(n)] {
			f.t.Errorf("entry %d is missing from the log", n)
		}
	}
	for request, n := range found.decisions {
		if n != 1 || len(found.outcomes[request]) > 1 {
			f.t.Errorf("request %s: got %d decisions and outcomes %v, want one of each at most", request, n, found.outcomes[request])
		}
	}
	f.verify(at)
	return found
}

func missing(answered map[string]bool, found calls) (n int) {
	for request := range answered {
		if found.decisions[request] == 0 {
			n++
		}
	}
	return n
}

// verify has an auditor look at the database.
func (f *fleet) verify(k *keeper) {
	f.t.Helper()
	out, err := k.command("audit", "verify", "--store", f.database)
	if err != nil || !strings.Contains(out, "OK:") {
		f.t.Errorf("keeper audit verify: %v, want that all is well\n%s", err, out)
	}
}
