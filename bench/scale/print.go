package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// results are the answers to all questions.
type results struct {
	Machine string
	Seed    uint64
	Spread  []spreadResult
	Cut     []spreadResult
	Limits  []limitsResult

	lease time.Duration
}

// print writes them. Times in JSON and CSV are seconds, shares are of one.
func (r *results) print(out io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(out)
		e.SetIndent("", " ")
		return e.Encode(r)
	case "csv":
		w := csv.NewWriter(out)
		return w.WriteAll(r.records())
	}
	tables := r.tables()
	for _, name := range tableNames {
		if _, err := fmt.Fprintf(out, "%s\n\n%s\n", titles[name], tables[name]); err != nil {
			return err
		}
	}
	return nil
}

var tableNames = []string{"spread", "cut", "limits"}

var titles = map[string]string{
	"spread": "How long after its commit a revocation is refused",
	"cut":    "The same, where keepers are cut off from the database at the moment of the commit",
	"limits": "How exactly a bound is kept, where calls come at twice the rate that fits in",
}

// tables are the answers in Markdown, by name.
func (r *results) tables() map[string]string {
	spreads := [][]string{{"Rows", "Keepers", "The commit takes", "NOTIFY: p50", "p99", "longest", "Polls alone: p50", "p99", "longest", "Lost the lease", "All serve again after"}}
	for i := 0; i+1 < len(r.Spread); i += 2 {
		a, b := r.Spread[i], r.Spread[i+1]
		spreads = append(spreads, []string{
			count(a.Rows), count(a.Keepers), short(a.Commits), short(a.Half), short(a.Most), short(a.Longest), short(b.Half), short(b.Most), short(b.Longest),
			percent(float64(a.Lapsed+a.Unheard) / float64(a.Watched)), again(a),
		})
	}
	cuts := [][]string{{"Rows", "Keepers", "Cut off", "p50", "p99", "longest"}}
	for _, c := range r.Cut {
		cuts = append(cuts, []string{count(c.Rows), count(c.Keepers), percent(c.spread.Cut), short(c.Half), short(c.Most), short(c.Longest)})
	}
	bounds := [][]string{{"Bound on", "Keepers", "Drawn at once", "Over, mean", "Over, most", "Unused, mean", "Draws"}}
	for _, l := range r.Limits {
		name, drawn := map[string]string{"requests": "requests", "modelTokens": "model tokens"}[l.Of], "1/16"
		if l.small() {
			drawn = "1/(16 × keepers)"
		}
		bounds = append(bounds, []string{name, count(l.Keepers), drawn, percent(l.Over), percent(l.Most), percent(l.Unused), fmt.Sprintf("%.1f/s", l.Draws)})
	}
	return map[string]string{"spread": markdown(spreads), "cut": markdown(cuts), "limits": markdown(bounds)}
}

func again(a spreadResult) string {
	if a.Unheard > 0 {
		return fmt.Sprintf("not in %.0f s", giveUp.Seconds())
	}
	return short(a.Again)
}

func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}

// short is a time in two or three digits.
func short(d time.Duration) string {
	switch {
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func percent(share float64) string {
	switch p := 100 * share; {
	case p == 0:
		return "0"
	case p < .1:
		return "under 0.1 %"
	case p < 10:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

// count is a number with commas.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// records are the answers as CSV: one line for each, its columns named by the first.
func (r *results) records() [][]string {
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
	part := func(f float64) string { return strconv.FormatFloat(f, 'f', 4, 64) }
	rows := [][]string{{
		"question", "keepers", "rows", "notify", "cut", "p50_s", "p99_s", "longest_s", "lost_the_lease", "again_s",
		"bound", "window_s", "portion", "over_mean", "over_most", "unused_mean", "draws_per_s",
	}}
	for _, s := range append(append([]spreadResult{}, r.Spread...), r.Cut...) {
		rows = append(rows, append([]string{
			"spread", strconv.Itoa(s.Keepers), strconv.Itoa(s.Rows), strconv.FormatBool(s.Notify), part(s.spread.Cut),
			seconds(s.Half), seconds(s.Most), seconds(s.Longest), part(float64(s.Lapsed+s.Unheard) / float64(s.Watched)), seconds(s.Again),
		}, make([]string, 7)...))
	}
	for _, l := range r.Limits {
		rows = append(rows, append(append([]string{l.Of, strconv.Itoa(l.Keepers)}, make([]string, 8)...),
			strconv.FormatInt(l.Bound, 10), seconds(l.Window), strconv.FormatInt(l.Portion, 10), part(l.Over), part(l.Most), part(l.Unused), part(l.Draws)))
	}
	return rows
}
