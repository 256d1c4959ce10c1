package server_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// named are the figures that alerts and the dashboard ask for.
func named(t *testing.T, file string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../contrib/monitoring/" + file)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(?:keeper|process|go)_[a-z0-9_]+`).FindAllString(string(text), -1) {
		names[strings.TrimSuffix(name, "_bucket")] = true
	}
	return names
}

func TestAlertsAndDashboardAskForFiguresThatThereAre(t *testing.T) {
	t.Parallel()
	s := everything(t)
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml", "dashboard.json"} {
		names := named(t, file)
		if len(names) < 10 {
			t.Errorf("%s: got %d figures, want those that it asks for", file, len(names))
		}
		for name := range names {
			if s[name] == nil {
				t.Errorf("%s asks for %s, which keeper does not export", file, name)
			}
		}
	}
	for _, name := range s.keepers() {
		if name != "keeper_build_info" && !named(t, "dashboard.json")[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func TestMonitoringPageSaysWhatToDoAtEachAlert(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../contrib/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !regexp.MustCompile(`(?m)^\|[^|]*\b` + alert[1] + `\b[^|]*\|`).Match(page) {
			t.Errorf("docs/monitoring.md does not say what to do at %s", alert[1])
		}
	}
}
