package sink

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/superinstance/keeper/internal/store"
)

// incident is an entry as an alert tells it.
type incident struct {
	*store.AuditEntry
	details
}

// details are those that sentences name. Which are there depends on the event.
type details struct {
	Method   string   `json:"method"`
	Path     string   `json:"path"`
	Route    string   `json:"route"`
	Decision string   `json:"decision"`
	Code     string   `json:"code"`
	Outcome  string   `json:"outcome"`
	Action   string   `json:"action"`
	Label    string   `json:"label"`
	Purpose  string   `json:"purpose"`
	Rule     string   `json:"rule"`
	Name     string   `json:"name"`
	Reason   string   `json:"reason"`
	Count    int64    `json:"count"`
	By       string   `json:"by"`
	Source   string   `json:"source"`
	Objects  []object `json:"objects"`
	Settings []struct {
		Name string `json:"name"`
	} `json:"settings"`
	First    int64    `json:"first"`
	Last     int64    `json:"last"`
	Export   string   `json:"export"`
	Changed  []string `json:"changed"` // names of settings
	Entries  int64    `json:"entries"`
	Witness  string   `json:"witness"`
	Of       string   `json:"of"`
	Seen     int64    `json:"seen"`
	Findings []found  `json:"findings"`
}

type object struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

type found struct {
	Rule     string `json:"rule"`
	Location string `json:"location"`
}

// sentences says of each event what happened. It is also the list of events that a
// Spec can name.
var sentences = map[string]func(i *incident) string{
	"proxy.request":  decision,
	"proxy.response": outcome,
	"scan.blocked":   blocked,
	"scan.redacted": func(i *incident) string {
		return "A secret was taken out of an answer" + i.of() + " to " + i.who() + "."
	},
	"scan.passed":       func(i *incident) string { return "A text of " + i.who() + " was scanned, and no secret found." },
	"exception.created": func(i *incident) string { return "The scanner now lets a value pass: " + i.who() + " said so." },
	"exception.removed": func(i *incident) string { return "The scanner lets a value pass no more: " + i.who() + " said so." },
	"vault.modified":    vaultModified,
	"vault.access":      vaultAccess,
	"vault.refused": func(i *incident) string {
		return "The credential" + i.of() + i.label() + " is refused." + i.because()
	},
	"token.issued":     func(i *incident) string { return "A token was issued to " + i.who() + "." },
	"token.validated":  func(i *incident) string { return "A token of " + i.who() + " was looked at." + i.because() },
	"token.revoked":    func(i *incident) string { return "A token of " + i.who() + " was revoked." },
	"session.started":  func(i *incident) string { return "Somebody signed in to the dashboard: " + i.who() + "." },
	"session.ended":    sessionEnded,
	"agent.registered": func(i *incident) string { return "A new agent: " + i.who() + "." },
	"agent.updated":    func(i *incident) string { return "What " + i.who() + " may do, or its state, was changed." },
	"keeper.started":   func(*incident) string { return "Keeper started." },
	"keeper.stopped":   func(i *incident) string { return "Keeper stopped." + i.because() },
	"keeper.forgotten": keeperForgotten,
	"state.changed":    func(i *incident) string { return "What keeper decides by was changed: " + i.objects() + "." },
	"state.accepted": func(i *incident) string {
		return "Keeper was started although what it decides by is not what its log says: " + i.objects() + "."
	},
	"config.changed": func(i *incident) string { return "Keeper was started with other settings: " + i.settings() + "." },
	"config.reloaded": func(i *incident) string {
		return "Keeper took other settings over while it ran, as " + i.who() + " said: " + some(coded(i.Changed)) + "."
	},
	"config.shared": func(i *incident) string {
		return "All keepers on the store are to take other settings over: " + i.who() + " said so."
	},
	"store.backup": func(i *incident) string { return "A backup of keeper was made: " + i.who() + " asked for it." },
	"store.restored": func(i *incident) string {
		return fmt.Sprintf("Keeper was started on a restored backup: what its log said behind entry %d is gone, and what was revoked since is valid again.", i.Entries)
	},
	"audit.pruned": func(i *incident) string {
		return fmt.Sprintf("The entries %d to %d left the audit log; they are in %s.", i.First, i.Last, code(i.Export))
	},
	"audit.rekeyed": func(i *incident) string {
		return "Another key signs the audit log from now on: " + i.who() + " said so."
	},
	"audit.disputed": func(i *incident) string {
		return fmt.Sprintf("The witness %s has seen another head of the audit log, over %d entries: the log was put back, or somebody showed it another.", code(i.Witness), i.Seen)
	},
	"error": func(i *incident) string {
		return i.times() + " of " + i.who() + " to keeper itself" + i.call() + " was refused." + i.because()
	},
}

func eventNames() []string { return slices.Sorted(maps.Keys(sentences)) }

func keeperForgotten(i *incident) string {
	lost := ""
	if i.Entries > 0 {
		lost = fmt.Sprintf(" Entries of its that the log lacks: %d.", i.Entries)
	}
	return "The keeper " + code(i.Name) + " is no longer counted among those that share the database: " + i.who() + " said so." + lost
}

func decision(i *incident) string {
	what := " was let pass."
	if i.Decision == "refuse" {
		what = " was refused."
	}
	return i.times() + " of " + i.who() + i.to() + i.call() + what + i.because()
}

func outcome(i *incident) string {
	return "A call of " + i.who() + i.to() + " ended as " + code(i.Outcome) + "." + i.because()
}

func blocked(i *incident) string {
	if i.Provider == "" {
		return "A secret was found in a text that " + i.who() + " had scanned."
	}
	return "A secret was found in a call of " + i.who() + i.to() + i.call() + ", which was stopped."
}

func vaultModified(i *incident) string {
	if i.Purpose != "" {
		return "Keeper's " + code(i.Purpose) + " key was rotated."
	}
	return "A credential" + i.of() + i.label() + " was " + code(i.Action) + "."
}

func vaultAccess(i *incident) string {
	if i.Action == "denied" {
		return strings.ToUpper(i.who()[:1]) + i.who()[1:] + " asked for a credential" + i.of() + i.label() + " that it may not use."
	}
	return "The vault was looked at by " + i.who() + "."
}

func sessionEnded(i *incident) string {
	if i.Of != "" {
		return "A session of the dashboard was ended from elsewhere: " + code(i.Of) + " was signed in, and " + code(i.By) + " ended it."
	}
	return "A session of the dashboard ended, of " + i.who() + "." + i.because()
}

func (i *incident) who() string {
	switch {
	case i.AgentID != "":
		return "agent " + code(i.AgentID)
	case i.By != "":
		return code(i.By)
	}
	return "a stranger"
}

func (i *incident) to() string {
	if i.Provider == "" {
		return ""
	}
	return " to provider " + code(i.Provider)
}

func (i *incident) of() string {
	if i.Provider == "" {
		return ""
	}
	return " of provider " + code(i.Provider)
}

func (i *incident) label() string {
	if i.Label == "" {
		return ""
	}
	return " (label " + code(i.Label) + ")"
}

func (i *incident) call() string {
	switch {
	case i.Path != "":
		return " (" + code(strings.TrimSpace(i.Method+" "+i.Path)) + ")"
	case i.Route != "":
		return " (" + code(i.Route) + ")"
	}
	return ""
}

func (i *incident) because() string {
	if i.Code == "" && i.Reason == "" {
		return ""
	}
	return " Reason: " + code(firstOf(i.Code, i.Reason)) + "."
}

func (i *incident) times() string {
	if i.Count > 1 {
		return fmt.Sprintf("One of %d calls", i.Count)
	}
	return "A call"
}

func (i *incident) objects() string {
	var names []string
	for _, o := range i.Objects {
		names = append(names, code(o.Kind+" "+o.ID))
	}
	return some(names)
}

func (i *incident) settings() string {
	var names []string
	for _, s := range i.Settings {
		names = append(names, code(s.Name))
	}
	return some(names)
}

// coded are names as [code] shows them.
func coded(names []string) (all []string) {
	for _, name := range names {
		all = append(all, code(name))
	}
	return all
}

// some are the first of names, and how many more there are.
func some(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", more))
	}
	return firstOf(strings.Join(names, ", "), "it does not say what")
}

// rules are the rules by which something was found, each once.
func (i *incident) rules() string {
	var names []string
	for _, f := range i.Findings {
		name := code(f.Rule)
		if f.Location != "" {
			name += " in " + code(f.Location)
		}
		if f.Rule != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if i.Rule != "" {
		names = append(names, code(i.Rule))
	}
	if len(names) == 0 {
		return ""
	}
	return " Rule: " + some(names) + "."
}

var risks = [...]string{"Note", "Warning", "Critical"}

// A command that is offered for copying has an argument that no shell takes apart.
var plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// tell is the incident in one line: how bad, when, what, by which rule, from where,
// and how to learn more.
func tell(e *store.AuditEntry) string {
	i := &incident{AuditEntry: e}
	json.Unmarshal(e.Details, &i.details) // it fills what fits; the rest is not told
	text := fmt.Sprintf("*%s*, %s: ", risks[min(max(e.Risk, 0), 2)], e.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	if sentence := sentences[e.Event]; sentence != nil {
		text += sentence(i)
	} else {
		text += "Event " + code(e.Event) + " of " + i.who() + i.to() + "."
	}
	text += i.rules()
	if i.Source != "" {
		text += " From " + code(i.Source) + "."
	}
	if plainID.MatchString(e.RequestID) {
		return text + " Request " + code(e.RequestID) + ": `keeper explain " + e.RequestID + "`"
	}
	return text + fmt.Sprintf(" Entry %d of the audit log.", e.Seq)
}

const valueBytes = 200 // of a value that stands in a sentence, escaped

// slackEscapes are the three of Slack's own: without them no mention, link or command
// comes about. Receivers that are like Slack take a bare @channel for one, too; behind
// its sign stands a space of no width. A backtick would end the span.
var slackEscapes = map[rune]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '@': "@\u200b", '`': "'"}

// code is a value as a span of code, in which nothing else is markup, cut where it is
// long. What cannot be seen, or turns the text around, becomes a space.
func code(value string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(value, "\uFFFD") {
		one, escaped := slackEscapes[r]
		switch {
		case escaped:
		case unicode.IsPrint(r):
			one = string(r)
		default:
			one = " "
		}
		if b.Len()+len(one) > valueBytes {
			b.WriteString("…")
			break
		}
		b.WriteString(one)
	}
	if strings.TrimSpace(b.String()) == "" {
		return "`?`"
	}
	return "`" + b.String() + "`"
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
