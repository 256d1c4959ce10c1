package export

import (
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/store"
)

const vendor, product = "SuperInstance", "keeper"

// cefSeverity by risk: low, medium, very high.
var cefSeverity = map[int]string{0: "3", 1: "6", 2: "9"}

// appendCEF writes e in the Common Event Format, version 0, without a syslog header.
// Keys are those of its dictionary. What has no key there is left out: externalId
// is the entry's number, by which it is found in the log.
func appendCEF(b []byte, e *store.AuditEntry, p Producer) []byte {
	r := read(e)
	severity, known := cefSeverity[e.Risk]
	if !known {
		severity = "Unknown"
	}
	b = append(b, "CEF:0"...)
	for _, field := range []string{vendor, product, p.Version, e.Event, r.kind.title, severity} {
		b = append(append(b, '|'), cefHeader.Replace(shown(field))...)
	}
	x := extension(append(b, '|'))
	x = x.text("rt", strconv.FormatInt(e.Time.UnixMilli(), 10))
	x = x.text("externalId", strconv.FormatInt(e.Seq, 10))
	x = x.text("dvchost", p.Host)
	x = x.who(r).what(r).labelled(r)
	return x[:len(x)-1] // the last key's space
}

// extension is the line so far, up to its keys.
type extension []byte

// who acted, from where, on whom.
func (x extension) who(r *record) extension {
	x = x.text("suser", r.actor())
	if r.AgentID != "" && r.target() == "" {
		x = x.text("suid", r.AgentID)
	}
	x = x.text("duser", r.target()).text("duid", r.target())
	a, ok := r.address()
	switch {
	case !ok:
		return x.text("shost", r.Source)
	case a.Is4():
		return x.text("src", a.String())
	}
	return x.text("c6a2Label", "Source IPv6 Address").text("c6a2", a.String())
}

// what was asked, and what became of it.
func (x extension) what(r *record) extension {
	x = x.text("cat", r.kind.category)
	x = x.text("requestMethod", r.Method)
	x = x.text("request", cmp.Or(r.Path, r.Route))
	x = x.text("destinationServiceName", r.Provider)
	x = x.text("act", cmp.Or(r.Decision, r.Action))
	x = x.text("outcome", r.result().String())
	x = x.text("reason", r.why())
	x = x.number("out", r.RequestBytes).number("in", r.ResponseBytes)
	return x.number("cnt", r.Count)
}

// labelled are the custom keys, each with what it is.
func (x extension) labelled(r *record) extension {
	numbers := []struct {
		key, label string
		n          int64
	}{
		{"cn1", "HTTP status", int64(r.httpStatus())},
		{"cn2", "Risk", int64(r.Risk)},
		{"cn3", "Duration in ms", r.DurationMS},
	}
	for _, c := range numbers {
		if c.n != 0 || c.key == "cn2" {
			x = x.text(c.key+"Label", c.label).text(c.key, strconv.FormatInt(c.n, 10))
		}
	}
	texts := []struct{ key, label, text string }{
		{"cs1", "Request id", r.RequestID},
		{"cs2", "Scope", cmp.Or(r.Scope, strings.Join(r.Scopes, " "))},
		{"cs3", "Credential", r.Label},
		{"cs4", "Rules", cmp.Or(r.Rule, strings.Join(r.rules(), " "))},
		{"cs5", "Token id", r.JTI},
		{"cs6", "Agent status", r.standing()},
	}
	for _, c := range texts {
		if c.text != "" {
			x = x.text(c.key+"Label", c.label).text(c.key, c.text)
		}
	}
	return x
}

func (x extension) number(key string, n int64) extension {
	if n == 0 {
		return x
	}
	return x.text(key, strconv.FormatInt(n, 10))
}

// cefLimits are the lengths that the dictionary allows, where a text could exceed
// them: of characters, here taken for bytes.
var cefLimits = map[string]int{
	"act": 63, "cat": 1023, "cs1": 4000, "cs2": 4000, "cs3": 4000, "cs4": 4000, "cs5": 4000, "cs6": 4000,
	"destinationServiceName": 1023, "duid": 1023, "duser": 1023, "dvchost": 100, "externalId": 40,
	"reason": 1023, "request": 1023, "requestMethod": 1023, "shost": 1023, "suid": 1023, "suser": 1023,
}

// In the header the bar separates, in the extension the equals sign. Only the latter
// has an escape for line feeds.
var (
	cefHeader = strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	cefValue  = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`)
)

// text appends a key and a space, unless its value is empty.
func (x extension) text(key, value string) extension {
	if value == "" {
		return x
	}
	lines := strings.Split(value, "\n")
	for i, line := range lines {
		lines[i] = shown(line)
	}
	value = strings.Join(lines, "\n")
	if limit, limited := cefLimits[key]; limited {
		value = clip(value, limit)
	}
	x = append(append(x, key...), '=')
	return append(append(x, cefValue.Replace(value)...), ' ')
}

// clip cuts text to so many bytes at most, between characters.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
