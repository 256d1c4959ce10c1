package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

// scraped is what /metrics says, by the name of the family.
type scraped map[string]*dto.MetricFamily

func scrape(t *testing.T, k *keepertest.Keeper) scraped {
	t.Helper()
	req := get(t, k.Server().AdminURL()+"/metrics")
	req.Header.Set("Authorization", "Bearer "+k.AdminToken())
	resp := k.Do(t, req)
	if resp.Status != http.StatusOK {
		t.Fatalf("scraping: got %d, want 200", resp.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(resp.Body))
	if err != nil {
		t.Fatalf("parsing the figures: %v", err)
	}
	return families
}

// series is the value of the one series with the labels, each "name=value": a
// histogram's is its count. It is 0 where there is none.
func (s scraped) series(family string, labels ...string) (value float64) {
	for _, m := range s[family].GetMetric() {
		if hasAll(m, labels) {
			value += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return value
}

func (s scraped) sum(family string, labels ...string) (value float64) {
	for _, m := range s[family].GetMetric() {
		if hasAll(m, labels) {
			value += m.GetHistogram().GetSampleSum()
		}
	}
	return value
}

func hasAll(m *dto.Metric, labels []string) bool {
	for _, one := range labels {
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName()+"="+l.GetValue() == one }) {
			return false
		}
	}
	return true
}

func (s scraped) keepers() (names []string) {
	for name := range s {
		if strings.HasPrefix(name, "keeper_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// traffic has calls end in each way that figures tell apart.
func traffic(t *testing.T, k *keepertest.Keeper) {
	t.Helper()
	token := k.Token(t, "watched", "openai:*", "anthropic:*")
	k.Call(t, http.MethodPost, "openai", chatPath, token, `{"model":"m","messages":[]}`)
	k.Call(t, http.MethodPost, "openai", chatPath, token, `{"model":"m","stream":true,"messages":[]}`)
	k.Call(t, http.MethodPost, "openai", chatPath, token, `{"model":"m","messages":[]}`, "X-Fake", "leak=text")
	k.Call(t, http.MethodPost, "openai", chatPath, token, `{"text":"`+fake.NewKey("github")+`"}`)
	k.Call(t, http.MethodGet, "github", "/user", token, "")
	k.Call(t, http.MethodGet, "openai", "/v1/models", "", "")
	k.Call(t, http.MethodGet, "nosuch-provider", "/", token, "")
}

func TestMetricsTellHowCallsEnd(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t)
	traffic(t, k)
	s := scrape(t, k)
	for _, want := range []struct {
		family string
		n      float64
		labels []string
	}{
		{"keeper_calls_total", 3, []string{"provider=openai", "kind=call", "outcome=complete", "code=none"}},
		{"keeper_calls_total", 1, []string{"provider=openai", "outcome=refused", "code=secret_in_request"}},
		{"keeper_calls_total", 1, []string{"provider=github", "outcome=refused", "code=scope_denied"}},
		{"keeper_calls_total", 1, []string{"provider=openai", "outcome=refused", "code=token_missing"}},
		{"keeper_calls_total", 1, []string{"provider=unknown", "outcome=refused", "code=provider_unknown"}},
		{"keeper_findings_total", 1, []string{"in=request", "action=blocked"}},
		{"keeper_call_duration_seconds", 3, []string{"provider=openai"}},
		{"keeper_call_provider_seconds", 3, []string{"provider=openai"}},
		{"keeper_call_added_seconds", 3, []string{"provider=openai"}},
		{"keeper_call_first_byte_seconds", 1, []string{"provider=openai"}},
		{"keeper_audit_decision_seconds", 3, nil},
		{"keeper_calls_in_flight", 0, nil},
		{"keeper_agents", 1, []string{"status=active"}},
		{"keeper_tokens_alive", 1, nil},
		{"keeper_ready", 1, nil},
		{"keeper_build_info", 1, []string{"version=test"}},
	} {
		if got := s.series(want.family, want.labels...); got != want.n {
			t.Errorf("%s %v: got %v, want %v", want.family, want.labels, got, want.n)
		}
	}
	if got := s.series("keeper_findings_total", "in=answer", "action=redacted"); got < 1 {
		t.Errorf("redacted findings: got %v, want some", got)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if s[name] == nil {
			t.Errorf("%s: got none, want it", name)
		}
	}
}

func TestTheProvidersTimeIsNotKeepers(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t)
	held, release := make(chan struct{}), make(chan struct{})
	k.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		close(held)
		<-release
		io.WriteString(w, `{}`)
	})
	token := k.Token(t, "watched", "openai:*")
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Call(t, http.MethodPost, "openai", chatPath, token, `{"model":"m","messages":[]}`)
	}()
	<-held
	began := time.Now()
	scrape(t, k) // which takes a while
	least := time.Since(began).Seconds()
	close(release)
	<-done
	s := scrape(t, k)
	whole, provider, added := s.sum("keeper_call_duration_seconds"), s.sum("keeper_call_provider_seconds"), s.sum("keeper_call_added_seconds")
	if provider < least {
		t.Errorf("provider's time: got %v s, want at least the %v s that it took", provider, least)
	}
	if added <= 0 || added > whole-provider {
		t.Errorf("added: got %v s of %v s, of which %v s were the provider's", added, whole, provider)
	}
}

// hostile sends what a caller would send that wants to be in the figures.
func hostile(t *testing.T, k *keepertest.Keeper, token string, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("evil%d", i)
		for _, r := range []struct{ method, path string }{
			{"GET", "/api/v1/proxy/" + name + "/x"},
			{"GET", "/api/v1/proxy/openai@" + name + "/v1/" + name},
			{"EVIL" + fmt.Sprint(i), "/api/v1/proxy/openai/v1/models"},
			{"EVIL" + fmt.Sprint(i), "/" + name},
			{"GET", "/api/v1/" + name},
			{"GET", "/api/v1/agents/" + name},
			{"GET", "/metrics?" + name},
		} {
			req, err := http.NewRequestWithContext(t.Context(), r.method, k.URL()+r.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Evil-"+name, name)
			k.Do(t, req)
		}
		asProxy, err := http.NewRequestWithContext(t.Context(), "GET", k.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		asProxy.URL.Opaque, asProxy.Host = "http://"+name+".example/"+name, name+".example"
		asProxy.Header.Set("Proxy-Authorization", "Bearer "+token)
		k.Do(t, asProxy)
	}
}

func TestCallersAddNoSeriesAndNoWordOfTheirs(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t)
	token := k.Token(t, "evil-agent", "openai:*")
	count := func(s scraped) (n int) {
		for _, name := range s.keepers() {
			n += len(s[name].GetMetric())
		}
		return n
	}
	scrape(t, k)
	hostile(t, k, token, 2)
	before := count(scrape(t, k))
	hostile(t, k, token, 25)
	after := scrape(t, k)
	if got := count(after); got != before {
		t.Errorf("series after more of the same: got %d, want %d as before", got, before)
	}
	for name, family := range after {
		if text := family.String(); strings.Contains(strings.ToLower(text), "evil") {
			t.Errorf("%s: got a word of a caller's in %s", name, text)
		}
	}
}

func TestMonitoringPageListsEveryFigureAndNoOther(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `keeper_"); ok {
			cells := strings.Split(rest, "|")
			name, _, _ := strings.Cut(rest, "`")
			listed = append(listed, "keeper_"+name+" "+strings.TrimSpace(cells[1])+" "+strings.TrimSpace(cells[2]))
		}
	}
	slices.Sort(listed)
	s := everything(t)
	var known []string
	for _, name := range s.keepers() {
		known = append(known, name+" "+strings.ToLower(s[name].GetType().String())+" "+labelsOf(s[name]))
	}
	if !slices.Equal(listed, known) {
		t.Errorf("docs/monitoring.md: got\n%s\nwant\n%s", strings.Join(listed, "\n"), strings.Join(known, "\n"))
	}
}

// labelsOf is a family's labels as the page has them.
func labelsOf(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		names = append(names, "`"+l.GetName()+"`")
	}
	if len(names) == 0 {
		return "–"
	}
	return strings.Join(names, " ")
}

// everything is the figures of a keeper in which there is something of everything.
func everything(t *testing.T) scraped {
	t.Helper()
	far := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(far.Close)
	key := t.TempDir() + "/key"
	if err := os.WriteFile(key, []byte(fake.NewKey("generic")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := keepertest.Start(t, keepertest.Without("stripe"), keepertest.Configured(func(c *server.Config) {
		c.Audit.WitnessURLs = []string{far.URL}
		c.Secrets = []server.Secret{{Provider: "stripe", From: "file:" + key}}
		c.Traces.Endpoint = far.URL
	}))
	traffic(t, k)
	return scrape(t, k)
}
