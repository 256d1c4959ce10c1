// Command check holds a dashboard against Grafana's own schema, by its Foundation SDK:
// no unknown field, nothing missing. It also wants of each panel what makes it
// readable, and prints the queries as rules, which promtool parses.
//
//	go run . ../dashboard.json >queries.yaml && promtool check rules queries.yaml
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: check dashboard.json")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	plugins.RegisterDefaultPlugins()
	var d dashboard.Dashboard
	if err := anyOf(d.UnmarshalJSONStrict(text)); err != nil {
		return fmt.Errorf("%s is not what Grafana reads: %w", file, err)
	}
	if err := anyOf(d.Validate()); err != nil {
		return fmt.Errorf("%s is not valid: %w", file, err)
	}
	queries, err := checkPanels(text)
	if err != nil {
		return err
	}
	return printRules(queries)
}

// checkPanels reads each panel by itself: of a dashboard that is read strictly, the SDK
// keeps none.
func checkPanels(text []byte) (queries []string, err error) {
	var rows struct {
		Panels []json.RawMessage `json:"panels"`
	}
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, err
	}
	var all []error
	seen := map[uint32]bool{}
	for _, raw := range rows.Panels {
		var p dashboard.Panel
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, err
		}
		if p.Type == "row" {
			continue
		}
		if err := anyOf(p.UnmarshalJSONStrict(raw)); err != nil {
			return nil, err
		}
		found, err := checkPanel(&p, seen)
		all, queries = append(all, err), append(queries, found...)
	}
	if len(queries) == 0 {
		all = append(all, errors.New("the dashboard has no query"))
	}
	return queries, errors.Join(all...)
}

// anyOf is nil where the SDK returns a list of no errors.
func anyOf(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}

// checkPanel wants a title, a sentence, a unit and queries of a data source that can
// be chosen.
func checkPanel(p *dashboard.Panel, seen map[uint32]bool) (queries []string, err error) {
	switch {
	case p.Title == nil || *p.Title == "":
		return nil, errors.New("a panel has no title")
	case p.Id == nil || seen[*p.Id]:
		return nil, fmt.Errorf("%s: no id of its own", *p.Title)
	case p.Description == nil || *p.Description == "":
		return nil, fmt.Errorf("%s: no description", *p.Title)
	case p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == nil:
		return nil, fmt.Errorf("%s: no unit", *p.Title)
	case p.Datasource == nil || p.Datasource.Uid == nil || *p.Datasource.Uid != "${datasource}":
		return nil, fmt.Errorf("%s: its data source cannot be chosen", *p.Title)
	case len(p.Targets) == 0:
		return nil, fmt.Errorf("%s: no query", *p.Title)
	}
	seen[*p.Id] = true
	for _, target := range p.Targets {
		query, ok := target.(prometheus.Dataquery)
		if pointed, is := target.(*prometheus.Dataquery); is {
			query, ok = *pointed, true
		}
		if !ok {
			return nil, fmt.Errorf("%s: a query that is not for Prometheus", *p.Title)
		}
		if !strings.Contains(query.Expr, `instance=~"$instance"`) {
			return nil, fmt.Errorf("%s: a query that heeds no choice of instance", *p.Title)
		}
		queries = append(queries, query.Expr)
	}
	return queries, nil
}

// printRules writes the queries, with Grafana's own words replaced, as JSON, which is
// YAML.
func printRules(queries []string) error {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	words := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	all := group{Name: "dashboard"}
	for i, query := range queries {
		all.Rules = append(all.Rules, rule{fmt.Sprintf("panel:query:%d", i), words.Replace(query)})
	}
	return json.NewEncoder(os.Stdout).Encode(map[string][]group{"groups": {all}})
}
