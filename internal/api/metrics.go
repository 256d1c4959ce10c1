package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/telemetry"
)

// standing measures how it stands with keeper when it is asked. The names among its
// labels are the operator's own.
type standing struct{ *API }

// The figures of standing.
var (
	entriesMetric = prometheus.NewDesc("keeper_audit_entries", "Entries of the audit log, those that left it among them.", nil, nil)
	risksMetric   = prometheus.NewDesc("keeper_audit_high_risk_entries", "Entries of risk 1 or 2.", nil, nil)
	signedMetric  = prometheus.NewDesc("keeper_audit_signed_entries", "Entries that the newest signed head is over.", nil, nil)
	upMetric      = prometheus.NewDesc("keeper_audit_outlet_up", "Whether a sink, a witness or the archive takes what it is given.", []string{"kind", "name"}, nil)
	behindMetric  = prometheus.NewDesc("keeper_audit_outlet_behind_entries", "Entries that it has not got yet.", []string{"kind", "name"}, nil)
	sourceMetric  = prometheus.NewDesc("keeper_secret_source_up", "Whether the source of a secret gives its value.", []string{"name"}, nil)
	servesMetric  = prometheus.NewDesc("keeper_secret_serves", "Whether there is a value of a secret that comes from a source.", []string{"name"}, nil)
	readyMetric   = prometheus.NewDesc("keeper_ready", "Whether a call could be served.", nil, nil)
	agentsMetric  = prometheus.NewDesc("keeper_agents", "Registered agents.", []string{"status"}, nil)
	tokensMetric  = prometheus.NewDesc("keeper_tokens_alive", "Agents' tokens that are neither expired nor revoked.", nil, nil)
	sessionMetric = prometheus.NewDesc("keeper_sessions", "Sessions of people who are signed in to the dashboard.", nil, nil)
	secretsMetric = prometheus.NewDesc("keeper_secrets", "Secrets, by what can be done with them.", []string{"state"}, nil)
	polledMetric  = prometheus.NewDesc("keeper_cluster_poll_age_seconds", "Since this keeper began its last good look at the database that it shares.", nil, nil)
	lapsesMetric  = prometheus.NewDesc("keeper_cluster_lease_lost_total", "How often this keeper refused all calls since it had lost touch with the database for too long.", nil, nil)
	waitingMetric = prometheus.NewDesc("keeper_cluster_unshipped_entries", "Entries of the audit log that are in this keeper's folder and not in the database yet.", nil, nil)
	bytesMetric   = prometheus.NewDesc("keeper_cluster_unshipped_bytes", "Size of these in the folder.", nil, nil)
	leadsMetric   = prometheus.NewDesc("keeper_cluster_leading", "Whether this keeper feeds sinks and archives for all.", nil, nil)
	aliveMetric   = prometheus.NewDesc("keeper_cluster_keepers_alive", "Keepers on the database that live, this one among them.", nil, nil)
	trustMetric   = prometheus.NewDesc("keeper_trusted_issuer_problems", "Issuers whose keys cannot be had.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c standing) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		entriesMetric, risksMetric, signedMetric, upMetric, behindMetric, sourceMetric, servesMetric,
		readyMetric, agentsMetric, tokensMetric, sessionMetric, secretsMetric, trustMetric,
		polledMetric, lapsesMetric, waitingMetric, bytesMetric, leadsMetric, aliveMetric,
	} {
		out <- d
	}
}

// gauge sends one figure on.
type gauge func(d *prometheus.Desc, value float64, labels ...string)

// Collect implements [prometheus.Collector].
func (c standing) Collect(out chan<- prometheus.Metric) {
	c = standing{c.newest.Load()}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	send := gauge(func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	})
	send(readyMetric, number(c.checkReady(ctx) == nil))
	c.ofLog(ctx, send)
	c.ofAccess(ctx, send)
	if c.keepers.Figures != nil {
		is := c.keepers.Figures(ctx)
		out <- prometheus.MustNewConstMetric(lapsesMetric, prometheus.CounterValue, float64(is.Lapses))
		is.send(send)
	}
	for _, one := range c.sources() {
		send(sourceMetric, number(one.Problem == ""), one.Name)
		send(servesMetric, number(one.Serves), one.Name)
	}
}

func (f ClusterFigures) send(send gauge) {
	send(polledMetric, f.PolledAgo.Seconds())
	send(waitingMetric, float64(f.Waiting))
	send(bytesMetric, float64(f.Bytes))
	send(leadsMetric, number(f.Leads))
	if f.Alive >= 0 {
		send(aliveMetric, float64(f.Alive))
	}
}

func (c standing) ofLog(ctx context.Context, send gauge) {
	if totals, err := c.audit.Totals(ctx); err == nil {
		send(entriesMetric, float64(totals.Entries))
		send(risksMetric, float64(totals.HighRisk))
	}
	send(signedMetric, float64(c.audit.Signed()))
	for _, o := range c.outlets() {
		send(upMetric, number(o.Problem == ""), o.Kind, o.Name)
		send(behindMetric, float64(o.Behind), o.Kind, o.Name)
	}
}

// ofAccess is who may call, and with what.
func (c standing) ofAccess(ctx context.Context, send gauge) {
	agents := map[string]int{string(store.Active): 0, string(store.Pending): 0, string(store.Disabled): 0, string(store.Revoked): 0}
	for _, one := range c.auth.Agents() {
		agents[string(one.Status)]++
	}
	for status, n := range agents {
		send(agentsMetric, float64(n), status)
	}
	if c.liveTokens != nil {
		if n, err := c.liveTokens(ctx); err == nil {
			send(tokensMetric, float64(n))
		}
	}
	if c.sessions != nil {
		send(sessionMetric, float64(c.sessions.Len()))
	}
	secrets := map[string]int{"kept": 0, "refused": 0}
	for _, one := range c.vault.List() {
		switch {
		case !one.RefusedAt.IsZero():
			secrets["refused"]++
		case one.State != "":
			secrets[one.State]++
		default:
			secrets["kept"]++
		}
	}
	for state, n := range secrets {
		send(secretsMetric, float64(n), state)
	}
	send(trustMetric, float64(len(c.trust.Problems())))
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// watch takes over what others watch keeper by.
func (a *API) watch(c Config) (err error) {
	a.checkRows, a.checkIndex = c.CheckRows, c.CheckIndex
	a.telemetry, a.liveTokens, a.alive, a.profiles = c.Telemetry, c.LiveTokens, c.Alive, c.Profiles
	a.profiling = make(chan struct{}, 1)
	if a.alive == nil {
		a.alive = func(context.Context) error { return nil }
	}
	if a.telemetry == nil {
		if a.telemetry, err = telemetry.New(telemetry.Config{Logger: a.logger}); err != nil {
			return err
		}
	}
	if c.Succeeds != nil { // TakeOver has it asked
		return nil
	}
	a.TakeOver()
	if a.telemetry.Registry().Register(standing{a}) != nil {
		return errors.New("a Telemetry is for one API")
	}
	return nil
}

func (a *API) metrics() http.Handler {
	return promhttp.HandlerFor(a.telemetry.Registry(), promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func (s *surface) serveMetrics(_ context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	handler := s.metrics()
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		handler.ServeHTTP(w, r)
	}}, nil
}
