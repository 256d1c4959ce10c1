package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// members are the last numbers of each keeper's own entries, by its id.
type members map[string]int64

// memberName stands in the details of each entry that is of one of several keepers.
var memberName = []byte(`"keeper":{`)

// follow holds the number that an entry has among those of its keeper against the one
// before it. The first that is seen of a keeper is its first one where the log is read from
// its beginning.
func (m *members) follow(leaf []byte, fromBeginning bool) *Damage {
	if !bytes.Contains(leaf, memberName) {
		return nil
	}
	var e struct {
		ID      string `json:"id"`
		Details struct {
			Keeper Member `json:"keeper"`
		} `json:"details"`
	}
	if json.Unmarshal(leaf, &e) != nil || e.Details.Keeper.Number == 0 { // or of no member's segment
		return nil
	}
	if *m == nil {
		*m = members{}
	}
	id, number := e.Details.Keeper.ID, e.Details.Keeper.Number
	last, seen := (*m)[id]
	(*m)[id] = number
	if number == last+1 || !seen && !fromBeginning {
		return nil
	}
	entry, _ := strconv.ParseInt(e.ID, 10, 64) // the tree's number of it
	if number > last {
		return &Damage{Harm: Deleted, Entry: entry, Text: fmt.Sprintf("before it, of the entries of the keeper %s %s missing", id, numbers(last+1, number-1))}
	}
	return &Damage{Harm: Inserted, Entry: entry, Text: fmt.Sprintf("it is number %d of the entries of the keeper %s, which come up to %d before it", number, id, last)}
}

func numbers(first, last int64) string {
	if first == last {
		return fmt.Sprintf("number %d is", first)
	}
	return fmt.Sprintf("the numbers %d to %d are", first, last)
}
