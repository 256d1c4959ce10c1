package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

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

var (
	sourceMetric = prometheus.NewDesc("keeper_secret_source_up", "Whether the source of a secret gives its value.", []string{"name"}, nil)
	servesMetric = prometheus.NewDesc("keeper_secret_serves", "Whether there is a value of a secret that comes from a source.", []string{"name"}, nil)
)

// collectSources measures the sources.
func (a *API) collectSources(gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	number := func(yes bool) float64 {
		if yes {
			return 1
		}
		return 0
	}
	for _, one := range a.sources() {
		gauge(sourceMetric, number(one.Problem == ""), one.Name)
		gauge(servesMetric, number(one.Serves), one.Name)
	}
}
