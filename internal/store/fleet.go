package store

import "time"

// LogEnd is where a log ends that several keepers append to. Whoever appends finds it
// under the lock that all append under, and leaves another.
type LogEnd struct {
	Size   int64     // how many entries there are
	Tree   []Hash    // of the perfect subtrees that the tree over them is made of, largest first
	Head   int64     // how many the newest signed head is over
	State  string    // the digest of the rows that keepers decide by, as the log says them; empty: not said yet
	Cutoff time.Time // revocations of tokens that expired by then are not in it; to the second
	Feed   int64     // how many changes of those rows there were
	Seal   Hash      // a keyed hash of all that, which only keepers can make; zero: nobody has written it yet
}

// Batch is what is appended at once to a log that several keepers append to.
type Batch struct {
	Entries    []AuditEntry
	Nodes      []AuditNode // that the entries complete
	Head       *Checkpoint // over all entries, these included; nil: none is signed
	Succession bool        // by Head another key takes over
	Kinds      []string    // of the rows that change in the same transaction; nil: none do
	Shipped    int64       // the last of the member's own numbers that is in the log now; 0: as before
	End        LogEnd
}

// Member is one of the keepers that share a database.
type Member struct {
	ID          string // of its data folder
	Incarnation string // of its process
	Name        string // for people: host and process
	Address     string // where it listens
	Version     string
	State       MemberState
	StartedAt   time.Time // these by the database's clock
	SeenAt      time.Time
	Shipped     int64 // the last of its own entries' numbers that is in the log
	Waiting     int64 // entries that are not yet
	Applied     int64 // the last change of rows that it has taken over
	Leads       bool  // it does what one does for all
}

// MemberState says what a keeper does.
type MemberState string

// The states of a member.
const (
	Serving  MemberState = "serving"
	Draining MemberState = "draining" // it takes no new calls and ends
	Stopped  MemberState = "stopped"
)

// Living is how long after it was last seen a member is taken for alive.
const Living = 10 * time.Second

// Alive reports whether the member runs, as far as the database knows at a time by its
// clock.
func (m *Member) Alive(now time.Time) bool {
	return m.State != Stopped && now.Sub(m.SeenAt) < Living
}

// Pulse is what one look at the database tells.
type Pulse struct {
	Now   time.Time // by the database's clock
	End   LogEnd
	Note  []byte // the newest signed head; nil: there is none
	Taken bool   // another process is this member now
	Known int64  // how many entries the log was known to have before the look
}
