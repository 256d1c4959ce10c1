package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Outlet is where the audit log leaves keeper, and how it stands with it.
type Outlet struct {
	Kind    string    `json:"kind" enum:"sink,witness,archive"`
	Name    string    `json:"name"`
	Type    string    `json:"type,omitempty" doc:"Of a sink"`
	Seq     int64     `json:"seq" doc:"The last entry that it has; of a witness, that its head is over"`
	Behind  int64     `json:"behind" doc:"Entries after that one"`
	Problem string    `json:"problem,omitempty" doc:"Why it takes none at present"`
	Since   time.Time `json:"since,omitzero" doc:"Since when"`
}

type archivedBody struct {
	Message string `json:"message"`
	Files   int    `json:"files" doc:"To which entries went"`
}

func (s *surface) archiveNow(ctx context.Context, _ *struct{}) (*output[archivedBody], error) {
	if s.archive == nil {
		return nil, &fieldError{"audit.retention", "it is not configured, so nothing leaves the log"}
	}
	files, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	return &output[archivedBody]{archivedBody{fmt.Sprintf("entries went to %d files", files), files}}, nil
}

// warning is what anyone may know of an outlet, an issuer or a secret's source in
// trouble, or of a credential that is refused.
type warning struct {
	What    string    `json:"what" enum:"audit sink,audit witness,audit archive,trusted issuer,secret source,credential"`
	Problem string    `json:"problem"`
	Since   time.Time `json:"since"`
}

func (s *surface) warnings() (all []warning) {
	for _, o := range s.outlets() {
		if o.Problem != "" {
			all = append(all, warning{"audit " + o.Kind, o.Problem, o.Since.UTC()})
		}
	}
	for _, p := range s.trust.Problems() {
		all = append(all, warning{"trusted issuer", p.What, p.Since.UTC()})
	}
	for _, r := range s.vault.Refusals() {
		all = append(all, warning{"credential", "a credential of " + r.Provider + " is refused: " + r.Reason, r.Since})
	}
	return append(all, s.sourceWarnings()...)
}

// outletCollector measures the audit log, its outlets and the sources of secrets when
// it is asked.
type outletCollector struct{ *API }

var (
	entriesMetric = prometheus.NewDesc("keeper_audit_entries", "Entries of the audit log, those that left it among them.", nil, nil)
	risksMetric   = prometheus.NewDesc("keeper_audit_high_risk_entries", "Entries of risk 1 or 2.", nil, nil)
	signedMetric  = prometheus.NewDesc("keeper_audit_signed_entries", "Entries that the newest signed head is over.", nil, nil)
	upMetric      = prometheus.NewDesc("keeper_audit_outlet_up", "Whether a sink, a witness or the archive takes what it is given.", []string{"kind", "name"}, nil)
	behindMetric  = prometheus.NewDesc("keeper_audit_outlet_behind_entries", "Entries that it has not got yet.", []string{"kind", "name"}, nil)
)

// Describe implements [prometheus.Collector].
func (c outletCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{entriesMetric, risksMetric, signedMetric, upMetric, behindMetric, sourceMetric, servesMetric} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c outletCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if totals, err := c.audit.Totals(ctx); err == nil {
		gauge(entriesMetric, float64(totals.Entries))
		gauge(risksMetric, float64(totals.HighRisk))
	}
	gauge(signedMetric, float64(c.audit.Signed()))
	for _, o := range c.outlets() {
		up := 1.0
		if o.Problem != "" {
			up = 0
		}
		gauge(upMetric, up, o.Kind, o.Name)
		gauge(behindMetric, float64(o.Behind), o.Kind, o.Name)
	}
	c.collectSources(gauge)
}

func (a *API) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(outletCollector{a})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func (s *surface) serveMetrics(_ context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	handler := s.metrics()
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		handler.ServeHTTP(w, r)
	}}, nil
}
