// Package quota holds callers to how much they may use: requests, bytes and model tokens
// in a window of time, and calls at once. Its one invariant: what a call is let begin for
// was drawn from the store before, so that no two keepers give the same request away, and
// one that cannot reach the store gives away what it has drawn and no more. What a call
// costs beside itself (bytes, model tokens) is known at its end only, and is counted
// then: a bound on those is passed by the calls that were under way when it was reached,
// and by nothing else. It never imports the vault, the proxy, or a database.
package quota

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Quota is one bound that the operator sets. A bound of zero is none; a Quota has at
// least one.
type Quota struct {
	Name string // of letters, digits, dots, hyphens and underscores

	// Which calls it counts: those that match all three. An empty list matches any.
	Agents, Providers, Scopes []string
	// Each is by what the calls are told apart, of Kinds: each agent has the bound for
	// itself, or each agent at each provider. Empty: all of them share it.
	Each []string

	Window      time.Duration // 1 s to 366 days; windows begin at its multiples since 1970, in UTC
	Requests    int64         // calls in a window that token and scope allow, whatever becomes of them
	Bytes       int64         // of requests' and answers' bodies in a window
	ModelTokens int64         // that the providers' answers count, in a window
	Concurrent  int64         // calls under way
}

// Kinds are by what a Quota tells calls apart.
var Kinds = []string{"agent", "token", "provider", "scope"}

const (
	shortest = time.Second
	longest  = 366 * 24 * time.Hour
	maxName  = 64
)

// Check returns what is wrong with quotas, naming the field.
func Check(quotas []Quota) error {
	names := map[string]bool{}
	for i, l := range quotas {
		at := fmt.Sprintf("quotas[%d]", i)
		switch {
		case !isName(l.Name):
			return fmt.Errorf("%s.name: got %q, want 1 to %d letters, digits, dots, hyphens or underscores", at, l.Name, maxName)
		case names[l.Name]:
			return fmt.Errorf("%s.name: there are two quotas %q; give each its own name", at, l.Name)
		}
		names[l.Name] = true
		if err := l.check(); err != nil {
			return fmt.Errorf("%s.%w", at, err)
		}
	}
	return nil
}

func (l *Quota) check() error {
	for i, kind := range l.Each {
		if !slices.Contains(Kinds, kind) || slices.Contains(l.Each[:i], kind) {
			return fmt.Errorf("each: got %q, want each of %s at most once", kind, strings.Join(Kinds, ", "))
		}
	}
	for field, n := range map[string]int64{"requests": l.Requests, "bytes": l.Bytes, "modelTokens": l.ModelTokens, "concurrent": l.Concurrent} {
		if n < 0 {
			return fmt.Errorf("%s: got %d, want a number above zero, or none to leave it unbounded", field, n)
		}
	}
	windowed := l.Requests > 0 || l.Bytes > 0 || l.ModelTokens > 0
	switch {
	case !windowed && l.Concurrent == 0:
		return errors.New("requests: there is no bound; set requests, bytes, modelTokens or concurrent")
	case windowed && (l.Window < shortest || l.Window > longest):
		return errors.New("window: set the time that the bound is for, from 1s to 8784h, such as 1m or 24h")
	case !windowed && l.Window != 0:
		return errors.New("window: concurrent alone has none; leave it out, or set requests, bytes or modelTokens")
	}
	return nil
}

func isName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

// Call is what a Quota knows of a call.
type Call struct{ Agent, Token, Provider, Scope string }

// covers reports whether the quota counts the call. A scope of the form "provider:*"
// matches any of that provider's.
func (l *Quota) covers(c Call) bool {
	in := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	return in(l.Agents, c.Agent) && in(l.Providers, c.Provider) &&
		(in(l.Scopes, c.Scope) || slices.Contains(l.Scopes, c.Provider+":*"))
}

// key names the call's share of the quota: empty where all calls share it.
func (l *Quota) key(c Call) string {
	var parts []string
	for _, kind := range Kinds {
		if slices.Contains(l.Each, kind) {
			parts = append(parts, kind+"="+c.value(kind))
		}
	}
	return strings.Join(parts, " ")
}

func (c Call) value(kind string) string {
	switch kind {
	case "agent":
		return c.Agent
	case "token":
		return c.Token
	case "provider":
		return c.Provider
	}
	return c.Scope
}

// The things that are counted in a window.
const (
	ofRequests = iota
	ofBytes
	ofTokens
	resources
)

var words = [resources]string{"requests", "bytes", "modelTokens"}

func (l *Quota) max(resource int) int64 {
	return [resources]int64{l.Requests, l.Bytes, l.ModelTokens}[resource]
}

// Exceeded is why a call may not begin. Its text is a sentence for the caller.
type Exceeded struct {
	Quota string        // its name
	Of    string        // "requests", "bytes", "modelTokens" or "concurrent"
	Max   int64         // how much there is
	After time.Duration // when a call may pass again; above zero
	text  string
}

// Error implements error.
func (e *Exceeded) Error() string { return e.text }

var spoken = map[string]string{"requests": "requests", "bytes": "bytes", "modelTokens": "model tokens"}

func (l *Quota) exceeded(resource int, key string, until, now time.Time) *Exceeded {
	of, after := words[resource], max(until.Sub(now), time.Millisecond)
	return &Exceeded{l.Name, of, l.max(resource), after, fmt.Sprintf(
		"the quota %s of %d %s each %s is used up%s until %s; an operator raises it under quotas in the configuration",
		l.Name, l.max(resource), spoken[of], short(l.Window), whose(key), until.UTC().Format(time.RFC3339))}
}

func (l *Quota) tooMany(key string) *Exceeded {
	return &Exceeded{l.Name, "concurrent", l.Concurrent, time.Second, fmt.Sprintf(
		"the quota %s of %d calls at once is reached%s; wait for one to end", l.Name, l.Concurrent, whose(key))}
}

func whose(key string) string {
	if key == "" {
		return ""
	}
	return " for " + strings.ReplaceAll(key, "=", " ")
}

// short is a duration without the zeros at its end: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"0s", "0m"} {
		if cut := strings.TrimSuffix(s, zero); strings.HasSuffix(cut, "m") || strings.HasSuffix(cut, "h") {
			s = cut
		}
	}
	return s
}
