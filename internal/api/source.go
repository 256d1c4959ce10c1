package api

import "time"

// Source is where a secret comes from, and how it stands with it.
type Source struct {
	Name    string    `json:"name" doc:"provider@label, or openbao: keeper's own token there"`
	Source  string    `json:"source"`
	Problem string    `json:"problem,omitempty" doc:"Why it gives no value at present"`
	Since   time.Time `json:"since,omitzero" doc:"Since when"`
	Serves  bool      `json:"serves" doc:"A value of it is in use"`
}

// sourceWarnings are what anyone may know of the sources in trouble.
func (s *surface) sourceWarnings() (all []warning) {
	for _, one := range s.sources() {
		switch {
		case one.Problem == "":
		case one.Serves:
			all = append(all, warning{"secret source", "it fails; its last value serves for a time", one.Since.UTC()})
		default:
			all = append(all, warning{"secret source", "it fails, and calls that need it are refused", one.Since.UTC()})
		}
	}
	return all
}
